"""Running notes: lines in time order, folded into topics by pauses and content; rendered as Markdown. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from inference_server.words import content

_SHIFT_LINES = 6  # a topic must have this many lines before a change of words alone may end it
_MARKUP = "\\`*_[]<>#|&~"  # what Markdown could take for more than a character
_RECENT_LINES = 8  # what "the same words" is judged on


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the running notes: a note of what was heard, or text that was seen."""

    stream: str
    seq: int  # of the utterance's start record, or of the frame
    kind: str  # heard or seen
    captured_at: int  # UTC ns
    end_at: int
    text: str
    heard: str = ""  # the words as recognised
    speaker: str = ""
    todo: bool = False
    frame: int | None = None  # seq of the frame to show
    topic: int = 0  # seq of the topic's first line
    audio: bool = False  # a clip exists

    @property
    def id(self) -> str:
        """The line's name in the API and in links."""
        return f"{self.stream}/{self.seq}"


@dataclass(frozen=True, slots=True)
class Topic:
    """A stretch of lines about one thing."""

    stream: str
    seq: int
    title: str
    started_at: int
    device: str = ""
    lines: tuple[Line, ...] = ()

    @property
    def id(self) -> str:
        """The topic's name in the API."""
        return f"{self.stream}/{self.seq}"


def begins_topic(line: Line, topic_lines: Sequence[Line], pause_s: float, shift_pause_s: float) -> bool:
    """Whether `line` begins a new topic behind the topic whose lines, in time order, are `topic_lines`.

    A long pause does; so does a shorter one behind which none of the recent words come again.
    """
    if not topic_lines:
        return True
    pause = (line.captured_at - max(before.end_at for before in topic_lines)) / 1e9
    if pause >= pause_s:
        return True
    if pause < shift_pause_s or len(topic_lines) < _SHIFT_LINES:
        return False
    recent = {word for before in topic_lines[-_RECENT_LINES:] for word in content(before.text)}
    words = set(content(line.text))
    return bool(words) and not words & recent


def first_title(text: str) -> str:
    """A heading until a better one is made: the first words of a line."""
    words = text.split()
    return " ".join(words[:6]).rstrip(" .,;:!?·") + ("…" if len(words) > 6 else "")


def markdown(day: str, topics: Sequence[Topic], media: str = "") -> str:
    """One day's running notes. Each line links to its moment: `media` is the prefix of the links."""
    out = [f"# Notes of {day}", ""]
    for topic in topics:
        device = f" · {_escape(topic.device)}" if topic.device else ""
        out += [f"## {clock(topic.started_at)} {_escape(topic.title)}{device}", ""]
        out += [_markdown_line(line, media) for line in topic.lines] + [""]
    if not topics:
        out += ["Nothing was noted.", ""]
    return "\n".join(out)


def _markdown_line(line: Line, media: str) -> str:
    stamp = f"[{clock(line.captured_at, seconds=True)}]({media}#line/{line.id})"
    text = f"*seen:* {_escape(line.text)}" if line.kind == "seen" else _escape(line.text)
    speaker = f"**{_escape(line.speaker)}** " if line.speaker else ""
    return f"- {'[ ] ' if line.todo else ''}{stamp} {speaker}{text}"


def _escape(text: str) -> str:
    return "".join(f"\\{char}" if char in _MARKUP else char for char in " ".join(text.split()))


def clock(utc_ns: int, seconds: bool = False) -> str:
    """UTC time of day."""
    return datetime.fromtimestamp(utc_ns // 1_000_000_000, UTC).strftime("%H:%M:%S" if seconds else "%H:%M")
