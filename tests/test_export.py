"""Exports that others can read."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import Tape
from serving import keep, settings
from test_store import DAY, STREAM, note, see

from inference_server.app import Storage, open_storage
from inference_server.export import FORMATS, export
from inference_server.store.jobs import Outcome

SRT_CUE = re.compile(r"\d+\n\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}\n[^\n]+\n")
VTT_CUE = re.compile(r"\d+\n\d\d:\d\d:\d\d\.\d{3} --> \d\d:\d\d:\d\d\.\d{3}\n[^\n]+\n")


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = open_storage(settings(tmp_path))
    tape = Tape()
    frame = tape.frame()
    first = tape.utterance(51)
    tape.silence(3599.0)
    second, quiet = tape.utterance(26), tape.utterance(26)
    keep(opened, tape)
    see(opened, tape, frame, "EXIT")
    note(opened, tape, first, "Plain words.")
    note(opened, tape, second, "<b>Odd</b> & --> words\n\nover lines.")
    job = next(job for job in opened.jobs.queued((), 9) if job.seq == quiet)
    opened.jobs.finish(job, Outcome("failed", "no audio", "", "fake", 5))
    yield opened
    opened.database.close()


def whole(storage: Storage, format_: str, day: str | None = None, stream: str = "") -> str:
    return "".join(export(storage.library, format_, day, stream))


def test_jsonl_has_a_line_for_each_finished_utterance(storage: Storage) -> None:
    first, second, third = (json.loads(line) for line in whole(storage, "jsonl").splitlines())

    assert first == {
        "stream": STREAM,
        "utterance": 2,
        "captured_at": "2026-11-20T12:00:00.000Z",
        "start_s": 0.0,
        "end_s": 1.0,
        "outcome": "noted",
        "heard": "Plain words.",
        "seen": ["EXIT"],
        "note": "Plain words.",
        "frames": [f"media/{STREAM}/{DAY}/1.jpg"],
        "audio": f"media/{STREAM}/{DAY}/2.ogg",
        "engine": "fake",
        "latency_ms": 5,
    }
    assert second["note"] == "<b>Odd</b> & --> words\n\nover lines."
    assert (third["outcome"], third["note"]) == ("failed(no audio)", "")


def test_srt_is_nothing_but_cues_counted_from_the_first(storage: Storage) -> None:
    cues = whole(storage, "srt").removesuffix("\n\n").split("\n\n")
    assert all(SRT_CUE.fullmatch(cue + "\n") for cue in cues)
    assert cues == [
        "1\n00:00:00,000 --> 00:00:01,000\nPlain words.",
        "2\n01:00:00,000 --> 01:00:00,500\n<b>Odd</b> & → words over lines.",
    ]


def test_webvtt_has_its_head_and_no_markup(storage: Storage) -> None:
    head, *cues = whole(storage, "vtt").removesuffix("\n\n").split("\n\n")
    assert head == "WEBVTT"
    assert all(VTT_CUE.fullmatch(cue + "\n") for cue in cues)
    assert cues[1].endswith("&lt;b>Odd&lt;/b> &amp; → words over lines.")


def test_markdown_has_every_day(storage: Storage) -> None:
    text = whole(storage, "md")
    assert text.count("# Notes of ") == 1 + text.count("## ") * 0 and "Plain words." in text
    assert "Nothing was noted." in whole(storage, "md", "2026-11-19")


@pytest.mark.parametrize("format_", FORMATS)
def test_a_day_or_stream_without_notes_has_no_words(storage: Storage, format_: str) -> None:
    for day, stream in (("2026-11-19", ""), (None, "c" * 32)):
        assert "words" not in whole(storage, format_, day, stream)


def test_a_bad_day_is_refused(storage: Storage) -> None:
    with pytest.raises(ValueError, match="2026-99-99"):
        whole(storage, "jsonl", "2026-99-99")
