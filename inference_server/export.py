"""The store's moments in formats that others read: JSONL, Markdown, SRT and WebVTT."""

import json
from collections.abc import Iterator

from agent.audio import seconds
from inference_server import views
from inference_server.moments import ExportedMoment
from inference_server.notes import markdown
from inference_server.store.library import Library

FORMATS = {
    "jsonl": "application/x-ndjson",
    "md": "text/markdown; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}


def export(library: Library, format_: str, day: str | None, stream: str) -> Iterator[str]:
    """The text, in pieces. Subtitles count from the first moment's begin. Raises ValueError on a bad day."""
    match format_:
        case "jsonl":
            for moment in library.moments(day, stream):
                yield json.dumps(views.moment(moment), ensure_ascii=False) + "\n"
        case "md":
            for each in [day] if day is not None else library.days():
                yield markdown(each, library.topics(each, stream)) + "\n"
        case _:
            yield from _subtitles(library.moments(day, stream), webvtt=format_ == "vtt")


def _subtitles(moments: Iterator[ExportedMoment], webvtt: bool) -> Iterator[str]:
    if webvtt:
        yield "WEBVTT\n\n"
    origin_ns, number = None, 0
    for moment in moments:
        if not moment.note:
            continue
        origin_ns = moment.captured_at if origin_ns is None else origin_ns
        start_s = (moment.captured_at - origin_ns) / 1e9
        end_s = start_s + seconds(moment.end_sample - moment.first_sample)
        number += 1
        span = f"{_stamp(start_s, webvtt)} --> {_stamp(end_s, webvtt)}"
        words = " ".join(moment.note.split()).replace("-->", "→")  # a blank line would end the cue
        if webvtt:
            words = words.replace("&", "&amp;").replace("<", "&lt;")
        yield f"{number}\n{span}\n{words}\n\n"


def _stamp(seconds: float, webvtt: bool) -> str:
    whole_ms = round(seconds * 1000)
    hours, rest = divmod(whole_ms, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{'.' if webvtt else ','}{rest % 1000:03}"
