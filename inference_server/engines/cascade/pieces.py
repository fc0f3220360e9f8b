"""Where a long utterance may be taken apart for the recogniser: in its pauses, decided from the past alone.

A piece that is complete stays the same however much audio follows, so its words can be kept while the person still
speaks,
and only the last piece is left to recognise when the utterance ends. Pure.
"""

from dataclasses import dataclass, field

from agent.audio import n_samples

SHORTEST = n_samples(6.0)  # a piece is worth ending from here on
LONGEST = n_samples(14.0)  # the recogniser loses words in pieces much longer
PAUSE = n_samples(0.2)
VOICED = 0.35  # speech probability that is not a pause


@dataclass(slots=True)
class Pieces:
    """Push speech probabilities; `cuts` are the positions at which complete pieces end, in order."""

    cuts: list[int] = field(default_factory=list)
    position: int = 0
    _start: int = 0
    _pause_start: int = 0  # equal to `position` while speech goes on
    _quietest: int = 0  # where to cut if no pause comes
    _quietest_probability: float = 2.0

    def push(self, probability: float, n: int) -> None:
        """Take the speech probability of the next `n` samples."""
        self.position += n
        if probability >= VOICED:
            self._pause_start = self.position
        if self.position - self._start < SHORTEST:
            return
        if probability < self._quietest_probability:
            self._quietest, self._quietest_probability = self.position - n // 2, probability
        if self.position - self._pause_start >= PAUSE:
            self._cut((self._pause_start + self.position) // 2)
        elif self.position - self._start >= LONGEST:
            self._cut(self._quietest)

    def _cut(self, at: int) -> None:
        self.cuts.append(at)
        self._start, self._quietest_probability = at, 2.0
