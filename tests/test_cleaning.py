"""Cleaning: only words that were heard come out, in the order in which they were heard."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.engines.cascade.cleaning import clean, is_todo, without_marks

SPOKEN = (
    "um Uh you know, I mean, sort of, we We we, launch launch. Friday Friday, at ten the the- [music] (laughs) no no "
    "3 3 don't… ♪ , . ? - well, kind of like, that that you know,what Ä ß hmm mhm is is-"
)
speech = st.lists(st.sampled_from(SPOKEN.split(" ")), max_size=25).map(" ".join)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


@given(st.one_of(st.text(), speech))
def test_cleaning_never_adds_a_word(heard: str) -> None:
    rest = iter(words(heard))
    assert all(word in rest for word in words(clean(heard)))


@given(st.one_of(st.text(), speech))
def test_what_is_clean_is_one_line_that_begins_large_and_ends_with_a_mark(heard: str) -> None:
    note = clean(heard)
    assert "\n" not in note
    assert note == "" or (note[0] == note[0].upper() and note[-1] in ".!?…\"'”")


@given(st.one_of(st.text(), speech))
def test_cleaning_twice_removes_nothing_more_than_fillers_that_came_together(heard: str) -> None:
    once = clean(heard)
    rest = iter(words(once))
    assert all(word in rest for word in words(clean(once)))


@pytest.mark.parametrize(
    ("heard", "note"),
    [
        ("um so we uh launch on friday", "So we launch on friday."),
        ("we we launch we launch on friday", "We launch on friday."),
        ("I think I think we should go", "I think we should go."),
        ("The The budget", "The budget."),
        ("that that was very very good", "That that was very very good."),
        ("call 3 3 4", "Call 3 3 4."),
        ("No. No. I mean it.", "No. No. I mean it."),
        ("It is, you know, late", "It is, late."),
        ("so you know,what", "So what."),
        ("Really?? Yes!!", "Really? Yes!"),
        ("[music] hello (laughs) ♪", "Hello."),
        ("um, uh.", ""),
        ("...", ""),
        ("", ""),
        ("what time is it?", "What time is it?"),
        ("- - go - - go -", "Go."),
    ],
)
def test_a_phrase_is_cleaned(heard: str, note: str) -> None:
    assert clean(heard) == note


def test_a_run_of_four_words_said_again_is_one() -> None:
    assert clean("we need to call we need to call Mia") == "We need to call Mia."


def test_marks_are_no_words() -> None:
    assert without_marks("[BLANK_AUDIO] (wind) ♪♪ hi") == "hi"


@pytest.mark.parametrize(
    "note",
    [
        "Remember to call Mia.",
        "We need to go.",
        "I'll send it.",
        "Send the report by Friday.",
        "Please close the door.",
    ],
)
def test_a_task_is_a_task(note: str) -> None:
    assert is_todo(note)


@pytest.mark.parametrize("note", ["Shall I send it by Friday, please?", "The sun shines.", "He sent it."])
def test_a_question_or_a_statement_is_no_task(note: str) -> None:
    assert not is_todo(note)
