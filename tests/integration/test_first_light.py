"""What a newcomer sees: a recording and some pictures go through a real agent and a real server and become notes."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import soundfile

from inference_server import launch
from inference_server.demo_frames import draw

FIELDS = ["stream", "utterance", "captured_at", "start_s", "end_s", "outcome", "heard", "seen"]
FIELDS += ["note", "frames", "audio", "engine", "latency_ms"]


@dataclass(frozen=True, slots=True)
class Told:
    """What the server said of one recording, and where it keeps it."""

    sent: dict[str, Any]
    ledgers: list[dict[str, Any]]
    moments: list[dict[str, Any]]
    markdown: str
    answer: list[dict[str, Any]]
    nothing: list[dict[str, Any]]
    found: list[dict[str, Any]]
    data_dir: Path


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, human_reading: Path) -> Iterator[Told]:
    scratch = tmp_path_factory.mktemp("first-light")
    slides = draw(scratch / "slides")

    async def run() -> Told:
        async with launch.server(scratch / "server") as url:
            arguments = ("--audio", str(human_reading), "--frames", str(slides), "--fast", "--device", "glasses")
            sent = await launch.agent(url, scratch / "agent", *arguments)
            ledgers = await launch.settled(url, 120)
            await asyncio.to_thread(wait_for_sights, url, 4)
            return await asyncio.to_thread(ask_around, url, sent, ledgers, scratch / "server")

    yield asyncio.run(run())


def wait_for_sights(url: str, n: int) -> None:
    """Until `n` lines of what was seen are there: frames are read beside the speech, by a process of their own."""
    snapshot = launch.fetch(f"{url}api/snapshot")
    seen = sum(line["kind"] == "seen" for topic in snapshot["topics"] for line in topic["lines"])
    for name, data in launch.events(url, snapshot["cursor"]) if seen < n else ():
        seen += name == "line" and data["line"]["kind"] == "seen"
        if seen >= n:
            return


def ask_around(url: str, sent: dict[str, Any], ledgers: list[dict[str, Any]], data_dir: Path) -> Told:
    with urllib.request.urlopen(f"{url}api/notes.md") as response:
        markdown = response.read().decode()
    return Told(
        sent,
        ledgers,
        launch.moments(url),
        markdown,
        ask(url, "What was the winter of?"),
        ask(url, "Who is the president of France?"),
        launch.fetch(f"{url}api/search?q=darkness")["hits"],
        data_dir,
    )


def ask(url: str, question: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{url}api/ask", json.dumps({"question": question}).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        return [json.loads(line) for line in response]


def test_the_words_that_were_read_are_in_the_notes(told: Told) -> None:
    heard = " ".join(moment["note"] for moment in told.moments).casefold()
    for words in ("best of times", "age of wisdom", "season of darkness", "spring of hope", "superlative degree"):
        assert words in heard


def test_every_captured_second_is_accounted_for(told: Told) -> None:
    (ledger,) = told.ledgers
    assert ledger["pending_s"] == 0
    assert abs(ledger["total_s"] - told.sent["captured_s"]) <= 0.02
    kinds = sum(ledger[f"{kind}_s"] for kind in ("noted", "silence", "gap", "pending"))
    assert abs(kinds - ledger["total_s"]) <= 0.005


def test_what_the_slides_say_is_seen(told: Told) -> None:
    assert "A TALE OF TWO CITIES" in told.markdown
    assert any("A TALE OF TWO CITIES" in line for moment in told.moments for line in moment["seen"])


def test_a_moment_is_exported_with_all_its_fields(told: Told) -> None:
    assert all(list(moment) == FIELDS for moment in told.moments)


def test_every_clip_plays_for_as_long_as_the_utterance_lasted(told: Told) -> None:
    for moment in told.moments:
        pcm, rate = soundfile.read(told.data_dir / moment["audio"])
        assert abs(len(pcm) / rate - (moment["end_s"] - moment["start_s"])) < 0.001


def test_moments_come_in_order_and_do_not_overlap(told: Told) -> None:
    ends = [moment["end_s"] for moment in told.moments]
    assert all(end <= after["start_s"] for end, after in zip(ends, told.moments[1:], strict=False))


def test_an_answer_quotes_what_was_said_and_points_at_it(told: Told) -> None:
    text = "".join(part["text"] for part in told.answer if part["type"] == "piece")
    (evidence,) = (part["items"] for part in told.answer if part["type"] == "evidence")
    assert "winter of despair" in text
    assert "winter of despair" in evidence[0]["text"] and evidence[0]["audio"]


def test_a_question_that_nothing_supports_is_not_answered(told: Told) -> None:
    assert told.nothing[-1] == {"type": "done", "answered": False}
    assert "nothing on that" in told.nothing[0]["text"]


def test_search_finds_a_word_that_was_said(told: Told) -> None:
    assert [hit["kind"] for hit in told.found] == ["heard"]


def test_the_demo_ends_with_a_balanced_account() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inference_server.demo", "--fast", "--no-browser"],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Live page: http://127.0.0.1:" in done.stdout
    assert "Ledger    balanced" in done.stdout
    assert "Latency   p50" in done.stdout


def test_the_demo_says_what_is_wrong_with_a_recording(tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    done = subprocess.run(
        [sys.executable, "-m", "inference_server.demo", "--fast", "--no-browser", "--audio", str(empty)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "the file is empty (0 bytes)" in done.stderr.strip().splitlines()[-1]


def test_a_server_that_dies_ends_what_was_built_on_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with launch.server(tmp_path / "server"):
            mine = [p for p in psutil.Process().children(recursive=True) if "inference_server" in p.cmdline()]
            mine[0].kill()
            await asyncio.Event().wait()  # for ever, but for the server

    with pytest.raises(launch.LaunchError, match="stopped"):
        asyncio.run(run())
