"""Stream position to UTC capture time. Survives steps of the device's clock and states its error.

A position counts samples at 16 kHz. The host sees chunks arrive late by a jitter that is never negative, so the
earliest arrival in a while is the best witness of when sampling really happened: the anchor follows the
minimum, and lets itself drift by `DRIFT_PPM` so that a slow sample clock is followed, too. A clock step is a
change between UTC and the monotonic clock; records made before it keep the time they were given.

    timeline = Timeline.at(position=0, utc_ns=..., monotonic_ns=...)
    timeline.observe(position=1600, utc_ns=..., monotonic_ns=...)     # each chunk as it arrives
    timeline.utc_ns(1200)
"""

from dataclasses import dataclass

from agent.audio import SAMPLE_RATE

STEP_NS = 100_000_000  # the smallest change of UTC against the monotonic clock that is taken for a step
DRIFT_PPM = 200  # crystals of sound cards stay within this


@dataclass(slots=True)
class Timeline:
    """Maps positions to capture times. `error_ns` bounds what is known to be uncertain."""

    _origin_ns: int  # monotonic time of position 0, as now believed
    _utc_offset_ns: int  # UTC minus monotonic
    _observed: int
    _latest_jitter_ns: int = 0
    steps: int = 0

    @classmethod
    def at(cls, position: int, utc_ns: int, monotonic_ns: int) -> "Timeline":
        """Anchor `position` at this moment."""
        return cls(monotonic_ns - _ns(position), utc_ns - monotonic_ns, position)

    def observe(self, position: int, utc_ns: int, monotonic_ns: int) -> None:
        """The sample before `position` has just arrived."""
        offset_ns = utc_ns - monotonic_ns
        if abs(offset_ns - self._utc_offset_ns) >= STEP_NS:
            self.steps += 1
            self._utc_offset_ns = offset_ns
        origin_ns = monotonic_ns - _ns(position)
        allowed_ns = _ns(position - self._observed) * DRIFT_PPM // 1_000_000
        self._latest_jitter_ns = max(0, origin_ns - self._origin_ns)
        self._origin_ns = min(origin_ns, self._origin_ns + allowed_ns)
        self._observed = position

    def jump(self, position: int, utc_ns: int, monotonic_ns: int) -> None:
        """Sampling broke off and goes on at `position` now: anchor anew."""
        self._origin_ns = monotonic_ns - _ns(position)
        self._utc_offset_ns = utc_ns - monotonic_ns
        self._observed = position

    def utc_ns(self, position: int) -> int:
        """UTC nanoseconds at which the sample at `position` was captured."""
        return max(0, self._origin_ns + _ns(position) + self._utc_offset_ns)  # a clock before 1970 is not set at all

    @property
    def error_ns(self) -> int:
        """How far the last chunk's arrival lay behind the time given to it: jitter, or drift not yet followed."""
        return self._latest_jitter_ns


def _ns(position: int) -> int:
    return position * 1_000_000_000 // SAMPLE_RATE
