"""JSON as docs/api.md describes it."""

from datetime import datetime

from fakes import NOON
from hypothesis import given
from hypothesis import strategies as st

from inference_server import views
from inference_server.ledger import Span, account
from inference_server.moments import ExportedMoment
from inference_server.notes import Line, Topic

STREAM = "ab" * 16
FIELDS = "stream utterance captured_at start_s end_s outcome heard seen note frames audio engine latency_ms"
HEARD = Line(STREAM, 5, "heard", NOON, NOON + 10**9, "Note.", "note", frame=9, topic=5, audio=True)
SEEN = Line(STREAM, 9, "seen", NOON, NOON, "EXIT", frame=9, topic=5)


def exported(outcome: str, reason: str = "") -> ExportedMoment:
    return ExportedMoment(
        STREAM, 5, NOON, 16_000, 40_000, outcome, reason, "um note", "Note.", ("EXIT",), ("media/x.jpg",), "", "e", 7
    )


@given(st.integers(0, 2**63 - 1))
def test_times_are_utc_in_milliseconds_and_never_late(utc_ns: int) -> None:
    text = views.iso(utc_ns)
    assert text.endswith("Z") and len(text) == 24
    back = datetime.fromisoformat(text)
    ns = int(back.timestamp()) * 10**9 + back.microsecond * 1000
    assert ns == utc_ns // 10**6 * 10**6


def test_a_heard_line_has_its_clip_and_frame() -> None:
    assert views.line(HEARD) == {
        "id": f"{STREAM}/5",
        "kind": "heard",
        "stream": STREAM,
        "utterance": 5,
        "captured_at": "2026-11-20T12:00:00.000Z",
        "end_at": "2026-11-20T12:00:01.000Z",
        "text": "Note.",
        "heard": "note",
        "speaker": "",
        "todo": False,
        "audio": f"/api/media/{STREAM}/5.ogg",
        "frame": f"/api/media/{STREAM}/9.jpg",
    }


def test_a_seen_line_has_no_utterance_and_no_clip() -> None:
    view = views.line(SEEN)
    assert (view["utterance"], view["audio"], view["frame"]) == (None, None, f"/api/media/{STREAM}/9.jpg")


def test_a_line_without_media_says_null() -> None:
    view = views.line(Line(STREAM, 5, "heard", NOON, NOON, "Note."))
    assert (view["audio"], view["frame"]) == (None, None)


def test_a_topic_comes_with_its_lines_or_without() -> None:
    topic = Topic(STREAM, 5, "Calls", NOON, "pi", (HEARD,))
    whole = views.topic_with_lines(topic)
    assert whole.pop("lines") == [views.line(HEARD)]
    assert (
        whole
        == views.topic(topic)
        == {
            "id": f"{STREAM}/5",
            "stream": STREAM,
            "device": "pi",
            "title": "Calls",
            "started_at": "2026-11-20T12:00:00.000Z",
        }
    )


def test_evidence_has_what_a_reader_needs_to_check_it() -> None:
    assert views.evidence(HEARD, "pi") == {
        "id": f"{STREAM}/5",
        "stream": STREAM,
        "utterance": 5,
        "device": "pi",
        "captured_at": "2026-11-20T12:00:00.000Z",
        "text": "Note.",
        "audio": f"/api/media/{STREAM}/5.ogg",
        "frame": f"/api/media/{STREAM}/9.jpg",
    }


def test_an_answer_without_evidence_is_not_answered() -> None:
    assert not views.answer(STREAM, 5, NOON, "when?", "nothing", [], True)["answered"]
    assert views.answer(STREAM, 5, NOON, "when?", "Friday", [{}], False)["answered"]


def test_a_ledger_adds_up_in_seconds() -> None:
    spans = [Span(0, 16_000, NOON, "noted"), Span(16_000, 24_000, NOON + 10**9, "gap", "paused")]
    view = views.ledger(STREAM, "pi", "2026-11-20", account(spans))
    assert (view["noted_s"], view["silence_s"], view["gap_s"], view["pending_s"], view["total_s"]) == (
        1,
        0,
        0.5,
        0,
        1.5,
    )
    assert view["spans"][1] == {
        "start_at": "2026-11-20T12:00:01.000Z",
        "end_at": "2026-11-20T12:00:01.500Z",
        "kind": "gap",
        "reason": "paused",
    }


def test_an_exported_moment_has_exactly_the_documented_fields() -> None:
    view = views.moment(exported("noted"))
    assert " ".join(view) == FIELDS
    assert (view["start_s"], view["end_s"], view["outcome"]) == (1.0, 2.5, "noted")


def test_a_failure_is_exported_with_its_reason() -> None:
    assert views.moment(exported("failed", "no audio"))["outcome"] == "failed(no audio)"
