"""Small correct stand-ins for what tests cannot have: a voice, a device, a server's end of the wire."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np
from websockets.asyncio.server import ServerConnection

from agent.audio import SAMPLE_RATE, Pcm, n_samples
from agent.codec import OpusEncoder
from agent.protocol import (
    PACKET_SAMPLES,
    PROTOCOL,
    Ack,
    Audio,
    Frame,
    FromServer,
    Gap,
    Hello,
    Record,
    Silence,
    State,
    UtteranceEnd,
    UtteranceStart,
    Welcome,
    decode_from_agent,
    encode,
    pack,
)
from agent.sources import Event, Samples
from inference_server.engines.base import (
    Answered,
    Capabilities,
    Draft,
    EngineError,
    Noted,
    Passage,
    Summarised,
)
from inference_server.retrieval import supporting
from inference_server.session import Session, Verdict

UTC = 1_700_000_000_000_000_000
VOICE_HZ = 120.0
FORMANTS = ((700.0, 80.0), (1220.0, 90.0), (2600.0, 120.0))  # (Hz, bandwidth) of an "a", after Peterson and Barney


def voice(duration_s: float, pitch_hz: float = VOICE_HZ) -> Pcm:
    """Something that both voice detectors take for speech: glottal pulses through three formants, four syllables a
    second. (n_samples,) int16."""
    t = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = pitch_hz * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * t) + 0.02 * np.sin(2 * np.pi * 5 * t))
    pulses = np.diff(np.floor(np.cumsum(pitch) / SAMPLE_RATE), prepend=0.0)
    spectrum = np.fft.rfft(pulses, 2 * len(t) + 2)
    turn = np.exp(-1j * np.linspace(0, np.pi, len(spectrum)))
    for hz, width_hz in FORMANTS:
        radius = np.exp(-np.pi * width_hz / SAMPLE_RATE)
        spectrum /= 1 - 2 * radius * np.cos(2 * np.pi * hz / SAMPLE_RATE) * turn + (radius * turn) ** 2
    sound = np.fft.irfft(spectrum)[: len(t)] * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * t))
    return np.rint(sound / np.abs(sound).max() * 9000).astype(np.int16)


def silence(duration_s: float) -> Pcm:
    """(n_samples,) int16 zeros."""
    return np.zeros(round(duration_s * SAMPLE_RATE), np.int16)


def blocks(pcm: Pcm, utc_ns: int = UTC, block: int = 1600) -> Iterator[Event]:
    """`pcm` as a device delivers it: blocks of 100 ms, each stamped with the time of its last sample. The device
    booted a second before `UTC`."""
    for at in range(0, len(pcm), block):
        part = pcm[at : at + block]
        end_ns = (at + len(part)) * 1_000_000_000 // SAMPLE_RATE
        yield Samples(part, utc_ns + end_ns, utc_ns - UTC + 1_000_000_000 + end_ns)


@dataclass
class ServerEnd:
    """A server in memory: takes each record once and in order, acknowledges it, remembers it."""

    session: Session = field(default_factory=Session)
    records: list[tuple[Record, bytes]] = field(default_factory=list)
    hellos: list[Hello] = field(default_factory=list)
    states: list[State] = field(default_factory=list)

    def receive(self, frame: bytes) -> FromServer | None:
        """The answer to one frame, if it has one. Raises ProtocolError."""
        message, payload = decode_from_agent(frame)
        match message:
            case Hello():
                self.hellos.append(message)
                return Welcome(protocol=PROTOCOL, have_seq=self.session.have_seq, codec="opus", server="fake")
            case State():
                self.states.append(message)
                return None
            case _:
                if self.session.receive(message) is Verdict.FRESH:
                    self.records.append((message, payload))
                return Ack(seq=self.session.have_seq)

    async def serve(self, socket: ServerConnection) -> None:
        """Answer one agent until it leaves."""
        async for frame in socket:
            assert isinstance(frame, bytes)
            if (answer := self.receive(frame)) is not None:
                await socket.send(encode(answer))


NOON = 1_795_176_000_000_000_000  # 2026-11-20T12:00:00Z


@cache
def opus_packets() -> tuple[int, tuple[bytes, ...]]:
    """(pre-skip at 48 kHz, packets of 20 ms) of four seconds of voice."""
    encoder, pcm = OpusEncoder(24_000), voice(4.0)
    chunks = (pcm[at : at + PACKET_SAMPLES] for at in range(0, len(pcm), PACKET_SAMPLES))
    return encoder.pre_skip, tuple(encoder.encode(chunk) for chunk in chunks)


def jpeg(text: str = "", width: int = 64, height: int = 48) -> bytes:
    """A grey picture; `text` stands behind its end, where FakeEngine reads it and decoders do not look."""
    image = np.full((height, width, 3), 128, np.uint8)
    return cv2.imencode(".jpg", image)[1].tobytes() + text.encode()


@dataclass
class Tape:
    """What a device records: numbered records without holes. Each method appends; `take` hands over what is new."""

    stream: str = "ab" * 16
    device: str = "test"
    began_at: int = NOON  # UTC ns of sample 0
    codec: str = "opus"
    position: int = 0
    records: list[tuple[Record, bytes]] = field(default_factory=list)
    _taken: int = 0
    _packets: int = 0  # of the open utterance

    @property
    def next_seq(self) -> int:
        return len(self.records) + 1

    def hello(self) -> Hello:
        return Hello(
            protocol=PROTOCOL,
            stream=self.stream,
            device=self.device,
            clock=self.began_at,
            codecs=("opus", "pcm"),
            next_seq=self.next_seq,
        )

    def at(self, sample: int) -> int:
        """UTC ns of a position."""
        return self.began_at + sample * 1_000_000_000 // SAMPLE_RATE

    def start(self) -> int:
        """An utterance begins; returns its seq."""
        self._packets = 0
        start = UtteranceStart(seq=self.next_seq, first_sample=self.position, captured_at=self.at(self.position))
        return self._add(start)

    def audio(self, n_packets: int = 16, payload: bytes | None = None) -> int:
        """The next packets of the open utterance."""
        first = self.position + self._packets * PACKET_SAMPLES
        pre_skip, packets = opus_packets()
        n = n_packets * PACKET_SAMPLES
        if payload is None and self.codec == "opus":
            payload = pack([packets[(self._packets + at) % len(packets)] for at in range(n_packets)])
        elif payload is None:
            at = self._packets * PACKET_SAMPLES
            payload = np.resize(voice(4.0), at + n)[at:].astype("<i2").tobytes()
        audio = Audio(
            seq=self.next_seq,
            first_sample=first,
            n_samples=n,
            captured_at=self.at(first),
            codec=self.codec,
            pre_skip=pre_skip if self.codec == "opus" else 0,
        )
        self._packets += n_packets
        return self._add(audio, payload)

    def lose(self, n_packets: int = 16, reason: str = "spool full") -> int:
        """The next packets of the open utterance are lost."""
        first = self.position + self._packets * PACKET_SAMPLES
        self._packets += n_packets
        n = n_packets * PACKET_SAMPLES
        return self._add(
            Gap(seq=self.next_seq, first_sample=first, n_samples=n, captured_at=self.at(first), reason=reason)
        )

    def end(self, reason: str = "pause") -> int:
        """The utterance ends one packet before its audio does: the encoder's delay."""
        end = self.position + max(0, self._packets - 1) * PACKET_SAMPLES
        self.position = end
        return self._add(UtteranceEnd(seq=self.next_seq, end_sample=end, captured_at=self.at(end), reason=reason))

    def utterance(self, n_packets: int = 17) -> int:
        """A whole utterance of (n_packets - 1) * 20 ms; returns its seq."""
        seq = self.start()
        while n_packets:
            self.audio(min(16, n_packets))
            n_packets -= min(16, n_packets)
        self.end()
        return seq

    def silence(self, duration_s: float) -> int:
        """Nothing is said."""
        first, n = self.position, n_samples(duration_s)
        self.position += n
        return self._add(Silence(seq=self.next_seq, first_sample=first, n_samples=n, captured_at=self.at(first)))

    def gap(self, duration_s: float, reason: str = "paused") -> int:
        """Nothing is captured."""
        first, n = self.position, n_samples(duration_s)
        self.position += n
        return self._add(
            Gap(seq=self.next_seq, first_sample=first, n_samples=n, captured_at=self.at(first), reason=reason)
        )

    def frame(self, image: bytes | None = None) -> int:
        """A frame is seen now."""
        sample = self.position + self._packets * PACKET_SAMPLES if self._speaking else self.position
        frame = Frame(seq=self.next_seq, sample=sample, captured_at=self.at(sample), width=64, height=48)
        return self._add(frame, jpeg() if image is None else image)

    @property
    def _speaking(self) -> bool:
        kinds = [r for r, _ in self.records if isinstance(r, UtteranceStart | UtteranceEnd)]
        return bool(kinds) and isinstance(kinds[-1], UtteranceStart)

    def take(self) -> list[tuple[Record, bytes]]:
        """The records since the last call."""
        fresh, self._taken = self.records[self._taken :], len(self.records)
        return fresh

    def _add(self, record: Record, payload: bytes = b"") -> int:
        self.records.append((record, payload))
        return record.seq


class FakeEngine:
    """Knows utterances by their length in packets (see `Tape.utterance`). Hears in one what `say` said, one result an
    attempt, the last one for good; reads in a frame what stands behind its JPEG; answers as the embedded engine does.
    Works while `working` is set."""

    def __init__(self, parallel: int = 2, reads_frames: bool = True) -> None:
        self.capabilities = Capabilities("fake", ("en",), parallel, reads_frames)
        self.busy = asyncio.Event()  # a note was begun
        self.working = asyncio.Event()
        self.working.set()
        self.says: dict[int, list[Noted | Exception]] = {}
        self.headings: list[str] = []
        self.finals: list[int] = []  # utterances in the order in which their notes were begun
        self.drafted: list[int] = []
        self.read_frames: list[bytes] = []
        self.running = 0
        self.most_running = 0
        self.answer_fails: Exception | None = None
        self.closed = False

    def say(self, n_packets: int, *results: str | Noted | Exception) -> None:
        """What will be heard; a string is noted as it is."""
        self.says[n_packets] = [Noted("noted", heard=r, note=r) if isinstance(r, str) else r for r in results]

    async def note(self, audio: Pcm, spoken: int | None) -> AsyncGenerator[Draft | Noted]:
        """One draft; a final one ends with what was said."""
        n_packets = len(audio) // PACKET_SAMPLES + 1
        if spoken is None:
            self.drafted.append(n_packets)
            yield Draft(f"{len(audio)} samples so far")
            return
        self.finals.append(n_packets)
        self.busy.set()
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.working.wait()
            results = self.says.get(n_packets, [Noted("silence", reason="nothing was said")])
            result = results.pop(0) if len(results) > 1 else results[0]
            if isinstance(result, Exception):
                raise result
            yield Draft(result.heard)
            yield result
        finally:
            self.running -= 1

    async def answer(self, question: str, passages: tuple[Passage, ...]) -> AsyncGenerator[str | Answered]:
        """Quotes what supports an answer."""
        await self.working.wait()
        if self.answer_fails is not None:
            raise self.answer_fails
        found = supporting(question, passages)
        yield " ".join(f"“{support.passage.text}”" for support in found) or "I have nothing on that."
        yield Answered(tuple(support.passage.id for support in found))

    async def summarise(self, notes: tuple[str, ...]) -> AsyncGenerator[Summarised]:
        """The next of `headings`, or none."""
        yield Summarised(self.headings.pop(0) if self.headings else "")

    async def read(self, jpeg: bytes) -> tuple[str, ...]:
        """What stands behind the JPEG, a line a line."""
        await self.working.wait()
        self.read_frames.append(jpeg)
        _, end, behind = jpeg.rpartition(b"\xff\xd9")
        text = behind.decode() if end else ""
        if text == "unreadable":
            raise EngineError("the frame cannot be decoded")
        if text == "upsetting":
            raise ValueError("nobody thought of this")
        return tuple(filter(None, text.split("\n")))

    async def warm_up(self) -> None:
        """Nothing to load."""

    async def aclose(self) -> None:
        """Remembers it."""
        self.closed = True
