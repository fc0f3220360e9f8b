"""Starts a server and agents as processes of their own and follows what the server tells its viewers.

The demo runs on this, and so do the benchmarks and the end-to-end tests: what they see is what a user gets.
"""

import asyncio
import json
import os
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from agent.status import STATUS_FILE

_START_S = 60.0
_END_S = 10.0


class LaunchError(Exception):
    """A process did not do what was expected; the message says which and why."""


async def start_server(data_dir: Path, port: int, *arguments: str) -> asyncio.subprocess.Process:
    """A server process; its stdout, a pipe, says where it listens once it does. End it with `end`."""
    return await asyncio.create_subprocess_exec(
        *_python("inference_server", "serve", "--port", str(port), "--data-dir", str(data_dir), *arguments),
        stdout=asyncio.subprocess.PIPE,
        env=_environment() | {"FIELDNOTE_TOKEN": ""},
    )


@asynccontextmanager
async def server(data_dir: Path, *arguments: str, port: int = 0) -> AsyncIterator[str]:
    """A server process; yields the page's URL, which ends with a slash. Raises LaunchError."""
    process = await start_server(data_dir, port, *arguments)
    try:
        url = await _url_of(process)
        async with _while_alive(process):
            yield url
    finally:
        await end(process)


async def _url_of(process: asyncio.subprocess.Process) -> str:
    """Where it says that it listens."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_S):
            line = (await process.stdout.readline()).decode()
    except TimeoutError as exc:
        raise LaunchError(f"the server did not start within {_START_S:.0f} s") from exc
    if "listening on " not in line:
        raise LaunchError("the server did not start; its own words are above")
    return line.split("listening on ")[1].strip()


@asynccontextmanager
async def _while_alive(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """End the block with LaunchError when the server ends before it."""
    body = asyncio.current_task()
    assert body is not None
    try:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(process.wait())
            watch.add_done_callback(lambda _: None if watch.cancelled() else body.cancel())
            try:
                yield
            except asyncio.CancelledError:
                if not watch.done():
                    raise
                body.uncancel()
                raise LaunchError(f"the server stopped (exit code {process.returncode})") from None
            finally:
                watch.cancel()
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


async def start_agent(url: str, spool: Path, *arguments: str) -> asyncio.subprocess.Process:
    """An agent process that captures to the server of this page URL; its stderr is a pipe. End it with `end`."""
    command = ["capture", "--server", url.replace("http", "ws", 1).rstrip("/"), "--spool", str(spool), *arguments]
    return await asyncio.create_subprocess_exec(
        *_python("agent", *command), stderr=asyncio.subprocess.PIPE, env=_environment()
    )


async def agent(url: str, spool: Path, *arguments: str) -> dict[str, Any]:
    """Run an agent on files to its end; returns its last status. Raises LaunchError with its own words."""
    process = await start_agent(url, spool, *arguments)
    assert process.stderr is not None
    try:
        words = (await process.stderr.read()).decode().strip()
        if await process.wait() != 0:
            raise LaunchError(f"the agent stopped: {words.splitlines()[-1] if words else 'no reason given'}")
    finally:
        await end(process)
    status: dict[str, Any] = json.loads((spool / STATUS_FILE).read_bytes())
    return status


async def end(process: asyncio.subprocess.Process) -> None:
    """Ask the process to end, and make it if it does not."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def settled(url: str, timeout_s: float) -> list[dict[str, Any]]:
    """The accounts of all streams and days, once no second is pending any more or the time is over."""
    ledgers = await asyncio.to_thread(_ledgers, url)
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while any(ledger["pending_s"] for ledger in ledgers):
                await asyncio.sleep(0.2)  # another process's state: there is nothing to wait on
                ledgers = await asyncio.to_thread(_ledgers, url)
    return ledgers


def _ledgers(url: str) -> list[dict[str, Any]]:
    days = fetch(f"{url}api/snapshot")["days"]
    return [stream for day in days for stream in fetch(f"{url}api/ledger?day={day}")["streams"]]


def fetch(url: str) -> Any:
    """A JSON answer of the server."""
    with _open(url, 30) as response:
        return json.load(response)


def moments(url: str) -> list[dict[str, Any]]:
    """Everything that the server made of what it got, in capture order."""
    with _open(f"{url}api/export?format=jsonl", 120) as response:
        return [json.loads(line) for line in response]


def events(url: str, after: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a viewer is told, (name, data), until the server ends. Blocks: run it on a thread."""
    with suppress(OSError), _open(f"{url}api/events?after={after}", None) as response:
        name = ""
        for raw in response:
            line = raw.decode().rstrip("\n")
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


def _open(url: str, timeout_s: float | None) -> Any:
    """The server is on this machine: no proxy of the environment stands between."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=timeout_s)


def _environment() -> dict[str, str]:
    """Ours, and what the children say comes as UTF-8 on every platform."""
    return {**os.environ, "PYTHONUTF8": "1"}


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]
