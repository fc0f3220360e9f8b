"""The session: which records fit, and where the stream stands after them."""

from dataclasses import replace

import pytest
from fakes import NOON, Tape
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol import Audio, Frame, Gap, ProtocolError, Record, Silence, UtteranceEnd, UtteranceStart
from inference_server.session import LAST_POSITION, LONGEST, Session, Verdict


def started(seq: int, first: int) -> UtteranceStart:
    return UtteranceStart(seq=seq, first_sample=first, captured_at=NOON)


def audio(seq: int, first: int, n: int) -> Audio:
    return Audio(seq=seq, first_sample=first, n_samples=n, captured_at=NOON, codec="pcm")


def ended(seq: int, end: int) -> UtteranceEnd:
    return UtteranceEnd(seq=seq, end_sample=end, captured_at=NOON, reason="pause")


def silence(seq: int, first: int, n: int) -> Silence:
    return Silence(seq=seq, first_sample=first, n_samples=n, captured_at=NOON)


def gap(seq: int, first: int, n: int) -> Gap:
    return Gap(seq=seq, first_sample=first, n_samples=n, captured_at=NOON, reason="lost")


def frame(seq: int) -> Frame:
    return Frame(seq=seq, sample=0, captured_at=NOON, width=1, height=1)


def after(*records: Record) -> Session:
    session = Session()
    for record in records:
        assert session.receive(record) is Verdict.FRESH
    return session


tapes = st.lists(st.sampled_from(["utterance", "lossy", "silence", "gap", "frame"]), max_size=12)


def recorded(steps: list[str]) -> list[Record]:
    tape = Tape(codec="pcm")
    for step in steps:
        match step:
            case "utterance":
                tape.start()
                tape.audio(3, b"")
                tape.end()
            case "lossy":
                tape.start()
                tape.audio(2, b"")
                tape.lose(2)
                tape.frame(b"x")
                tape.end()
            case "silence":
                tape.silence(0.5)
            case "gap":
                tape.gap(0.5)
            case _:
                tape.frame(b"x")
    return [record for record, _ in tape.records]


@given(tapes)
def test_what_an_agent_records_is_taken_whole_and_accounted_for_to_its_end(steps: list[str]) -> None:
    records = recorded(steps)

    session = after(*records)

    spans = [r for r in records if isinstance(r, Silence | Gap)]
    assert session.have_seq == len(records)
    assert session.open_utterance == 0
    assert session.end >= max((span.first_sample for span in spans), default=0)


@given(tapes, st.data())
def test_records_that_come_again_change_nothing(steps: list[str], data: st.DataObject) -> None:
    records = recorded(steps)
    session = after(*records)
    stood = replace(session)

    for record in data.draw(st.lists(st.sampled_from(records))) if records else []:
        assert session.receive(record) is Verdict.DUPLICATE
    assert session == stood


@given(tapes, st.integers(2, 1000))
def test_a_missing_record_is_refused_and_the_stream_stands_where_it_stood(steps: list[str], ahead: int) -> None:
    session = after(*recorded(steps))
    stood = replace(session)

    with pytest.raises(ProtocolError, match="one is missing"):
        session.receive(frame(session.have_seq + ahead))
    assert session == stood


def test_speech_and_silence_follow_each_other_without_a_hole() -> None:
    session = after(silence(1, 0, 100), started(2, 100), audio(3, 100, 320), ended(4, 400), gap(5, 400, 50))
    assert (session.have_seq, session.end, session.open_utterance) == (5, 450, 0)


def test_audio_behind_a_cut_belongs_to_no_one_and_is_sent_again() -> None:
    session = after(started(1, 0), audio(2, 0, 1000), ended(3, 600), started(4, 600), audio(5, 600, 400))
    assert session.audio_end == 1000 and session.end == 600


def test_a_gap_inside_an_utterance_stands_for_its_audio() -> None:
    session = after(started(1, 0), gap(2, 0, 320), audio(3, 320, 320), ended(4, 640))
    assert session.end == 640


def test_frames_and_gaps_of_frames_take_no_time() -> None:
    session = after(frame(1), gap(2, 999, 0), started(3, 0), gap(4, 7, 0), frame(5))
    assert (session.end, session.audio_end, session.open_utterance) == (0, 0, 3)


@pytest.mark.parametrize(
    ("before", "nonsense", "reason"),
    [
        ([], audio(1, 0, 320), "outside of an utterance"),
        ([], ended(1, 0), "outside of an utterance"),
        ([], started(1, 5), "sample 5 came where 0 was next"),
        ([], silence(1, 5, 5), "sample 5 came where 0 was next"),
        ([started(1, 0)], started(2, 0), "inside utterance 1"),
        ([started(1, 0)], silence(2, 0, 5), "inside utterance 1"),
        ([started(1, 0)], audio(2, 320, 320), "sample 320 came where 0 was next"),
        ([started(1, 0), audio(2, 0, 320)], ended(3, 321), "outside its audio"),
        ([silence(1, 0, 100), started(2, 100), audio(3, 100, 320)], ended(4, 99), "outside its audio"),
        ([], gap(1, 0, LAST_POSITION + 1), "beyond the last position"),
        ([gap(1, 0, LAST_POSITION)], silence(2, LAST_POSITION, 1), "beyond the last position"),
        ([gap(1, 0, LAST_POSITION), started(2, LAST_POSITION)], audio(3, LAST_POSITION, 1), "beyond the last"),
        ([started(1, 0)], gap(2, 0, LONGEST + 1), "longer than"),
    ],
)
def test_nonsense_is_refused_with_its_reason_and_changes_nothing(
    before: list[Record], nonsense: Record, reason: str
) -> None:
    session = after(*before)
    stood = replace(session)

    with pytest.raises(ProtocolError, match=reason):
        session.receive(nonsense)
    assert session == stood


def test_the_longest_utterance_is_taken() -> None:
    session = after(started(1, 0), gap(2, 0, LONGEST), ended(3, LONGEST))
    assert session.end == LONGEST
