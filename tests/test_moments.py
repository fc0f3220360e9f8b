"""Moments: which frames belong to an utterance, and which seen text is new."""

from hypothesis import given
from hypothesis import strategies as st

from inference_server.moments import Moment, SeenFrame, frame_span, new_lines

texts = st.lists(st.text(max_size=12), max_size=6)


def moment(*samples: int) -> Moment:
    frames = tuple(SeenFrame(seq, sample) for seq, sample in enumerate(samples, 1))
    return Moment("s", 9, 1000, 2000, frames)


def test_the_frame_nearest_to_the_middle_is_shown() -> None:
    assert moment(900, 1400, 2100).shown_frame == 2


def test_a_moment_without_frames_shows_none() -> None:
    assert moment().shown_frame is None


def test_the_span_of_frames_does_not_begin_before_the_stream() -> None:
    assert frame_span(16_000, 32_000, 3.0, 0.5) == (0, 40_000)
    assert frame_span(160_000, 176_000, 3.0, 0.5) == (112_000, 184_000)


@given(texts, texts)
def test_only_lines_that_were_seen_come_out_each_once_and_in_order(seen: list[str], recent: list[str]) -> None:
    fresh = new_lines(seen, recent)

    rest = iter(seen)
    assert all(line in rest for line in fresh)
    assert len(set(fresh)) == len(fresh)


@given(texts, texts)
def test_what_was_told_is_not_told_again(seen: list[str], recent: list[str]) -> None:
    fresh = new_lines(seen, recent)
    assert new_lines(seen, [*recent, *fresh]) == ()
    assert new_lines(recent, recent) == ()


def test_a_reader_that_wavers_by_a_letter_says_nothing_new() -> None:
    assert new_lines(["PLATFORM 12 DEPARTS 10:45"], ["PLATFQRM 12 DEPARTS 10:45"]) == ()


def test_another_number_is_another_thing() -> None:
    assert new_lines(["PLATFORM 10 DEPARTS SOON"], ["PLATFORM 9 DEPARTS SOON"]) == ("PLATFORM 10 DEPARTS SOON",)


def test_another_line_is_new_beside_an_old_one() -> None:
    assert new_lines(["PLATFORM 12", "Change at Delft"], ["PLATFORM 12"]) == ("Change at Delft",)


def test_lines_without_letters_or_digits_say_nothing() -> None:
    assert new_lines(["---", "·"], []) == ()


def test_recent_lines_without_letters_make_nothing_old() -> None:
    assert new_lines(["EXIT"], ["---"]) == ("EXIT",)


def test_two_letters_are_compared_too() -> None:
    assert new_lines(["A4", "B7"], ["A4"]) == ("B7",)
