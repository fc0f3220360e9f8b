"""Running notes: where topics begin, and Markdown that says what was said and nothing else."""

import re

from fakes import NOON
from hypothesis import given
from hypothesis import strategies as st

from inference_server.notes import Line, Topic, begins_topic, clock, first_title, markdown

STREAM = "ab" * 16


def line(text: str = "words", begin_s: float = 0.0, end_s: float | None = None, **more: object) -> Line:
    begin = NOON + round(begin_s * 1e9)
    end = begin if end_s is None else NOON + round(end_s * 1e9)
    return Line(STREAM, 1, "heard", begin, end, text, **more)  # type: ignore[arg-type]


def about(subject: str, n: int) -> list[Line]:
    return [line(f"{subject} part {at}", at, at) for at in range(n)]


def test_the_first_line_begins_a_topic() -> None:
    assert begins_topic(line(), [], 90, 15)


def test_a_long_pause_begins_a_topic_whatever_is_said() -> None:
    assert begins_topic(line("budget", 100), [line("budget", 0, 10)], 90, 15)


def test_the_pause_is_counted_from_the_line_that_ended_last() -> None:
    overlapping = [line("budget", 0, 60), line("budget", 1, 2)]
    assert not begins_topic(line("budget", 149), overlapping, 90, 15)


def test_a_short_pause_goes_on_whatever_is_said() -> None:
    assert not begins_topic(line("holiday", 12), about("budget", 6), 90, 15)


def test_a_pause_begins_a_topic_when_the_words_change() -> None:
    assert begins_topic(line("holiday in Delft", 40), about("budget", 6), 90, 15)


def test_a_pause_goes_on_when_the_words_come_again() -> None:
    assert not begins_topic(line("back to the budget", 40), about("budget", 6), 90, 15)


def test_a_young_topic_is_not_ended_by_other_words() -> None:
    assert not begins_topic(line("holiday in Delft", 40), about("budget", 5), 90, 15)


def test_words_without_content_end_no_topic() -> None:
    assert not begins_topic(line("and so on", 40), about("budget", 6), 90, 15)


def test_a_title_is_the_first_words() -> None:
    assert first_title("We launch on Friday.") == "We launch on Friday"
    assert first_title("One two three four five six seven eight") == "One two three four five six…"


def test_a_day_reads_as_markdown_with_links_to_its_moments() -> None:
    seen = Line(STREAM, 2, "seen", NOON, NOON, "EXIT 4")
    spoken = line("Call Mia.", todo=True, speaker="Ben")
    text = markdown("2026-11-20", [Topic(STREAM, 1, "Calls", NOON, "pi", (spoken, seen))], "http://x/")

    assert text == (
        "# Notes of 2026-11-20\n\n## 12:00 Calls · pi\n\n"
        f"- [ ] [12:00:00](http://x/#line/{STREAM}/1) **Ben** Call Mia.\n"
        f"- [12:00:00](http://x/#line/{STREAM}/2) *seen:* EXIT 4\n"
    )


def test_an_empty_day_says_so() -> None:
    assert "Nothing was noted." in markdown("2026-11-20", [])


@given(st.text(), st.text(), st.text(), st.text())
def test_no_words_can_become_markup_or_another_line(text: str, title: str, device: str, speaker: str) -> None:
    topic = Topic(STREAM, 1, title, NOON, device, (line(text, speaker=speaker),))

    written = markdown("2026-11-20", [topic])

    head, blank, heading, blank_2, item = written.rstrip("\n").splitlines() if _one_line(written) else [""] * 5
    assert (head, blank, blank_2) == ("# Notes of 2026-11-20", "", "")
    assert heading.startswith("## 12:00 ") and item.startswith("- [12:00:00](#line/")
    for part in (heading[9:], re.sub(r"^- \[12:00:00\]\(#line/\w+/1\) (\*\*(?=.*\*\*))?", "", item)):
        assert not re.search(r"(?<!\\)(?:\\\\)*[`_<>\[\]#|&~]", part)


def _one_line(written: str) -> bool:
    return len(written.rstrip("\n").splitlines()) == 5


def test_the_clock_counts_whole_seconds_to_the_last_nanosecond() -> None:
    assert clock(NOON - 1, seconds=True) == "11:59:59"
