"""THE WIRE CONTRACT between agent and server: messages, their encoding, the audio format. This docstring is the spec.

One WebSocket at `/v1/capture`. Every message is one binary WebSocket frame: a JSON header (one object, no raw
newline), a newline byte, then the raw payload, which only `audio` (Opus packets or PCM) and `frame` (one JPEG)
have. The `type` field of the header names the message; a missing, unknown or mistyped field is a ProtocolError.

    agent                                    server
      hello{stream, next_seq, ...}     ->
                                       <-    welcome{have_seq, codec}      or error, then close
      records seq have_seq+1, +2, ...  ->
                                       <-    ack{seq}   every record up to seq is on the server's disk
      state{...} at any time           ->
                                       <-    note, control, slow_down, error at any time

A stream is one device's endless sequence of records, numbered from 1 without holes. Its positions are samples
at 16 kHz from the start of the stream; gaps advance the position by the time that was lost, so utterances,
silences and gaps partition [0, end) of the stream. `captured_at` is the UTC time of the record's first sample
(of `end_sample` in `utterance-end`) in nanoseconds, by the device's clock.

- `utterance-start` opens an utterance, named by that record's seq. `audio` belongs to the open utterance and is
  contiguous. `utterance-end` closes it at `end_sample`; audio past that position belongs to no one and is dropped.
  An utterance that was cut for length is followed by one that starts at the cut and sends its audio again from there.
- Opus payload: packets of 20 ms (320 samples), each preceded by its length as two bytes, big-endian. The first
  `pre_skip` samples (at 48 kHz, as in RFC 7845) that the utterance's first packet decodes to are the encoder's delay.
- `audio.pause`: the speaker has just fallen silent. What was said so far is all in, should this be the end.
- PCM payload: little-endian int16.
- A `gap` inside an open utterance stands for audio that was lost and extends the utterance; one with `n_samples` 0
  (only frames were lost) may stand anywhere.
- The server drops records that it has; a record beyond the next one expected is a protocol error.
- `state` comes every second; the server ends a connection that is silent for long (`limits.silent_s`).
- A token, where the server wants one, is the handshake's `Authorization: Bearer`; without it the answer is HTTP 401.
- The server closes with 1002 after `error` protocol or version, 1013 after storage or busy (try again later), 4001
  after replaced. Only protocol and version are final for an agent.
"""

from typing import Annotated, Final

import msgspec

PROTOCOL: Final = 1
PATH: Final = "/v1/capture"
PACKET_SAMPLES: Final = 320  # one Opus packet, 20 ms at 16 kHz
MAX_MESSAGE_BYTES: Final = 4 << 20  # a frame of 4096 px at the best quality, with room
MAX_PACKET_BYTES: Final = 1275  # RFC 6716 section 3.2.1

Seq = Annotated[int, msgspec.Meta(ge=1, le=2**62)]
Position = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
UtcNs = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
StreamId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
ShortText = Annotated[str, msgspec.Meta(max_length=200)]
CodecName = Annotated[str, msgspec.Meta(pattern=r"^(opus|pcm)\Z")]


class ProtocolError(Exception):
    """The peer sent something that this protocol does not allow."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What every message is: immutable and closed to unknown fields."""


class Hello(Message, frozen=True, tag="hello"):
    """The agent's greeting: who it is and which record it would number next."""

    protocol: int
    stream: StreamId
    device: ShortText
    clock: UtcNs
    codecs: tuple[CodecName, ...]
    next_seq: Seq


class Welcome(Message, frozen=True, tag="welcome"):
    """The server's answer: the last record that it holds (0: none) and the codec it can decode."""

    protocol: int
    have_seq: Annotated[int, msgspec.Meta(ge=0)]
    codec: CodecName
    server: ShortText


class UtteranceStart(Message, frozen=True, tag="utterance-start"):
    """Speech began at `first_sample` (pre-roll included). Its seq names the utterance."""

    seq: Seq
    first_sample: Position
    captured_at: UtcNs


class Audio(Message, frozen=True, tag="audio"):
    """Part of the open utterance: 320 ms, the last one up to 340. The payload is Opus packets or PCM."""

    seq: Seq
    first_sample: Position
    n_samples: Annotated[int, msgspec.Meta(gt=0, le=16_000)]
    captured_at: UtcNs
    codec: CodecName
    pre_skip: Annotated[int, msgspec.Meta(ge=0, le=48_000)] = 0
    pause: bool = False  # the speaker has just fallen silent: what was said so far is all in, should this be the end


class UtteranceEnd(Message, frozen=True, tag="utterance-end"):
    """Speech ended; `end_sample` is one past the last sample. `reason`: pause, longest, flush or agent stopped.

    In its last `silent` samples nothing was said any more: words recognised before them are all of its words.
    """

    seq: Seq
    end_sample: Position
    captured_at: UtcNs  # of `end_sample`
    reason: ShortText
    silent: Position = 0


class Frame(Message, frozen=True, tag="frame"):
    """One JPEG, seen at stream position `sample`."""

    seq: Seq
    sample: Position
    captured_at: UtcNs
    width: Annotated[int, msgspec.Meta(gt=0, le=8192)]
    height: Annotated[int, msgspec.Meta(gt=0, le=8192)]


class Silence(Message, frozen=True, tag="silence"):
    """Nothing was said in [first_sample, first_sample + n_samples)."""

    seq: Seq
    first_sample: Position
    n_samples: Annotated[int, msgspec.Meta(gt=0, le=2**62)]
    captured_at: UtcNs


class Gap(Message, frozen=True, tag="gap"):
    """What was in [first_sample, first_sample + n_samples) is lost, and why. `n_samples` 0: frames only."""

    seq: Seq
    first_sample: Position
    n_samples: Position
    captured_at: UtcNs
    reason: ShortText


class State(Message, frozen=True, tag="state"):
    """How the device is: not a record, never stored, only shown."""

    recording: bool
    backlog: Annotated[int, msgspec.Meta(ge=0)]
    level: Annotated[float, msgspec.Meta(ge=0, le=1)]


class Ack(Message, frozen=True, tag="ack"):
    """Every record up to `seq` is durable on the server."""

    seq: Annotated[int, msgspec.Meta(ge=0)]


class Note(Message, frozen=True, tag="note"):
    """What the server made of an utterance. `done` is always true today: devices get no drafts."""

    utterance: Seq
    text: str
    done: bool


class Control(Message, frozen=True, tag="control"):
    """Someone asks the device to pause or to resume."""

    action: Annotated[str, msgspec.Meta(pattern=r"^(pause|resume)\Z")]


class SlowDown(Message, frozen=True, tag="slow_down"):
    """The server is behind; it takes records but sheds what `shedding` says."""

    shedding: ShortText


class Error(Message, frozen=True, tag="error"):
    """Why the server is about to close. `code`: protocol, version, storage, replaced or busy."""

    code: ShortText
    message: ShortText


Record = UtteranceStart | Audio | UtteranceEnd | Frame | Silence | Gap
FromAgent = Hello | State | Record
FromServer = Welcome | Ack | Note | Control | SlowDown | Error

_encoder = msgspec.json.Encoder()
_from_agent = msgspec.json.Decoder(FromAgent)
_from_server = msgspec.json.Decoder(FromServer)


def encode(message: FromAgent | FromServer, payload: bytes = b"") -> bytes:
    """One wire frame."""
    return _encoder.encode(message) + b"\n" + payload


def decode_from_agent(frame: bytes) -> tuple[FromAgent, bytes]:
    """Parse one frame that an agent sent. Raises ProtocolError, and nothing else, on bad input."""
    header, payload = _split(frame)
    try:
        message = _from_agent.decode(header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ProtocolError(f"bad header: {exc}") from exc
    match message:
        case Audio(codec="opus", n_samples=n_samples):
            if len(unpack(payload)) * PACKET_SAMPLES != n_samples:
                raise ProtocolError(f"audio says {n_samples} samples and carries another number of packets")
        case Audio(n_samples=n_samples):
            if len(payload) != 2 * n_samples:
                raise ProtocolError(f"audio says {n_samples} samples and carries {len(payload)} bytes of PCM")
        case Frame():
            if not payload:
                raise ProtocolError("a frame without an image")
        case _:
            if payload:
                raise ProtocolError(f"{type(message).__name__} has no payload, and {len(payload)} bytes came")
    return message, payload


def decode_from_server(frame: bytes) -> FromServer:
    """Parse one frame that a server sent. Raises ProtocolError, and nothing else, on bad input."""
    header, payload = _split(frame)
    if payload:
        raise ProtocolError("the server's messages have no payload")
    try:
        message: FromServer = _from_server.decode(header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ProtocolError(f"bad header: {exc}") from exc
    return message


def _split(frame: bytes) -> tuple[bytes, bytes]:
    if len(frame) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"a message of {len(frame)} bytes; at most {MAX_MESSAGE_BYTES} are allowed")
    header, newline, payload = frame.partition(b"\n")
    if not newline:
        raise ProtocolError("no newline after the header")
    return header, payload


def pack(packets: list[bytes]) -> bytes:
    """Join Opus packets, each preceded by its length as two bytes, big-endian."""
    return b"".join(len(packet).to_bytes(2, "big") + packet for packet in packets)


def unpack(payload: bytes) -> list[bytes]:
    """Take `pack` apart again. Raises ProtocolError if the lengths do not add up or a packet is impossible."""
    packets, at = [], 0
    while at < len(payload):
        length = int.from_bytes(payload[at : at + 2], "big")
        packet = payload[at + 2 : at + 2 + length]
        if not 0 < length <= MAX_PACKET_BYTES or len(packet) != length:
            raise ProtocolError(f"packet of {length} bytes at offset {at} of {len(payload)}")
        packets.append(packet)
        at += 2 + length
    return packets
