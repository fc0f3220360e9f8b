"""The ledger: every second counted once."""

from itertools import pairwise

import pytest
from fakes import NOON
from hypothesis import given
from hypothesis import strategies as st

from agent.audio import SAMPLE_RATE
from inference_server.ledger import (
    KINDS,
    Span,
    account,
    day_bounds_ns,
    day_of,
    end_ns,
    partition,
    utterance_kind,
)

MIDNIGHT = 1_795_219_200_000_000_000  # 2026-11-21T00:00:00Z
NS_A_SAMPLE = 1_000_000_000 // SAMPLE_RATE


def at(sample: int) -> int:
    return NOON + sample * NS_A_SAMPLE


@st.composite
def any_spans(draw: st.DrawFn) -> list[Span]:
    """Spans that overlap, repeat and leave holes."""
    pairs = draw(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30), st.sampled_from(KINDS)), max_size=8))
    return [Span(start, start + n, at(start), kind) for start, n, kind in pairs]


@st.composite
def a_stream(draw: st.DrawFn) -> list[Span]:
    """Spans as a store has them: neighbours, and gaps inside utterances."""
    spans, position = [], 0
    for kind, n in draw(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 500_000)), min_size=1, max_size=8)):
        spans.append(Span(position, position + n, at(position), kind))
        if kind in ("noted", "pending"):
            first = draw(st.integers(position, position + n))
            spans.append(Span(first, draw(st.integers(first, position + n)), at(first), "gap", "lost"))
        position += n
    return draw(st.permutations(spans))


@given(any_spans())
def test_pieces_never_overlap_and_add_up_exactly_to_the_stretch(spans: list[Span]) -> None:
    pieces = partition(spans)

    solid = [span for span in spans if span.end > span.start]
    assert all(piece.end > piece.start for piece in pieces)
    assert all(one.end == other.start for one, other in pairwise(pieces))
    if solid:
        assert pieces[0].start == min(span.start for span in solid)
        assert pieces[-1].end == max(span.end for span in solid)
    else:
        assert pieces == []


@given(any_spans())
def test_a_lost_sample_is_never_called_noted_and_a_hole_is_pending(spans: list[Span]) -> None:
    for piece in partition(spans):
        for sample in range(piece.start, piece.end):
            kinds = {span.kind for span in spans if span.start <= sample < span.end}
            assert piece.kind == "gap" if "gap" in kinds else piece.kind in (kinds or {"pending"})


@given(a_stream())
def test_each_piece_keeps_its_own_capture_time(spans: list[Span]) -> None:
    assert all(piece.captured_at == at(piece.start) for piece in partition(spans))


@given(a_stream())
def test_the_kinds_add_up_to_the_whole_stream(spans: list[Span]) -> None:
    total = account(spans)

    samples = max(span.end for span in spans)
    assert total.total_s == pytest.approx(samples / SAMPLE_RATE, abs=1e-6)
    assert sum(span.end - span.start for span in total.spans) == samples
    for one, other in pairwise(total.spans):
        assert (one.kind, one.reason) != (other.kind, other.reason)


@given(a_stream(), st.integers(0, 1_000_000))
def test_two_days_together_are_the_whole_across_midnight(spans: list[Span], before: int) -> None:
    shift = MIDNIGHT - NOON - before * NS_A_SAMPLE
    moved = [Span(s.start, s.end, s.captured_at + shift, s.kind, s.reason) for s in spans]

    days = [account(moved, day) for day in ("2026-11-20", "2026-11-21")]

    whole = account(moved)
    for kind in KINDS:
        parts = sum(getattr(day, f"{kind}_s") for day in days)
        assert parts == pytest.approx(getattr(whole, f"{kind}_s"), abs=1e-6)
    assert all(end_ns(span) <= MIDNIGHT for span in days[0].spans)
    assert all(span.captured_at >= MIDNIGHT for span in days[1].spans)


def test_a_gap_inside_an_utterance_splits_it_in_three() -> None:
    pieces = partition([Span(0, 100, at(0), "noted"), Span(40, 60, at(40), "gap", "spool full")])
    assert [(p.start, p.end, p.kind, p.reason) for p in pieces] == [
        (0, 40, "noted", ""),
        (40, 60, "gap", "spool full"),
        (60, 100, "noted", ""),
    ]


def test_a_gap_that_outlasts_what_it_began_in_is_counted_to_its_end() -> None:
    pieces = partition([Span(0, 10, at(0), "noted"), Span(5, 20, at(5), "gap")])
    assert [(p.start, p.end, p.kind) for p in pieces] == [(0, 5, "noted"), (5, 10, "gap"), (10, 20, "gap")]


def test_neighbours_of_one_kind_are_merged_but_not_across_a_clock_step() -> None:
    one, two = Span(0, 16_000, at(0), "silence"), Span(16_000, 32_000, at(16_000), "silence")
    stepped = Span(32_000, 48_000, at(32_000) + 3_600_000_000_000, "silence")

    assert [(s.start, s.end) for s in account([one, two, stepped]).spans] == [(0, 32_000), (32_000, 48_000)]


def test_a_span_of_another_day_is_not_counted() -> None:
    assert account([Span(0, 16_000, NOON, "noted")], "2026-11-19").total_s == 0


@pytest.mark.parametrize(
    ("outcome", "reason", "expected"),
    [
        ("noted", "", ("noted", "")),
        ("silence", "no speech", ("silence", "")),
        ("unintelligible", "", ("gap", "unintelligible")),
        ("", "", ("pending", "")),
        ("failed", "no audio", ("gap", "failed: no audio")),
        ("forgotten", "", ("gap", "forgotten")),
    ],
)
def test_every_outcome_is_one_kind_of_time(outcome: str, reason: str, expected: tuple[str, str]) -> None:
    assert utterance_kind(outcome, reason) == expected


@given(st.integers(0, 2**63 - 1))
def test_every_nanosecond_lies_in_the_bounds_of_its_day(utc_ns: int) -> None:
    start, end = day_bounds_ns(day_of(utc_ns))
    assert start <= utc_ns and (utc_ns < end or utc_ns == 2**63 - 1)


@pytest.mark.parametrize("day", ["2026-13-01", "yesterday", "0000-00-00", "1969-12-31", "9999-12-31", "2262-04-12"])
def test_a_day_that_cannot_be_kept_is_refused_by_name(day: str) -> None:
    with pytest.raises(ValueError, match=day):
        day_bounds_ns(day)
