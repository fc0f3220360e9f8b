"""The `fieldnote-agent` command as a person meets it: exit codes, one clear line, and nothing lost on Ctrl-C."""

import asyncio
import http
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fakes import ServerEnd, silence, voice
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from agent.__main__ import main
from agent.audio import SAMPLE_RATE
from agent.protocol import Control, Gap, encode
from agent.spool import Spool

DEADLINE_S = 30.0
NOWHERE = "ws://127.0.0.1:1"


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """Six seconds with someone speaking."""
    path = tmp_path / "talk.wav"
    soundfile.write(path, np.concatenate([silence(1), voice(3), silence(2)]), SAMPLE_RATE)
    return path


def failure(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str]:
    """Run the command; its exit code, and the one line that says what is wrong."""
    code = main([str(arg) for arg in args])
    said = capsys.readouterr().err
    assert "Traceback" not in said
    lines = [text for text in said.splitlines() if text.startswith("fieldnote-agent: ")]
    assert len(lines) == 1, said
    return code, lines[0]


@pytest.mark.parametrize(
    "url", ["", "http://127.0.0.1:8750", "ws://", "ws://host:port", "ws://host:99999", "ws://[::1", "127.0.0.1:8750"]
)
def test_a_server_address_that_is_none_is_named(
    tmp_path: Path, talk: Path, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(f'[server]\nurl = "{url}"')
    code, text = failure(capsys, "capture", "--config", config, "--audio", talk, "--spool", tmp_path / "spool")
    assert (code, repr(url) in text) == (2, True)
    assert not (tmp_path / "spool").exists()


def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "missing.wav"
    code, text = failure(capsys, "capture", "--server", NOWHERE, "--audio", path, "--spool", tmp_path / "spool")
    assert (code, str(path) in text, "no such file" in text) == (3, True, True)


def test_an_empty_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "empty.wav"
    path.touch()
    code, text = failure(capsys, "capture", "--server", NOWHERE, "--audio", path, "--spool", tmp_path / "spool")
    assert (code, "0 bytes" in text) == (3, True)


@pytest.mark.parametrize("fast", [[], ["--fast"]])
def test_a_file_that_is_no_recording_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fast: list[str]
) -> None:
    path = tmp_path / "letter.wav"
    path.write_text("Dear all, " * 500)
    spool = tmp_path / "spool"
    code, text = failure(capsys, "capture", "--server", NOWHERE, "--audio", path, "--spool", spool, *fast)
    assert (code, str(path) in text, "cannot be read as audio" in text) == (3, True, True)


def test_frames_that_are_not_there_are_named(tmp_path: Path, talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = failure(
        capsys, "capture", "--server", NOWHERE, "--audio", talk, "--frames", tmp_path / "no", "--spool", tmp_path / "s"
    )
    assert (code, "no such file or folder" in text) == (3, True)


@pytest.mark.parametrize(("audio", "frames"), [("mic", "slides"), ("talk.wav", "camera"), ("talk.wav", "rtsp://x/y")])
def test_sources_that_do_not_go_together_are_refused_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], audio: str, frames: str
) -> None:
    spool = tmp_path / "spool"
    code, text = failure(capsys, "capture", "--server", NOWHERE, "--audio", audio, "--frames", frames, "--spool", spool)
    assert (code, "--audio" in text) == (2, True)


def test_an_unknown_config_key_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "agent.toml"
    config.write_text("[segmenter]\nonsett = 0.5")
    code, text = failure(capsys, "capture", "--config", config)
    assert (code, "onsett" in text, str(config) in text) == (2, True, True)


def test_a_config_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = failure(capsys, "status", "--config", tmp_path / "no.toml")
    assert (code, "no.toml" in text) == (2, True)


@pytest.mark.parametrize("command", ["capture", "pause", "resume"])
def test_a_spool_directory_that_cannot_be_one_is_named(
    tmp_path: Path, talk: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    extra = ["--server", NOWHERE, "--audio", talk] if command == "capture" else []
    for path in (talk, talk / "below", Path("/proc/fieldnote")):
        code, text = failure(capsys, command, "--spool", path, *extra)
        assert (code, str(path) in text, "--spool DIR" in text) == (1, True, True)


def test_a_spool_that_another_agent_uses_is_refused(
    tmp_path: Path, talk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Spool(tmp_path / "spool", 1_000_000)):
        code, text = failure(capsys, "capture", "--server", NOWHERE, "--audio", talk, "--spool", tmp_path / "spool")
    assert (code, "another agent" in text) == (1, True)


@pytest.mark.parametrize("args", [[], ["sing"], ["capture", "--speed", "9"], ["capture", "--recorded-at", "yesterday"]])
def test_wrong_usage_exits_with_2_and_says_what_is_right(capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(args)
    assert exited.value.code == 2
    assert "usage: fieldnote-agent" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["capture"], ["status"], ["pause"], ["resume"], ["devices"], ["doctor"]])
def test_help_explains_each_command(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main([*command, "--help"])
    assert exited.value.code == 0
    assert f"usage: {' '.join(['fieldnote-agent', *command])}" in capsys.readouterr().out


def test_pause_holds_for_the_next_start_and_resume_ends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, exists in (("pause", True), ("pause", True), ("resume", False), ("resume", False)):
        assert main([command, "--spool", str(tmp_path / "spool")]) == 0
        assert "no agent is running" in capsys.readouterr().out
        assert (tmp_path / "spool" / "paused").exists() == exists


def test_status_without_an_agent_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--spool", str(tmp_path / "nowhere")]) == 1
    assert "no agent is running" in capsys.readouterr().out
    assert not (tmp_path / "nowhere").exists()


@asynccontextmanager
async def serving(
    end: ServerEnd, guard: Callable[[ServerConnection, Request], Response | None] | None = None
) -> AsyncIterator[str]:
    """A server on this machine; gives its address."""
    async with serve(end.serve, "127.0.0.1", 0, process_request=guard, close_timeout=0.5) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@asynccontextmanager
async def command(*args: object, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command in a process of its own; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent", *map(str, args),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """Its exit code and what it said on stderr."""
    async with asyncio.timeout(DEADLINE_S):
        _, said = await process.communicate()
    assert process.returncode is not None
    text = said.decode()
    assert "Traceback" not in text and "Warning" not in text, text
    return process.returncode, text


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - another process has no event of ours
            await asyncio.sleep(0.02)


def test_a_recording_goes_to_the_server_whole_and_the_command_ends(tmp_path: Path, talk: Path) -> None:
    async def story() -> None:
        async with (
            serving(end) as url,
            command(
                "capture", "--server", url, "--audio", talk, "--fast", "--recorded-at", "2026-01-02T03:04:05+00:00",
                "--spool", tmp_path / "spool", "--device", "desk",
            ) as agent,
        ):  # fmt: skip
            code, _ = await ended(agent)
            assert code == 0

    end = ServerEnd()
    asyncio.run(story())
    assert end.session.end == 6 * SAMPLE_RATE
    assert end.hellos[0].device == "desk"
    assert abs(end.records[0][0].captured_at - 1_767_323_045_000_000_000) < 1_000_000
    with closing(Spool(tmp_path / "spool", 1_000_000)) as spool:
        assert spool.backlog() == 0
        assert spool.resume().clean


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_soon_with_everything_so_far_in_the_spool(
    tmp_path: Path, talk: Path, number: signal.Signals
) -> None:
    async def story() -> None:
        spool = tmp_path / "spool"
        async with command("capture", "--server", NOWHERE, "--audio", talk, "--spool", spool) as agent:
            await until(lambda: b'"recording"' in _content(spool / "status.json"))
            agent.send_signal(number)
            agent.send_signal(number)
            async with asyncio.timeout(10):
                code, said = await ended(agent)
            assert code == 0
            assert "cannot be reached" in said

    asyncio.run(story())
    with closing(Spool(tmp_path / "spool", 1_000_000)) as spool:
        resume = spool.resume()
        assert resume.clean and resume.position > 0
        assert spool.backlog() > 0


def test_what_one_run_could_not_send_the_next_one_sends(tmp_path: Path, talk: Path) -> None:
    async def story() -> None:
        spool = tmp_path / "spool"
        async with command("capture", "--server", NOWHERE, "--audio", talk, "--fast", "--spool", spool) as killed:
            await until(lambda: b'"captured_s":6.0' in _content(spool / "status.json"))
            killed.kill()
        async with (
            serving(end) as url,
            command("capture", "--server", url, "--audio", talk, "--fast", "--spool", spool) as agent,
        ):
            assert (await ended(agent))[0] == 0

    end = ServerEnd()
    asyncio.run(story())
    assert end.session.end == 12 * SAMPLE_RATE  # it had accounted for everything before it was killed
    assert not any(isinstance(record, Gap) for record, _ in end.records)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def test_pause_resume_and_status_reach_the_running_agent(tmp_path: Path) -> None:
    async def run(*args: str) -> str:
        async with command(*args, "--spool", tmp_path / "spool") as process:
            out, _ = await process.communicate()
            assert process.returncode == 0
            return out.decode()

    async def story() -> None:
        async with (
            serving(end) as url,
            command("capture", "--server", url, "--audio", recording, "--spool", tmp_path / "spool") as agent,
        ):
            await until(lambda: any(state.recording for state in end.states))
            assert "paused" in await run("pause")
            await until(lambda: not end.states[-1].recording)
            current = json.loads(await run("status", "--json"))
            assert (current["state"], current["server"], current["pid"]) == ("paused", "connected", agent.pid)
            assert "recording again" in await run("resume")
            await until(lambda: end.states[-1].recording)
            agent.send_signal(signal.SIGINT)
            assert (await ended(agent))[0] == 0

    end, recording = ServerEnd(), tmp_path / "long.wav"
    soundfile.write(recording, silence(120), SAMPLE_RATE)
    asyncio.run(story())
    assert {record.reason for record, _ in end.records if isinstance(record, Gap)} == {"paused"}


def test_the_server_can_ask_to_pause(tmp_path: Path) -> None:
    async def asks(socket: ServerConnection) -> None:
        hello = await socket.recv()
        assert isinstance(hello, bytes)
        welcome = end.receive(hello)
        assert welcome is not None
        await socket.send(encode(welcome))
        await socket.send(encode(Control(action="pause")))
        await end.serve(socket)

    async def story() -> None:
        async with (
            serve(asks, "127.0.0.1", 0) as server,
            command(
                "capture", "--server", f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}",
                "--audio", recording, "--spool", tmp_path / "spool",
            ) as agent,
        ):  # fmt: skip
            await until(lambda: (tmp_path / "spool" / "paused").exists())
            agent.send_signal(signal.SIGINT)
            assert (await ended(agent))[0] == 0

    end, recording = ServerEnd(), tmp_path / "long.wav"
    soundfile.write(recording, silence(120), SAMPLE_RATE)
    asyncio.run(story())


def test_a_wrong_token_exits_with_4_and_says_where_the_right_one_is_shown(tmp_path: Path, talk: Path) -> None:
    def guard(connection: ServerConnection, request: Request) -> Response | None:
        if request.headers.get("Authorization") == "Bearer right":
            return None
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "no\n")

    async def story() -> None:
        async with serving(end, guard) as url:
            args = ("capture", "--server", url, "--audio", talk, "--fast", "--spool", tmp_path / "spool")
            async with command(*args, FIELDNOTE_TOKEN="wrong") as agent:
                code, said = await ended(agent)
            assert (code, "FIELDNOTE_TOKEN" in said, "kept in the spool" in said) == (4, True, True)
            async with command(*args, FIELDNOTE_TOKEN="right\n") as agent:
                assert (await ended(agent))[0] == 0

    end = ServerEnd()
    asyncio.run(story())
    assert end.session.end >= 6 * SAMPLE_RATE


def test_a_recording_that_is_damaged_in_the_middle_exits_with_3_and_keeps_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "talk.flac"
    soundfile.write(path, voice(20.0), SAMPLE_RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    async def story() -> None:
        async with command(
            "capture", "--server", NOWHERE, "--audio", path, "--fast", "--spool", tmp_path / "spool"
        ) as agent:
            code, said = await ended(agent)
        assert (code, "talk.flac: damaged" in said) == (3, True)

    asyncio.run(story())
    with closing(Spool(tmp_path / "spool", 1_000_000)) as spool:
        resume = spool.resume()
        assert resume.clean and resume.position > 5 * SAMPLE_RATE


@pytest.mark.skipif(sys.platform == "win32", reason="no ulimit")
def test_a_disk_that_is_full_exits_with_1_and_the_next_run_still_delivers_what_was_kept(tmp_path: Path) -> None:
    recording = tmp_path / "talk.wav"
    soundfile.write(recording, np.concatenate([voice(40.0), silence(2)]), SAMPLE_RATE)
    args = ("--audio", recording, "--fast", "--spool", tmp_path / "spool")

    async def story() -> None:
        full = await asyncio.create_subprocess_exec(
            "bash", "-c", 'ulimit -f 60; exec "$@"', "bash", sys.executable, "-m", "agent",
            "capture", "--server", NOWHERE, *map(str, args), stderr=subprocess.PIPE,
        )  # fmt: skip
        code, said = await ended(full)
        assert (code, "free some space" in said) == (1, True)
        async with serving(end) as url, command("capture", "--server", url, *args) as agent:
            assert (await ended(agent))[0] == 0

    end = ServerEnd()
    asyncio.run(story())
    (gap,) = [record for record, _ in end.records if isinstance(record, Gap)]
    assert gap.reason == "agent stopped"
    assert end.session.end == gap.first_sample + gap.n_samples + 42 * SAMPLE_RATE


def test_doctor_says_what_is_fine_and_what_to_do_about_the_rest(
    tmp_path: Path, talk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(f'[audio]\nsource = "{talk}"')
    args = ["--config", str(config), "--spool", str(tmp_path / "spool")]
    assert main(["doctor", *args, "--server", NOWHERE]) == 1
    lines = {text[4:].split()[0]: text for text in capsys.readouterr().out.splitlines()}
    assert all(lines[what].startswith("ok ") for what in ("recording", "codec"))
    assert lines["server"].startswith("NO ") and "fieldnote-server" in lines["server"]


def test_doctor_knows_a_fieldnote_server_from_another(tmp_path: Path, talk: Path) -> None:
    async def story() -> None:
        for answer, word in ((b"fieldnote", "ok  server"), (b"nginx", "NO  server")):

            async def health(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes = answer
            ) -> None:
                assert (await reader.readline()).startswith(b"GET /api/pairing ")
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + answer)
                writer.close()

            server = await asyncio.start_server(health, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            async with (
                server,
                command(
                    "doctor", "--config", config, "--server", f"ws://127.0.0.1:{port}", "--spool", tmp_path / "spool"
                ) as process,
            ):
                async with asyncio.timeout(DEADLINE_S):
                    out, _ = await process.communicate()
                assert word in out.decode()

    config = tmp_path / "agent.toml"
    config.write_text(f'[audio]\nsource = "{talk}"')
    asyncio.run(story())
