"""What can have been said; recognisers invent words over noise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.engines.cascade.plausible import LEAST_SPEECH_S, MOST_WORDS_PER_S, judge, loops


@given(st.text(), st.floats(0, LEAST_SPEECH_S, exclude_max=True), st.floats(0, 30))
def test_without_speech_nothing_is_ever_noted(words: str, speech_s: float, duration_s: float) -> None:
    assert judge(words, speech_s, duration_s).outcome == "silence"


@given(st.text(alphabet=" .,?!♪-"), st.floats(LEAST_SPEECH_S, 30))
def test_without_words_nothing_is_ever_noted(words: str, speech_s: float) -> None:
    assert judge(words, speech_s, speech_s).outcome == "unintelligible"


@given(st.lists(st.from_regex(r"[a-z]{1,6}", fullmatch=True), min_size=1, max_size=60))
def test_nobody_speaks_faster_than_people_do(said: list[str]) -> None:
    speech_s = 2.0
    if judge(" ".join(said), speech_s, speech_s).outcome == "noted":
        assert len(said) <= MOST_WORDS_PER_S * speech_s + 3


@pytest.mark.parametrize("phrase", ["Thank you.", "The end", "Thanks for watching!", "you", "Bye, bye.", "I'm sorry"])
def test_a_phrase_that_recognisers_invent_needs_speech_of_its_length(phrase: str) -> None:
    assert judge(phrase, 8.0, 8.0).outcome == "unintelligible"
    assert judge(phrase, 0.8, 1.5).outcome == "noted"


def test_two_words_over_a_long_noise_are_not_noted() -> None:
    assert judge("hello there", 0.4, 5.0).outcome == "unintelligible"
    assert judge("hello there", 0.4, 3.0).outcome == "noted"


def test_more_words_than_fit_the_speech_are_not_noted() -> None:
    assert judge("one two three four five six seven eight nine", 0.5, 1.0).outcome == "unintelligible"


def test_a_recogniser_that_goes_round_in_circles_is_not_noted() -> None:
    assert judge("I don't know " * 6, 10.0, 10.0).outcome == "unintelligible"


@pytest.mark.parametrize("run", ["ha", "I know", "and then again", "one two three four five six seven eight nine ten"])
def test_a_run_that_repeats_is_a_loop(run: str) -> None:
    assert loops((run + " ").split() * 12)


def test_ordinary_speech_is_no_loop() -> None:
    text = "we will launch the new site on friday because the budget for the launch ends on saturday you know"
    assert not loops(text.split())
    assert not loops(["no"] * 4)


def test_plain_speech_is_noted() -> None:
    assert judge("We launch on Friday at ten.", 2.0, 2.5).outcome == "noted"
