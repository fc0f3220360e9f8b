"""Which stored lines support an answer. Pure: question and passages in, the supporting ones out."""

from collections.abc import Sequence
from dataclasses import dataclass

from inference_server.engines.base import Passage
from inference_server.words import content

SUPPORT = 0.6  # share of the question's content words that a passage must carry
_MOST = 3


@dataclass(frozen=True, slots=True)
class Support:
    """A passage and the share of the question that it covers, 0 to 1."""

    passage: Passage
    coverage: float


def supporting(question: str, passages: Sequence[Passage]) -> tuple[Support, ...]:
    """The passages that stand for an answer, best first, at most three; none if nothing supports one.

    A passage supports when it holds at least `SUPPORT` of the question's content words. Of two that cover the
    same, the one with more of other content says more; then the newer one.
    """
    asked = set(content(question))
    if not asked:
        return ()
    scored = []
    for passage in passages:
        words = set(content(passage.text))
        coverage = len(asked & words) / len(asked)
        if coverage >= SUPPORT and words - asked:  # a passage that only repeats the question answers nothing
            scored.append(Support(passage, coverage))
    scored.sort(
        key=lambda s: (s.coverage, min(12, len(set(content(s.passage.text)))), s.passage.captured_at),
        reverse=True,
    )
    if not scored:
        return ()
    return tuple(s for s in scored if s.coverage >= scored[0].coverage - 0.2)[:_MOST]
