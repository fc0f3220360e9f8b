"""Boundaries, audio and frames in; numbered records out. Accounts for every sample of the stream exactly once.

Knows the wire's records and an encoder; knows no device, no clock (capture times come from the timeline it is
given) and no storage. Positions are samples from the start of the stream.
"""

from dataclasses import dataclass, field

import numpy as np

from agent.audio import Pcm, Ring, n_samples
from agent.codec import Encoder, EncoderFactory, delay_samples
from agent.protocol import (
    PACKET_SAMPLES,
    Audio,
    Frame,
    Gap,
    Record,
    Silence,
    UtteranceEnd,
    UtteranceStart,
    pack,
)
from agent.segmenter import Boundary, SpeechEnded, SpeechStarted
from agent.timeline import Timeline

Numbered = tuple[Record, bytes]

PAUSE = n_samples(0.25)  # silence after which the utterance may have ended: longer than the stops inside words
SILENCE_EVERY = n_samples(5.0)  # the ledger learns of a long silence this often
SILENCE_MARGIN = n_samples(1.5)  # an utterance may still reach back this far: its pre-roll and onset


@dataclass(slots=True)
class _Open:
    """The utterance being recorded."""

    encoder: Encoder
    start: int
    encoded_to: int
    pause_told: bool = False


@dataclass(slots=True)
class Recorder:
    """Numbers the stream's records from `next_seq` on. Every method returns the records that it completes."""

    timeline: Timeline
    encoder: EncoderFactory
    chunk_samples: int
    history_samples: int  # how far back a boundary may lie
    next_seq: int = 1
    position: int = 0
    utterances: int = 0  # completed since the start
    _ring: Ring = field(init=False)
    _accounted: int = field(init=False)  # every sample before it is in some record
    _open: _Open | None = None

    def __post_init__(self) -> None:
        self._ring = Ring(self.history_samples, self.position)
        self._accounted = self.position

    def window(self, pcm: Pcm, boundaries: tuple[Boundary, ...], silent: int = 0) -> list[Numbered]:
        """Take the next samples, (n_samples,) int16, the boundaries that they revealed, and how long it is silent."""
        self._ring.push(pcm)
        self.position = self._ring.end
        records: list[Numbered] = []
        for boundary in boundaries:
            records += self._boundary(boundary)
        if self._open is not None:
            records += self._chunks(self._open, self.position) + self._pause(self._open, silent)
        elif self.position - self._accounted >= SILENCE_EVERY + SILENCE_MARGIN:
            records += self._silence(self.position - SILENCE_MARGIN)
        return records

    def frame(self, jpeg: bytes, width: int, height: int) -> list[Numbered]:
        """A camera frame, seen now."""
        at = self.timeline.utc_ns(self.position)
        frame = Frame(seq=self._number(), sample=self.position, captured_at=at, width=width, height=height)
        return [(frame, jpeg)]

    def gap(self, lost_samples: int, reason: str) -> list[Numbered]:
        """Nothing was captured for `lost_samples` from here on. No utterance may be open: flush the segmenter."""
        assert self._open is None
        records = self.account()
        lost = Gap(
            seq=self._number(),
            first_sample=self.position,
            n_samples=lost_samples,
            captured_at=self.timeline.utc_ns(self.position),
            reason=reason,
        )
        self.position += lost_samples
        self._accounted = self.position
        self._ring.restart(self.position)
        return [*records, (lost, b"")]

    def boundaries(self, boundaries: tuple[Boundary, ...]) -> list[Numbered]:
        """Take boundaries that come without samples: the segmenter's flush."""
        return [record for boundary in boundaries for record in self._boundary(boundary)]

    def account(self) -> list[Numbered]:
        """Account for the silence up to here: the stream ends, pauses or breaks off. No utterance may be open."""
        return self._silence(self.position)

    def _boundary(self, boundary: Boundary) -> list[Numbered]:
        match boundary:
            case SpeechStarted(sample):
                sample = max(sample, self._accounted)  # silence that was already told stays told
                records = self._silence(sample)
                self._open = _Open(self.encoder(), sample, sample)
                start = UtteranceStart(
                    seq=self._number(), first_sample=sample, captured_at=self.timeline.utc_ns(sample)
                )
                return [*records, (start, b"")]
            case SpeechEnded(sample, reason, silent):  # pragma: no branch
                assert self._open is not None
                records = self._chunks(self._open, sample) + self._tail(self._open, sample)
                self._open = None
                self._accounted = sample
                self.utterances += 1
                end = UtteranceEnd(
                    seq=self._number(),
                    end_sample=sample,
                    captured_at=self.timeline.utc_ns(sample),
                    reason=reason,
                    silent=silent,
                )
                return [*records, (end, b"")]

    def _silence(self, until: int) -> list[Numbered]:
        if until <= self._accounted:
            return []
        silence = Silence(
            seq=self._number(),
            first_sample=self._accounted,
            n_samples=until - self._accounted,
            captured_at=self.timeline.utc_ns(self._accounted),
        )
        self._accounted = until
        return [(silence, b"")]

    def _chunks(self, utterance: _Open, until: int) -> list[Numbered]:
        """Encode the whole chunks that are there."""
        records = []
        while until - utterance.encoded_to >= self.chunk_samples:
            end = utterance.encoded_to + self.chunk_samples
            records.append(self._audio(utterance, self._ring.read(utterance.encoded_to, end)))
        return records

    def _pause(self, utterance: _Open, silent: int) -> list[Numbered]:
        """Once in each pause, send what is there at once: the server may begin with what could be the whole."""
        packets = (self.position - utterance.encoded_to) // PACKET_SAMPLES
        if silent < PAUSE or packets == 0 or utterance.pause_told:
            utterance.pause_told = utterance.pause_told and silent > 0
            return []
        utterance.pause_told = True
        until = utterance.encoded_to + packets * PACKET_SAMPLES
        return [self._audio(utterance, self._ring.read(utterance.encoded_to, until), pause=True)]

    def _tail(self, utterance: _Open, end: int) -> list[Numbered]:
        """Encode what is left, with zeros behind it so that the encoder gives up all that it still holds."""
        missing = end + delay_samples(utterance.encoder) - utterance.encoded_to
        if missing <= 0:  # cut for length: more than enough was sent already
            return []
        rest = self._ring.read(utterance.encoded_to, max(end, utterance.encoded_to))
        padded = np.zeros(-(-missing // PACKET_SAMPLES) * PACKET_SAMPLES, np.int16)
        padded[: len(rest)] = rest
        return [self._audio(utterance, padded)]

    def _audio(self, utterance: _Open, pcm: Pcm, pause: bool = False) -> Numbered:
        encoder = utterance.encoder
        packets = [encoder.encode(pcm[at : at + PACKET_SAMPLES]) for at in range(0, len(pcm), PACKET_SAMPLES)]
        audio = Audio(
            seq=self._number(),
            first_sample=utterance.encoded_to,
            n_samples=len(pcm),
            captured_at=self.timeline.utc_ns(utterance.encoded_to),
            codec=encoder.name,
            pre_skip=encoder.pre_skip,
            pause=pause,
        )
        utterance.encoded_to += len(pcm)
        return audio, pack(packets) if encoder.name == "opus" else b"".join(packets)

    def _number(self) -> int:
        seq, self.next_seq = self.next_seq, self.next_seq + 1
        return seq
