"""The server or the agent dies in the middle: nothing that was captured is lost, nothing is noted twice."""

import asyncio
import json
import os
import signal
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from agent.status import STATUS_FILE
from inference_server import launch


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, human_reading: Path) -> list[dict[str, Any]]:
    """What a server makes of the reading when nothing happens to it."""
    scratch = tmp_path_factory.mktemp("uninterrupted")

    async def run() -> list[dict[str, Any]]:
        async with launch.server(scratch / "server") as url:
            await launch.agent(url, scratch / "agent", "--audio", str(human_reading), "--fast")
            await launch.settled(url, 60)
            return await asyncio.to_thread(launch.moments, url)

    return asyncio.run(run())


def free_port() -> int:
    """A port that was free a moment ago: the server must come back where the agent looks for it."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until_acknowledged(data_dir: Path, seconds: float) -> None:
    """Wait until the store has seen audio of this many seconds."""
    import sqlite3

    async with asyncio.timeout(60):
        while True:
            with closing(sqlite3.connect(f"file:{data_dir / 'fieldnote.db'}?mode=ro", uri=True)) as db:
                row = db.execute("SELECT max(audio_end) FROM streams").fetchone()
            if row[0] is not None and row[0] >= seconds * 16_000:
                return
            await asyncio.sleep(0.02)  # another process's state: there is nothing to wait on


def test_a_server_that_is_killed_and_comes_back_has_everything_once(
    tmp_path: Path, human_reading: Path, uninterrupted: list[dict[str, Any]]
) -> None:
    async def run() -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
        port, data = free_port(), tmp_path / "server"
        arguments = ("--audio", str(human_reading), "--fast")
        agent = asyncio.ensure_future(launch.agent(f"http://127.0.0.1:{port}/", tmp_path / "agent", *arguments))
        for seconds in (3, 18):  # the second time in the middle of another utterance
            first = await launch.start_server(data, port)
            assert first.stdout is not None and b"listening" in await first.stdout.readline()
            await until_acknowledged(data, seconds)
            os.kill(first.pid, signal.SIGKILL)
            await first.wait()
        async with launch.server(data, port=port) as url:
            sent = await agent
            ledgers = await launch.settled(url, 60)
            return sent, ledgers, await asyncio.to_thread(launch.moments, url)

    sent, (ledger,), moments = asyncio.run(run())
    assert ledger["pending_s"] == ledger["gap_s"] == 0
    assert abs(ledger["total_s"] - sent["captured_s"]) <= 0.02
    whole = [(moment["start_s"], moment["end_s"]) for moment in uninterrupted]
    assert [(moment["start_s"], moment["end_s"]) for moment in moments] == whole
    assert [moment["heard"] for moment in moments] == [moment["heard"] for moment in uninterrupted]


def test_an_agent_that_is_killed_goes_on_with_its_stream(tmp_path: Path, human_reading: Path) -> None:
    pcm, rate = soundfile.read(human_reading, dtype="int16")
    rest = tmp_path / "rest.wav"
    soundfile.write(rest, np.asarray(pcm[20 * rate :]), rate)

    async def run() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        spool = tmp_path / "agent"
        async with launch.server(tmp_path / "server") as url:
            killed = await launch.start_agent(url, spool, "--audio", str(human_reading))
            await until_acknowledged(tmp_path / "server", 5)
            os.kill(killed.pid, signal.SIGKILL)
            await killed.communicate()
            await launch.agent(url, spool, "--audio", str(rest), "--fast")
            return await launch.settled(url, 60), await asyncio.to_thread(launch.moments, url)

    (ledger,), moments = asyncio.run(run())
    reasons = [span["reason"] for span in ledger["spans"] if span["kind"] == "gap"]
    assert reasons == ["agent stopped"]
    assert 0 < ledger["gap_s"] <= 6.5
    assert ledger["pending_s"] == 0
    assert all(moment["outcome"] == "noted" for moment in moments)
    captured = json.loads((tmp_path / "agent" / STATUS_FILE).read_bytes())["captured_s"]
    assert abs(ledger["total_s"] - captured) <= 0.02
