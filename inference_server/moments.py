"""An utterance with the frames seen around it: which frames belong, and which seen text is new."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.audio import n_samples


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """A frame at stream position `sample`; `seen` is the text in it, a line a line ("" if none, or not read yet)."""

    seq: int
    sample: int
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """One utterance, positions [first_sample, end_sample), and its frames in order."""

    stream: str
    utterance: int
    first_sample: int
    end_sample: int
    frames: tuple[SeenFrame, ...]

    @property
    def shown_frame(self) -> int | None:
        """The frame nearest to the utterance's middle: the one to show beside the note."""
        middle = (self.first_sample + self.end_sample) // 2
        nearest = min(self.frames, key=lambda frame: abs(frame.sample - middle), default=None)
        return None if nearest is None else nearest.seq


@dataclass(frozen=True, slots=True)
class ExportedMoment:
    """One moment with everything known about it, as exports write it."""

    stream: str
    utterance: int
    captured_at: int
    first_sample: int
    end_sample: int
    outcome: str
    outcome_reason: str
    heard: str
    note: str
    seen: tuple[str, ...]
    frames: tuple[str, ...]
    audio: str
    engine: str
    latency_ms: int | None


def frame_span(first_sample: int, end_sample: int, before_s: float, after_s: float) -> tuple[int, int]:
    """Positions [from, until) within which a frame belongs to the utterance."""
    return max(0, first_sample - n_samples(before_s)), end_sample + n_samples(after_s)


def new_lines(seen: Sequence[str], recent: Iterable[str]) -> tuple[str, ...]:
    """The lines of `seen` that say something that none of the `recent` lines said, each once.

    Readers waver between frames, so two lines are the same when three quarters of their character trigrams
    agree. Another number is another thing, however alike the rest: platform 9 is not platform 10.
    """
    known = [_print_of(line) for line in recent]
    fresh = []
    for line in seen:
        mark = _print_of(line)
        if mark.trigrams and not any(_alike(mark, other) for other in known):
            fresh.append(line)
            known.append(mark)
    return tuple(fresh)


@dataclass(frozen=True, slots=True)
class _Print:
    """What a line is recognised by."""

    trigrams: frozenset[str]
    digits: str


def _print_of(line: str) -> _Print:
    letters = re.sub(r"[\W_]+", "", line.casefold())
    trigrams = {letters[at : at + 3] for at in range(max(1, len(letters) - 2))} if letters else set()
    return _Print(frozenset(trigrams), "".join(filter(str.isdigit, letters)))


def _alike(one: _Print, other: _Print) -> bool:
    if not other.trigrams or one.digits != other.digits:
        return False
    return len(one.trigrams & other.trigrams) >= 0.75 * min(len(one.trigrams), len(other.trigrams))
