"""Finds where utterances start and end. Knows speech probabilities and sample counts; no clock, no audio.

    segmenter = Segmenter(SegmenterConfig(), position=0)
    for boundary in segmenter.push(probability, n_samples): ...
    for boundary in segmenter.flush(): ...      # the stream ends, or breaks off in a gap

A window must be far shorter than `longest_s`; the VAD's are 16 ms.
"""

from collections import deque
from dataclasses import dataclass, field
from itertools import groupby

from agent.audio import n_samples
from agent.config import Segmenter as SegmenterConfig

PATIENT = 0.3  # share of `longest_s` up to which the whole hangover holds
HURRIED = 0.8  # ... and from which the late one does


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """An utterance began; `sample` already includes the pre-roll."""

    sample: int


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The utterance is complete; `sample` is one past its last sample. `reason`: pause, longest or flush.

    In its last `silent` samples nothing was said any more.
    """

    sample: int
    reason: str
    silent: int = 0


Boundary = SpeechStarted | SpeechEnded


@dataclass(frozen=True, slots=True)
class _Window:
    start: int
    end: int
    probability: float


@dataclass(slots=True)
class Segmenter:
    """Speech probabilities in, boundaries out: they alternate, never overlap and never lie in the future."""

    config: SegmenterConfig
    position: int = 0
    _start: int | None = None
    _previous_end: int = field(init=False)
    _last_voiced: int = 0
    _onset: deque[_Window] = field(default_factory=deque)  # voiced windows of a possible onset
    _recent: deque[_Window] = field(default_factory=deque)  # where a cut may fall
    _longest: int = field(init=False)
    _cut_search: int = field(init=False)

    def __post_init__(self) -> None:
        self._previous_end = self.position
        self._longest = n_samples(self.config.longest_s)
        # Never in the first half: what is left over could again be too long.
        self._cut_search = min(n_samples(self.config.cut_search_s), self._longest // 2)

    @property
    def speaking(self) -> bool:
        """True inside an utterance."""
        return self._start is not None

    @property
    def silent(self) -> int:
        """Samples since the last speech of the utterance in progress; 0 outside of one."""
        return 0 if self._start is None else max(0, self.position - max(self._last_voiced, self._start))

    def push(self, probability: float, n: int) -> tuple[Boundary, ...]:
        """Take the speech probability of the next `n` samples; return the boundaries that it reveals."""
        window = _Window(self.position, self.position + n, probability)
        self.position = window.end
        return self._listen(window) if self._start is None else self._follow(self._start, window)

    def flush(self) -> tuple[Boundary, ...]:
        """End the utterance in progress, if any, where the input ends."""
        self._onset.clear()
        return () if self._start is None else (self._end(self.position, "flush"),)

    def restart(self, position: int) -> None:
        """Go on at `position` after a gap. Call `flush` first."""
        assert self._start is None and position >= self.position
        self.position = self._previous_end = position

    def _listen(self, window: _Window) -> tuple[Boundary, ...]:
        if window.probability < self.config.onset:
            return ()
        self._onset.append(window)
        _drop_older(self._onset, window.end - n_samples(2 * self.config.onset_s))
        if sum(voiced.end - voiced.start for voiced in self._onset) < n_samples(self.config.onset_s):
            return ()
        earliest = max(self._previous_end, window.end - self._longest)
        self._start = max(earliest, self._onset[0].start - n_samples(self.config.preroll_s))
        self._last_voiced = window.end
        self._onset.clear()
        return (SpeechStarted(self._start),)

    def _follow(self, start: int, window: _Window) -> tuple[Boundary, ...]:
        if window.probability >= self.config.offset:
            self._last_voiced = window.end
        self._recent.append(window)
        _drop_older(self._recent, window.end - self._cut_search)
        latest = start + self._longest
        if window.end - self._last_voiced >= self._hangover(self._last_voiced - start):
            return (self._end(min(window.end, latest), "pause"),)
        if window.end < latest:
            return ()
        cut = min(self._best_cut(), latest)
        if cut >= self._last_voiced:  # the best pause is the one now running: nothing has been said since
            return (self._end(latest, "longest"),)
        ended = self._end(cut, "longest")
        self._start = cut
        return (ended, SpeechStarted(cut))

    def _hangover(self, spoken: int) -> int:
        """The pause that ends an utterance in which the last speech lies `spoken` samples behind the start."""
        config = self.config
        late_s = min(config.hangover_late_s, config.hangover_s)
        hurry = (spoken / self._longest - PATIENT) / (HURRIED - PATIENT)
        return n_samples(config.hangover_s + (late_s - config.hangover_s) * min(1.0, max(0.0, hurry)))

    def _end(self, sample: int, reason: str) -> SpeechEnded:
        silent = max(0, sample - max(self._last_voiced, self._start or 0))
        self._start, self._previous_end = None, sample
        return SpeechEnded(sample, reason, silent)

    def _best_cut(self) -> int:
        """The middle of the longest recent pause; without any pause, of the least speech-like window."""
        runs = groupby(self._recent, lambda window: window.probability >= self.config.offset)
        pauses = [list(run) for voiced, run in runs if not voiced]
        if pauses:
            longest = max(pauses, key=lambda run: run[-1].end - run[0].start)
            return (longest[0].start + longest[-1].end) // 2
        quietest = min(self._recent, key=lambda window: window.probability)
        return (quietest.start + quietest.end) // 2


def _drop_older(windows: deque[_Window], sample: int) -> None:
    """Keep the windows that reach beyond `sample`."""
    while windows and windows[0].end <= sample:
        windows.popleft()
