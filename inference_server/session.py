"""One agent stream as the server sees it: which record comes next, duplicates dropped, utterances opened and closed.

Pure: records in, verdicts out. The gateway stores what is fresh and then acknowledges it.
"""

from dataclasses import dataclass
from enum import Enum, auto

from agent.audio import n_samples
from agent.protocol import Audio, Gap, ProtocolError, Record, Silence, UtteranceEnd, UtteranceStart

LONGEST = n_samples(600.0)  # an utterance is held in memory when its file is written
LAST_POSITION = 2**62


class Verdict(Enum):
    """What to do with a record."""

    FRESH = auto()  # store it
    DUPLICATE = auto()  # it is held already: drop it, and acknowledge again


@dataclass(slots=True)
class Session:
    """Where a stream stands. `open_utterance` is the seq of the utterance in progress, 0 if none."""

    have_seq: int = 0
    open_utterance: int = 0
    audio_end: int = 0  # position up to which the open utterance has audio or a gap
    end: int = 0  # every position before it is accounted for

    def receive(self, record: Record) -> Verdict:
        """Judge the next record. Raises ProtocolError if it does not fit what came before."""
        if record.seq <= self.have_seq:
            return Verdict.DUPLICATE
        if record.seq != self.have_seq + 1:
            raise ProtocolError(f"record {record.seq} came after {self.have_seq}: one is missing")
        self._advance(record)
        self.have_seq = record.seq
        return Verdict.FRESH

    def _advance(self, record: Record) -> None:
        match record:
            case UtteranceStart(first_sample=first):
                self._expect_closed("an utterance starts")
                self._expect_position(first, self.end)
                self.open_utterance, self.audio_end = record.seq, first
            case Audio(first_sample=first, n_samples=n):
                self._expect_open("audio")
                self._extend_utterance(first, n)
            case UtteranceEnd(end_sample=end, silent=silent):
                self._expect_open("an utterance's end")
                if not self.end <= end <= self.audio_end:
                    raise ProtocolError(f"an utterance ends at {end}, outside its audio ({self.end}-{self.audio_end})")
                if silent > end - self.end:
                    raise ProtocolError(f"an utterance of {end - self.end} samples is silent for {silent}")
                self.open_utterance, self.end = 0, end
            case Gap(first_sample=first, n_samples=n) if self.open_utterance and n:
                self._extend_utterance(first, n)
            case Silence(first_sample=first, n_samples=n) | Gap(first_sample=first, n_samples=n) if n:
                self._expect_closed("silence")
                self._expect_position(first, self.end)
                self._expect_room(first + n)
                self.end = first + n
            case _:
                pass  # frames, and gaps that lost frames alone, take no time

    def _extend_utterance(self, first: int, n: int) -> None:
        self._expect_position(first, self.audio_end)
        self._expect_room(first + n)
        if first + n - self.end > LONGEST:
            raise ProtocolError(f"utterance {self.open_utterance} is longer than {LONGEST} samples")
        self.audio_end = first + n

    def _expect_open(self, what: str) -> None:
        if not self.open_utterance:
            raise ProtocolError(f"{what} outside of an utterance")

    def _expect_closed(self, what: str) -> None:
        if self.open_utterance:
            raise ProtocolError(f"{what} inside utterance {self.open_utterance}")

    def _expect_room(self, end: int) -> None:
        if end > LAST_POSITION:
            raise ProtocolError(f"sample {end} is beyond the last position, {LAST_POSITION}")

    def _expect_position(self, first: int, expected: int) -> None:
        if first != expected:
            raise ProtocolError(f"sample {first} came where {expected} was next")
