"""The account of every second of a stream: noted, silence, gap (with its reason) or pending.

Pure: spans of stream positions in, totals and a day's strip out. Where spans overlap, a gap wins: what was lost
inside an utterance was not noted. Positions that nothing accounts for are pending.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from agent.audio import SAMPLE_RATE

KINDS = ("noted", "silence", "gap", "pending")
_LAST_NS = 2**63 - 1  # the store's integers have 64 bits: 2262-04-11
_OUTCOMES = {
    "noted": ("noted", ""),
    "silence": ("silence", ""),
    "unintelligible": ("gap", "unintelligible"),
    "": ("pending", ""),
}


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Positions [start, end) of a stream, captured from `captured_at` (UTC ns) on."""

    start: int
    end: int
    captured_at: int
    kind: str
    reason: str = ""


@dataclass(slots=True)
class Account:
    """Seconds by kind; `spans` in order, without overlap, neighbours of one kind merged."""

    noted_s: float = 0.0
    silence_s: float = 0.0
    gap_s: float = 0.0
    pending_s: float = 0.0
    spans: list[Span] = field(default_factory=list)

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.noted_s + self.silence_s + self.gap_s + self.pending_s


def utterance_kind(outcome: str, reason: str) -> tuple[str, str]:
    """The (kind, reason) of an utterance's span by its outcome ("" while there is none)."""
    return _OUTCOMES.get(outcome, ("gap", f"{outcome}: {reason}" if reason else outcome))


def partition(spans: Iterable[Span]) -> list[Span]:
    """Spans without overlap, in order: gaps cut into what they lie in, holes are pending."""
    flat: list[Span] = []
    gaps: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start, s.end)):
        if span.end <= span.start:
            continue
        if span.kind == "gap" and flat and span.start < flat[-1].end:
            gaps.append(span)
            if span.end > flat[-1].end:
                flat.append(_from(span, flat[-1].end, span.end))
            continue
        if flat and span.start > flat[-1].end:
            flat.append(_between(flat[-1], span.start))
        start = max(span.start, flat[-1].end) if flat else span.start
        if start < span.end:
            flat.append(_from(span, start, span.end))
    for gap in gaps:
        flat = [piece for span in flat for piece in _cut(span, gap)]
    return flat


def account(spans: Iterable[Span], day: str | None = None) -> Account:
    """Add up a stream's spans, of one UTC day (YYYY-MM-DD) or of all time."""
    total = Account()
    for span in partition(spans):
        piece = span if day is None else _clip(span, *day_bounds_ns(day))
        if piece is None:
            continue
        length_s = (piece.end - piece.start) / SAMPLE_RATE
        setattr(total, f"{piece.kind}_s", getattr(total, f"{piece.kind}_s") + length_s)
        _append_merged(total.spans, piece)
    return total


def day_of(utc_ns: int) -> str:
    """The UTC day, YYYY-MM-DD."""
    return datetime.fromtimestamp(utc_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d")


def day_bounds_ns(day: str) -> tuple[int, int]:
    """First nanosecond of the day, and of the next.

    Raises ValueError if `day` is not YYYY-MM-DD from 1970-01-01 to 2262-04-11.
    """
    try:
        start = int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1_000_000_000
    except ValueError as exc:
        raise ValueError(f"{day!r} is not a date like 2026-11-20") from exc
    if not 0 <= start <= _LAST_NS:
        raise ValueError(f"{day} lies outside of what can be kept: 1970-01-01 to 2262-04-11")
    return start, min(start + 86_400_000_000_000, _LAST_NS)


def end_ns(span: Span) -> int:
    """UTC nanoseconds at the span's end."""
    return span.captured_at + (span.end - span.start) * 1_000_000_000 // SAMPLE_RATE


def _from(span: Span, start: int, end: int) -> Span:
    offset_ns = (start - span.start) * 1_000_000_000 // SAMPLE_RATE
    return Span(start, end, span.captured_at + offset_ns, span.kind, span.reason)


def _between(before: Span, until: int) -> Span:
    return Span(before.end, until, end_ns(before), "pending")


def _cut(span: Span, gap: Span) -> list[Span]:
    """`span` with `gap` cut into it."""
    if span.kind == "gap" or gap.end <= span.start or gap.start >= span.end:
        return [span]
    start, end = max(span.start, gap.start), min(span.end, gap.end)
    middle = Span(start, end, _from(span, start, end).captured_at, "gap", gap.reason)
    pieces = [_from(span, span.start, start), middle, _from(span, end, span.end)]
    return [piece for piece in pieces if piece.end > piece.start]


def _clip(span: Span, from_ns: int, until_ns: int) -> Span | None:
    first = max(0, from_ns - span.captured_at) * SAMPLE_RATE // 1_000_000_000
    last = max(0, until_ns - span.captured_at) * SAMPLE_RATE // 1_000_000_000
    start, end = span.start + first, min(span.end, span.start + last)
    return _from(span, start, end) if start < end else None


def _append_merged(spans: list[Span], span: Span) -> None:
    last = spans[-1] if spans else None
    close = last is not None and abs(span.captured_at - end_ns(last)) < 1_000_000_000
    if last is not None and close and (last.kind, last.reason, last.end) == (span.kind, span.reason, span.start):
        spans[-1] = Span(last.start, span.end, last.captured_at, last.kind, last.reason)
    else:
        spans.append(span)
