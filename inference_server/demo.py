"""The `fieldnote-demo` command: a real server and a real agent, as two processes, on a recording; notes as they form.

Exit code 0 only if the agent handed over everything, every captured second is in the ledger, and none is pending.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
import webbrowser
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.status import STATUS_FILE, clock
from inference_server.demo_frames import draw

_START_S = 60.0
_SETTLE_S = 120.0  # for the last notes, after the agent has ended
_ACCOUNT_TOLERANCE_S = 0.02
_EPILOG = """examples:
  fieldnote-demo                                      44 s of a human voice, in real time
  fieldnote-demo --fast                               the same, as fast as it goes
  fieldnote-demo --audio meeting.mp3 --frames slides/ --data-dir ./notes --keep"""


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to do."""


def main(argv: list[str] | None = None) -> int:
    """Run the demo; returns its exit code."""
    args = _parser().parse_args(argv)
    try:
        return asyncio.run(_demo(args))
    except DemoError as exc:
        print(f"fieldnote-demo: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fieldnote-demo",
        description="Streams a recording through a real agent to a real server and shows the notes as they form.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--audio", type=Path, metavar="FILE", help="your own recording (default: one that came along)")
    parser.add_argument("--frames", metavar="DIR|VIDEO", help="your own pictures (default: a few that are drawn now)")
    parser.add_argument("--fast", action="store_true", help="as fast as it goes instead of real time")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="keep everything there (default: removed at the end)"
    )
    parser.add_argument("--port", type=int, default=0, help="port of the live page (default: any free one)")
    parser.add_argument("--keep", action="store_true", help="leave the server running at the end, until Ctrl-C")
    parser.add_argument("--no-browser", action="store_true", help="do not open the live page")
    return parser


async def _demo(args: argparse.Namespace) -> int:
    with _directory(args.data_dir) as directory:
        audio = args.audio or _recording()
        frames = args.frames or (None if args.audio else str(draw(directory / "demo-frames")))
        async with _server(directory, args.port) as url:
            print(f"Live page: {url}", flush=True)
            if not args.no_browser and _has_screen():
                webbrowser.open(url)
            print(f"Streaming {audio.name}{' as fast as it goes' if args.fast else ' in real time'}\n", flush=True)
            watching = Watching(url)
            watching.start()
            try:
                sent = await _agent(url, directory / "agent", audio, frames, args.fast)
                ledgers = await _settled(url)
            finally:
                watching.stop()
            good = _account(url, watching, sent, ledgers, args.fast)
            if args.keep:
                print(f"\nThe page stays at {url} until Ctrl-C; data in {directory}", flush=True)
                await asyncio.Event().wait()
        return 0 if good else 1


@asynccontextmanager
async def _server(directory: Path, port: int) -> AsyncIterator[str]:
    """A server process over `directory`; yields the page's URL."""
    process = await asyncio.create_subprocess_exec(
        *_python("inference_server", "serve", "--port", str(port), "--data-dir", str(directory / "server")),
        stdout=asyncio.subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if key != "FIELDNOTE_TOKEN"},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_S):
            line = (await process.stdout.readline()).decode()
        if "listening on " not in line:
            raise DemoError("the server did not start; its own words are above")
        yield line.split("listening on ")[1].strip()
    except TimeoutError as exc:
        raise DemoError(f"the server did not start within {_START_S:.0f} s") from exc
    finally:
        await _end(process)


async def _agent(url: str, spool: Path, audio: Path, frames: str | None, fast: bool) -> dict[str, Any]:
    """Run an agent process to its end; returns its last status."""
    command = ["capture", "--server", url.replace("http", "ws", 1).rstrip("/"), "--spool", str(spool)]
    command += ["--audio", str(audio), "--device", "demo"]
    command += ["--frames", frames] if frames else []
    command += ["--fast"] if fast else []
    process = await asyncio.create_subprocess_exec(*_python("agent", *command), stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    try:
        words = (await process.stderr.read()).decode()
        if await process.wait() != 0:
            raise DemoError(
                f"the agent stopped: {words.strip().splitlines()[-1] if words.strip() else 'no reason given'}"
            )
    finally:
        await _end(process)
    status: dict[str, Any] = json.loads((spool / STATUS_FILE).read_bytes())
    return status


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _settled(url: str) -> list[dict[str, Any]]:
    """The ledger of every day, once no second is pending any more (or after a long while)."""
    until = time.monotonic() + _SETTLE_S
    while True:
        ledgers = await asyncio.to_thread(_ledgers, url)
        if not any(ledger["pending_s"] for ledger in ledgers) or time.monotonic() > until:
            await asyncio.sleep(0.3)  # the last line's event
            return ledgers
        await asyncio.sleep(0.2)


def _ledgers(url: str) -> list[dict[str, Any]]:
    """Accounts of all days: a recording may cross midnight."""
    days = _get(f"{url}api/snapshot")["days"]
    return [stream for day in days for stream in _get(f"{url}api/ledger?day={day}")["streams"]]


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)


@dataclass(slots=True)
class Watching:
    """Follows the server's events as a viewer would, and prints the notes as they form."""

    url: str
    latencies_s: list[float] = field(default_factory=list)  # from the utterance's last sample to its note
    _stopped: bool = False
    _draft_shown: bool = False
    _thread: threading.Thread = field(init=False)

    def start(self) -> None:
        """Begin with the state as it is now."""
        cursor = _get(f"{self.url}api/snapshot")["cursor"]
        self._thread = threading.Thread(target=self._follow, args=(cursor,), name="viewer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Print nothing more."""
        self._stopped = True

    def _follow(self, cursor: str) -> None:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}api/events?after={cursor}") as response:
            for name, data in _events(response):
                if self._stopped:
                    return
                self._show(name, data)

    def _show(self, name: str, data: dict[str, Any]) -> None:
        if name == "line":
            line = data["line"]
            if line["kind"] == "heard":
                self.latencies_s.append(time.time() - datetime.fromisoformat(line["end_at"]).timestamp())
            seen = "seen: " if line["kind"] == "seen" else ""
            self._print(f"  {_local(line['captured_at'])}  {seen}{line['text']}")
        elif name == "draft" and sys.stdout.isatty():
            self._redraw(f"  {_local(data['captured_at'])}  {data['text']} …")

    def _print(self, text: str) -> None:
        if self._draft_shown:
            sys.stdout.write("\r\x1b[K")
            self._draft_shown = False
        print(text, flush=True)

    def _redraw(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        shown = text if len(text) <= width else text[:12] + "…" + text[-(width - 13) :]
        sys.stdout.write("\r\x1b[K" + shown)
        sys.stdout.flush()
        self._draft_shown = True


def _events(response: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for raw in response:
        line = raw.decode().rstrip("\n")
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def _local(iso: str) -> str:
    return datetime.fromisoformat(iso).astimezone().strftime("%H:%M:%S")


def _account(url: str, watching: Watching, sent: dict[str, Any], ledgers: list[dict[str, Any]], fast: bool) -> bool:
    """Print the short account; True if every captured second is accounted for and none is pending."""
    with urllib.request.urlopen(f"{url}api/export?format=jsonl", timeout=30) as response:
        moments = [json.loads(line) for line in response]
    total_s, pending_s = (sum(ledger[key] for ledger in ledgers) for key in ("total_s", "pending_s"))
    sums = " · ".join(
        f"{kind} {sum(ledger[f'{kind}_s'] for ledger in ledgers):.1f} s"
        for kind in ("noted", "silence", "gap", "pending")
    )
    balanced: bool = abs(total_s - sent["captured_s"]) <= _ACCOUNT_TOLERANCE_S and pending_s == 0
    latencies = [moment["latency_ms"] / 1000 for moment in moments] if fast else watching.latencies_s
    what = "arrival of its last words" if fast else "end of utterance"
    print()
    print(f"Moments   {sum(m['outcome'] == 'noted' for m in moments)} noted of {len(moments)} utterances")
    verdict = "balanced" if balanced else "NOT BALANCED"
    print(f"Ledger    {verdict}: captured {sent['captured_s']:.2f} s = {sums}")
    if latencies:
        p50, p95 = (_percentile(latencies, percent) for percent in (50, 95))
        print(f"Latency   p50 {p50:.2f} s · p95 {p95:.2f} s from {what} to note")
    hours = max(sent["captured_s"], 1e-9) / 3600
    print(
        f"Sent      {sent['sent_bytes'] / 1000:.0f} kB for {clock(sent['captured_s'])} of sound "
        f"and {sent['frames']} frames ({sent['sent_bytes'] / 1e6 / hours:.1f} MB an hour)"
    )
    return balanced


def _percentile(values: list[float], percent: int) -> float:
    return values[0] if len(values) == 1 else statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _recording() -> Path:
    """A human reading, 44 s, that came with the speech recogniser."""
    from moonshine_voice import get_assets_path

    path = Path(str(get_assets_path())) / "two_cities.wav"
    if not path.exists():
        raise DemoError(
            f"{path} is missing; reinstall with: python -m pip install --force-reinstall moonshine-voice==0.1.0"
        )
    return path


class _directory:
    """The data directory: the one given, or a fresh one that is removed at the end."""

    def __init__(self, given: Path | None) -> None:
        self._given = given

    def __enter__(self) -> Path:
        if self._given is None:
            self._path = Path(tempfile.mkdtemp(prefix="fieldnote-demo-"))
        else:
            self._path = self._given
            try:
                self._path.mkdir(parents=True, exist_ok=True)
            except OSError as exc:
                raise DemoError(f"{self._path}: cannot be used: {exc.strerror}") from exc
        return self._path

    def __exit__(self, *_: object) -> None:
        if self._given is None:
            shutil.rmtree(self._path, ignore_errors=True)


def _has_screen() -> bool:
    if sys.platform in ("win32", "darwin"):
        return sys.stdout.isatty()
    return sys.stdout.isatty() and any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


if __name__ == "__main__":
    sys.exit(main())
