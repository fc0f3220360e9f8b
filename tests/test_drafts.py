"""Drafts: often enough to read along, never so many that notes wait, never after the note."""

from hypothesis import given
from hypothesis import strategies as st

from inference_server.drafts import Drafts


def test_an_utterance_has_a_draft_every_so_often() -> None:
    drafts = Drafts(every_s=0.5)
    assert [drafts.due("a", now, pause=False) for now in (0.0, 0.3, 0.5, 0.9, 1.0)] == [True, False, True, False, True]


def test_a_pause_is_never_missed() -> None:
    drafts = Drafts(every_s=0.5)
    drafts.due("a", 0.0, pause=False)
    drafts.made(0.0, 10.0)
    assert drafts.due("a", 0.1, pause=True)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0.01, 2.0)), min_size=1, max_size=50))
def test_all_drafts_together_take_a_third_of_the_time_at_most(asked: list[tuple[str, float]]) -> None:
    drafts, now, busy = Drafts(every_s=0.01), 0.0, 0.0
    for key, took in asked:
        while not drafts.due(key, now, pause=False):
            now += 0.01
        busy, now = busy + took, now + took
        drafts.made(now - took, now)
    rest = 2 * asked[-1][1]
    assert busy <= (now + rest) / 3 + 1e-6


def test_a_draft_is_shown_once_and_not_after_the_note() -> None:
    drafts = Drafts(every_s=0.5)
    words = {"text": "It was"}
    assert drafts.show("a", words, noting=False) and not drafts.show("a", words, noting=False)
    assert not drafts.show("a", {"text": ""}, noting=False)
    assert drafts.shown == [words]
    drafts.end("a")
    assert not drafts.show("a", {"text": "It was the best"}, noting=False)
    assert drafts.show("a", {"text": "It was the best of times"}, noting=True)
    assert not drafts.due("a", 100.0, pause=True)
    drafts.forget("a")
    assert drafts.shown == []


def test_what_ended_long_ago_is_forgotten() -> None:
    drafts = Drafts(every_s=0.5)
    for n in range(300):
        drafts.end(str(n))
    assert drafts.due("0", 0.0, pause=False)
    assert not drafts.due("299", 0.0, pause=False)
