"""Words of content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.words import STOP_WORDS, content, stem, tokens


@given(st.text())
def test_every_latin_token_stands_in_the_text(text: str) -> None:
    folded = text.replace("\u2019", "'").casefold()
    assert all(token in folded for token in tokens(text))


@given(st.text())
def test_content_is_the_tokens_without_stop_words_and_stemmed(text: str) -> None:
    assert content(text) == [stem(token) for token in tokens(text) if token not in STOP_WORDS]


@given(st.from_regex(r"[a-z']{1,15}", fullmatch=True))
def test_a_stem_is_never_empty_and_keeps_the_beginning(word: str) -> None:
    stemmed = stem(word)
    assert stemmed or word == "'s"
    assert word.startswith(stemmed.removesuffix("y"))


@pytest.mark.parametrize(
    "forms",
    [
        ("launch", "launched", "launches", "launching", "launcher"),
        ("plan", "planned", "planning", "plans"),
        ("city", "cities", "city's"),
        ("move", "moved", "moves", "moving"),
        ("carry", "carried", "carries"),
    ],
)
def test_forms_of_a_word_meet(forms: tuple[str, ...]) -> None:
    assert len({stem(form) for form in forms}) == 1


@pytest.mark.parametrize("word", ["glass", "red", "ring", "is"])
def test_words_that_only_look_inflected_stay(word: str) -> None:
    assert stem(word) == word


def test_chinese_and_japanese_are_cut_into_overlapping_pairs() -> None:
    assert tokens("発売は金曜日") == ["発売", "売は", "は金", "金曜", "曜日"]
    assert tokens("日") == ["日"]


def test_questions_without_content_have_none() -> None:
    assert content("What is it that they said about this?") == []


def test_a_curly_apostrophe_is_an_apostrophe() -> None:
    assert tokens("don\u2019t") == ["don't"]
