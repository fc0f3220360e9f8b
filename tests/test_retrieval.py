"""Retrieval: what supports an answer, and that nothing else does."""

import pytest
from fakes import NOON
from hypothesis import given
from hypothesis import strategies as st

from inference_server.engines.base import Passage
from inference_server.retrieval import SUPPORT, supporting
from inference_server.words import content

NOTES = (
    "We launch the new website on Friday at ten.",
    "Mia sends the budget to the accountant tomorrow.",
    "The train to Delft leaves from platform twelve.",
    "Parking is free behind the station after six.",
    "The president of the chess club resigned.",
    "Last summer we cycled through France.",
)


def passages(*texts: str) -> tuple[Passage, ...]:
    return tuple(Passage(f"s/{n}", text, NOON + n) for n, text in enumerate(texts, 1))


def answered(question: str, *texts: str) -> list[str]:
    return [support.passage.text for support in supporting(question, passages(*(texts or NOTES)))]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("When do we launch the website?", NOTES[0]),
        ("Who is sending the budget?", NOTES[1]),
        ("From which platform does the Delft train leave?", NOTES[2]),
        ("Where is free parking?", NOTES[3]),
    ],
)
def test_a_question_is_answered_by_the_line_that_says_it(question: str, expected: str) -> None:
    assert answered(question)[0] == expected


@pytest.mark.parametrize(
    "question",
    [
        "Who is the president of France?",
        "What does the rocket launch cost?",
        "When does the plane to Delft land?",
        "Who is the accountant of the hospital?",
        "What is the capital of Mongolia?",
        "What is it?",
        "",
        "?!",
    ],
)
def test_a_question_that_the_notes_do_not_answer_is_not_answered(question: str) -> None:
    assert answered(question) == []


def test_a_line_that_only_repeats_the_question_answers_nothing() -> None:
    assert answered("When is the launch of the website?", "The launch of the website, when is it?") == []


def test_nothing_answers_without_notes() -> None:
    assert supporting("When is the launch?", ()) == ()


def test_of_equal_lines_the_newer_comes_first() -> None:
    assert answered("When is the launch?", "The launch is Monday.", "The launch is Friday.") == [
        "The launch is Friday.",
        "The launch is Monday.",
    ]


def test_a_line_that_covers_much_less_than_the_best_is_left_out() -> None:
    question = "When does the website launch party start in Delft?"
    best = "The website launch party starts at eight in Delft."
    assert answered(question, best, "The website launch party was fun, everybody danced.") == [best]


@given(st.text(max_size=40), st.lists(st.text(max_size=40), max_size=8))
def test_every_answer_covers_the_question_and_there_are_at_most_three(question: str, texts: list[str]) -> None:
    found = supporting(question, passages(*texts))

    assert len(found) <= 3
    asked = set(content(question))
    for support in found:
        held = set(content(support.passage.text))
        assert len(asked & held) / len(asked) >= SUPPORT and held - asked
