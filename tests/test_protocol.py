"""The wire: what goes in comes out, what does not belong is refused, and a change of it is seen in golden/wire.txt."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.protocol import (
    MAX_MESSAGE_BYTES,
    MAX_PACKET_BYTES,
    PACKET_SAMPLES,
    Ack,
    Audio,
    Control,
    Error,
    Frame,
    FromAgent,
    FromServer,
    Gap,
    Hello,
    Note,
    ProtocolError,
    Silence,
    SlowDown,
    State,
    UtteranceEnd,
    UtteranceStart,
    Welcome,
    decode_from_agent,
    decode_from_server,
    encode,
    pack,
    unpack,
)

GOLDEN = Path(__file__).parent / "golden" / "wire.txt"

seqs = st.integers(1, 2**62)
positions = st.integers(0, 2**62)
utc = st.integers(0, 2**63 - 1)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
packets = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=16)


@st.composite
def audio(draw: st.DrawFn) -> tuple[FromAgent, bytes]:
    """An audio record with a payload that fits it."""
    parts = draw(packets)
    codec = draw(st.sampled_from(["opus", "pcm"]))
    n = len(parts) * PACKET_SAMPLES
    record = Audio(
        seq=draw(seqs), first_sample=draw(positions), n_samples=n, captured_at=draw(utc), codec=codec, pre_skip=312
    )
    return record, pack(parts) if codec == "opus" else bytes(2 * n)


def alone(message: st.SearchStrategy[FromAgent]) -> st.SearchStrategy[tuple[FromAgent, bytes]]:
    """A message without a payload."""
    return message.map(lambda m: (m, b""))


hellos = st.builds(
    Hello,
    protocol=st.integers(0, 9),
    stream=st.text("0123456789abcdef", min_size=32, max_size=32),
    device=words,
    clock=utc,
    codecs=st.just(("opus", "pcm")),
    next_seq=seqs,
)
spans = {"seq": seqs, "first_sample": positions, "captured_at": utc}
frames = st.builds(
    Frame,
    seq=seqs,
    sample=positions,
    captured_at=utc,
    width=st.integers(1, 8192),
    height=st.integers(1, 8192),
)
from_agent = st.one_of(
    audio(),
    alone(hellos),
    alone(st.builds(State, recording=st.booleans(), backlog=positions, level=st.floats(0, 1))),
    alone(st.builds(UtteranceStart, **spans)),
    alone(st.builds(UtteranceEnd, seq=seqs, end_sample=positions, captured_at=utc, reason=words)),
    alone(st.builds(Silence, **spans, n_samples=st.integers(1, 2**62))),
    alone(st.builds(Gap, **spans, n_samples=positions, reason=words)),
    st.tuples(frames, st.binary(min_size=1, max_size=50)),
)
from_server: st.SearchStrategy[FromServer] = st.one_of(
    st.builds(
        Welcome, protocol=st.integers(0, 9), have_seq=positions, codec=st.sampled_from(["opus", "pcm"]), server=words
    ),
    st.builds(Ack, seq=positions),
    st.builds(Note, utterance=seqs, text=st.text(st.characters(exclude_categories=["Cs"])), done=st.booleans()),
    st.builds(Control, action=st.sampled_from(["pause", "resume"])),
    st.builds(SlowDown, shedding=words),
    st.builds(Error, code=words, message=words),
)


@given(from_agent)
def test_whatever_an_agent_says_arrives_as_it_was_said(said: tuple[FromAgent, bytes]) -> None:
    assert decode_from_agent(encode(*said)) == said


@given(from_server)
def test_whatever_a_server_says_arrives_as_it_was_said(said: FromServer) -> None:
    assert decode_from_server(encode(said)) == said


def refused_or_understood(frame: bytes) -> None:
    """Both decoders may take `frame` or raise ProtocolError; anything else escapes and fails the test."""
    for decode in (decode_from_agent, decode_from_server):
        with suppress(ProtocolError):
            decode(frame)


@given(st.one_of(st.binary(), st.binary().map(lambda b: b + b"\n"), st.text().map(lambda t: t.encode() + b"\n")))
@example(b"\n")
@example(b"[" * 100_000 + b"\n")
@example(b'{"type":"ack","seq":' + b"9" * 5000 + b"}\n")
@example(b'{"type":"ack","seq":1e400}\n')
@example(b'{"type":"ack","seq":true}\n')
@example(b'{"type":{"a":' * 2000 + b"\n")
@example(b'{"type":"error","code":"\\ud800","message":""}\n')
@example(b'{"type":"error","code":"\xff","message":""}\n')
def test_arbitrary_bytes_raise_a_protocol_error_and_nothing_else(frame: bytes) -> None:
    refused_or_understood(frame)


@given(st.data(), from_agent)
def test_a_truncated_frame_is_refused_unless_only_image_bytes_are_missing(
    data: st.DataObject, said: tuple[FromAgent, bytes]
) -> None:
    whole = encode(*said)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        message, payload = decode_from_agent(cut)
    except ProtocolError:
        return
    assert isinstance(message, Frame) and payload


@given(st.data(), st.one_of(from_agent.map(lambda said: encode(*said)), from_server.map(encode)))
def test_a_mutated_frame_raises_a_protocol_error_and_nothing_else(data: st.DataObject, whole: bytes) -> None:
    frame = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(frame) - 1))
        frame[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        if not frame:
            break
    refused_or_understood(bytes(frame))


@given(from_agent)
def test_an_unknown_field_is_refused(said: tuple[FromAgent, bytes]) -> None:
    header, newline, payload = encode(*said).partition(b"\n")
    with pytest.raises(ProtocolError, match="unknown field"):
        decode_from_agent(header[:-1] + b',"surprise":1}' + newline + payload)


@pytest.mark.parametrize(
    "header",
    [
        '{"type":"silence","seq":0,"first_sample":0,"n_samples":1,"captured_at":0}',
        '{"type":"silence","seq":-1,"first_sample":0,"n_samples":1,"captured_at":0}',
        '{"type":"silence","seq":1,"first_sample":-1,"n_samples":1,"captured_at":0}',
        '{"type":"silence","seq":1,"first_sample":0,"n_samples":0,"captured_at":0}',
        '{"type":"silence","seq":1,"first_sample":0,"n_samples":1}',
        '{"type":"silence","seq":"1","first_sample":0,"n_samples":1,"captured_at":0}',
        '{"type":"telepathy","seq":1}',
        '{"seq":1}',
        '{"type":"state","recording":true,"backlog":0,"level":1.5}',
        '{"type":"hello","protocol":1,"stream":"../../etc","device":"","clock":0,"codecs":[],"next_seq":1}',
        '{"type":"ack","seq":1}',
        "[]",
        "null",
    ],
)
def test_a_header_that_breaks_the_contract_is_refused(header: str) -> None:
    with pytest.raises(ProtocolError, match="bad header"):
        decode_from_agent(header.encode() + b"\n")


def test_an_agent_does_not_take_what_only_agents_say() -> None:
    silence = Silence(seq=1, first_sample=0, n_samples=1, captured_at=0)
    with pytest.raises(ProtocolError, match="bad header"):
        decode_from_server(encode(silence))


def test_a_message_of_a_server_with_a_payload_is_refused() -> None:
    with pytest.raises(ProtocolError, match="no payload"):
        decode_from_server(encode(Ack(seq=1), b"x"))


def test_a_silence_with_a_payload_is_refused() -> None:
    with pytest.raises(ProtocolError, match="no payload"):
        decode_from_agent(encode(Silence(seq=1, first_sample=0, n_samples=1, captured_at=0), b"x"))


def test_a_frame_without_an_image_is_refused() -> None:
    with pytest.raises(ProtocolError, match="without an image"):
        decode_from_agent(encode(Frame(seq=1, sample=0, captured_at=0, width=1, height=1)))


def test_a_frame_without_a_newline_is_refused() -> None:
    with pytest.raises(ProtocolError, match="newline"):
        decode_from_agent(b'{"type":"ack","seq":1}')


def test_a_message_beyond_the_size_limit_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(ProtocolError, match="at most"):
        decode_from_agent(b" " * MAX_MESSAGE_BYTES + b"\n")


@pytest.mark.parametrize("missing", [-1, 1])
@pytest.mark.parametrize("codec", ["opus", "pcm"])
def test_audio_that_carries_more_or_less_than_it_says_is_refused(codec: str, missing: int) -> None:
    n = 2 * PACKET_SAMPLES
    record = Audio(seq=1, first_sample=0, n_samples=n, captured_at=0, codec=codec)
    payload = pack([b"x"] * (2 - missing)) if codec == "opus" else bytes(2 * n - missing)
    with pytest.raises(ProtocolError, match="audio says"):
        decode_from_agent(encode(record, payload))


@given(st.lists(st.binary(min_size=1, max_size=MAX_PACKET_BYTES), max_size=20))
def test_packed_packets_come_apart_as_they_were(parts: list[bytes]) -> None:
    assert unpack(pack(parts)) == parts


@given(st.binary(max_size=200))
def test_any_payload_comes_apart_whole_or_not_at_all(payload: bytes) -> None:
    try:
        parts = unpack(payload)
    except ProtocolError:
        return
    assert pack(parts) == payload


@pytest.mark.parametrize("payload", [b"\x00", b"\x00\x00", b"\x00\x02x", b"\x04\xfc" + bytes(1276)])
def test_packets_whose_lengths_do_not_add_up_are_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="packet of"):
        unpack(payload)


def test_the_wire_has_not_changed() -> None:
    """If it is meant to: raise PROTOCOL, tell it in the docstring, then replace golden/wire.txt."""
    messages: list[tuple[FromAgent | FromServer, bytes]] = [
        (
            Hello(
                protocol=1, stream="0f" * 16, device="ブリッジ", clock=1_700_000_000_000_000_000,
                codecs=("opus", "pcm"), next_seq=7,
            ),
            b"",
        ),
        (Welcome(protocol=1, have_seq=6, codec="opus", server="fieldnote"), b""),
        (UtteranceStart(seq=7, first_sample=1600, captured_at=1_700_000_000_100_000_000), b""),
        (
            Audio(seq=8, first_sample=1600, n_samples=640, captured_at=1, codec="opus", pre_skip=312),
            pack([b"\x48\x01", b"\x48\x02\x03"]),
        ),
        (UtteranceEnd(seq=9, end_sample=2100, captured_at=2, reason="pause"), b""),
        (Frame(seq=10, sample=2100, captured_at=3, width=640, height=480), b"\xff\xd8\xff\xd9"),
        (Silence(seq=11, first_sample=2100, n_samples=80_000, captured_at=4), b""),
        (Gap(seq=12, first_sample=82_100, n_samples=16_000, captured_at=5, reason="paused"), b""),
        (State(recording=True, backlog=3, level=0.25), b""),
        (Ack(seq=12), b""),
        (Note(utterance=7, text="Hello", done=False), b""),
        (Control(action="pause"), b""),
        (SlowDown(shedding="frames"), b""),
        (Error(code="version", message="upgrade"), b""),
    ]  # fmt: skip
    lines = [repr(encode(message, payload))[2:-1] for message, payload in messages]
    assert lines == GOLDEN.read_text("utf-8").splitlines()
