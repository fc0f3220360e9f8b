"""What counts as a question to us."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.answering import question_in


@pytest.mark.parametrize(
    "heard",
    [
        "Hey notes, when is the launch?",
        "hey notes when is the launch?",
        "Hey, Notes! When is the launch?",
        "Hey note, when is the launch?",
        "Hey nodes. When is the launch?",
    ],
)
def test_a_question_stands_behind_the_wake_phrase(heard: str) -> None:
    assert question_in(heard, "hey notes").casefold() == "when is the launch?"


@pytest.mark.parametrize(
    "heard",
    [
        "Hey notes.",
        "Hey, no one is here.",
        "They say hey notes is a phrase.",
        "Hay notes are made of grass.",
        "Hey boats, when is the launch?",
        "Hey notebook, when is the launch?",
        "Notes hey when",
        "",
    ],
)
def test_other_words_ask_nothing(heard: str) -> None:
    assert question_in(heard, "hey notes") == ""


@given(st.text(), st.text())
def test_a_question_is_the_end_of_what_was_heard(heard: str, wake: str) -> None:
    assert heard.strip().endswith(question_in(heard, wake))


def test_without_a_wake_phrase_nothing_is_a_question() -> None:
    assert question_in("Hey notes, when is the launch?", "") == ""
