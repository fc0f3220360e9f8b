"""Headings: every word of one was said."""

from hypothesis import given
from hypothesis import strategies as st

from inference_server.engines.cascade.summary import title
from inference_server.words import tokens

NOTES = (
    "The website launch is on Friday.",
    "Mia tests the website launch page.",
    "The website launch needs a banner.",
    "Ben draws the banner tomorrow.",
)
WORDS = "website launch Friday the banner 3 is 2026 of Mia's launching"
said = st.lists(st.lists(st.sampled_from(WORDS.split())).map(" ".join), max_size=8)


@given(st.one_of(said, st.lists(st.text(), max_size=6)))
def test_every_word_of_a_heading_was_said(notes: list[str]) -> None:
    heard = {word for note in notes for word in tokens(note)}
    assert all(word in heard for word in tokens(title(notes)))


def test_a_heading_is_what_the_notes_come_back_to() -> None:
    assert title(NOTES) == "Website launch, banner"


def test_few_notes_have_no_heading() -> None:
    assert title(NOTES[:3]) == ""


def test_notes_that_have_nothing_in_common_have_no_heading() -> None:
    assert title(["Rain.", "Trains.", "Money.", "Cats."]) == ""


def test_notes_without_content_have_no_heading() -> None:
    assert title(["It is.", "And so.", "Yes.", "No."]) == ""


def test_a_long_phrase_stands_alone() -> None:
    notes = ["Quarterly budget review meeting."] * 4
    assert title(notes) == "Quarterly budget review meeting"
