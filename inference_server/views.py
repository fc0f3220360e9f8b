"""How things look in the HTTP interface: from the cores' types to JSON objects, as docs/api.md describes them. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from agent.audio import seconds
from inference_server.ledger import Account, end_ns
from inference_server.moments import ExportedMoment
from inference_server.notes import Line, Topic

Json = dict[str, Any]


def iso(utc_ns: int) -> str:
    """ISO 8601 UTC with milliseconds."""
    return (
        datetime.fromtimestamp(utc_ns // 1_000_000 / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def line(line: Line) -> Json:
    """A line of the running notes."""
    spoken = line.kind == "heard"
    return {
        "id": line.id,
        "kind": line.kind,
        "stream": line.stream,
        "utterance": line.seq if spoken else None,
        "captured_at": iso(line.captured_at),
        "end_at": iso(line.end_at),
        "text": line.text,
        "heard": line.heard,
        "speaker": line.speaker,
        "todo": line.todo,
        "audio": f"/api/media/{line.stream}/{line.seq}.ogg" if spoken and line.audio else None,
        "frame": None if line.frame is None else f"/api/media/{line.stream}/{line.frame}.jpg",
    }


def topic(topic: Topic) -> Json:
    """A topic without its lines."""
    return {
        "id": topic.id,
        "stream": topic.stream,
        "device": topic.device,
        "title": topic.title,
        "started_at": iso(topic.started_at),
    }


def topic_with_lines(whole: Topic) -> Json:
    """A topic with its lines."""
    return topic(whole) | {"lines": [line(member) for member in whole.lines]}


def evidence(line_: Line, device: str) -> Json:
    """A line that an answer stands on."""
    return {
        key: value
        for key, value in line(line_).items()
        if key in ("id", "stream", "utterance", "captured_at", "text", "audio", "frame")
    } | {"device": device}


def answer(
    stream: str,
    utterance: int,
    captured_at: int,
    question: str,
    text: str,
    evidence: Sequence[Json],
    done: bool,
) -> Json:
    """A spoken question and its answer, as far as it has come."""
    return {
        "id": f"{stream}/{utterance}",
        "stream": stream,
        "utterance": utterance,
        "captured_at": iso(captured_at),
        "question": question,
        "text": text,
        "evidence": list(evidence),
        "done": done,
        "answered": bool(evidence),
    }


def ledger(stream: str, device: str, day: str, account: Account) -> Json:
    """A stream's account of one day."""
    return {
        "stream": stream,
        "device": device,
        "day": day,
        "noted_s": round(account.noted_s, 3),
        "silence_s": round(account.silence_s, 3),
        "gap_s": round(account.gap_s, 3),
        "pending_s": round(account.pending_s, 3),
        "total_s": round(account.total_s, 3),
        "spans": [
            {
                "start_at": iso(span.captured_at),
                "end_at": iso(end_ns(span)),
                "kind": span.kind,
                "reason": span.reason,
            }
            for span in account.spans
        ],
    }


def moment(exported: ExportedMoment) -> Json:
    """One moment as a line of the JSONL export."""
    return {
        "stream": exported.stream,
        "utterance": exported.utterance,
        "captured_at": iso(exported.captured_at),
        "start_s": seconds(exported.first_sample),
        "end_s": seconds(exported.end_sample),
        "outcome": exported.outcome + (f"({exported.outcome_reason})" if exported.outcome == "failed" else ""),
        "heard": exported.heard,
        "seen": list(exported.seen),
        "note": exported.note,
        "frames": list(exported.frames),
        "audio": exported.audio,
        "engine": exported.engine,
        "latency_ms": exported.latency_ms,
    }
