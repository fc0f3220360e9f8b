"""The `fieldnote-demo` command: a real server and a real agent, as two processes, on a recording; notes as they form.

Exit code 0 only if the agent handed over everything, every captured second is in the ledger, and none is pending.
"""

import argparse
import asyncio
import os
import shutil
import signal
import statistics
import sys
import tempfile
import textwrap
import threading
import time
import webbrowser
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.status import clock, utf8_output
from inference_server import launch
from inference_server.demo_frames import draw

_SETTLE_S = 120.0  # for the last notes, after the agent has ended
_LAST_EVENT_S = 0.3  # the last note's event is on its way
_ACCOUNT_TOLERANCE_S = 0.02
_EPILOG = """examples:
  fieldnote-demo                                      44 s of a human voice, in real time
  fieldnote-demo --fast                               the same, as fast as it goes
  fieldnote-demo --audio meeting.mp3 --frames slides/ --data-dir ./notes --keep"""


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to do."""


def main(argv: list[str] | None = None) -> int:
    """Run the demo; returns its exit code."""
    utf8_output()
    args = _parser().parse_args(argv)
    for name in ("SIGTERM", "SIGHUP"):  # a closed terminal ends the demo like Ctrl-C: with its processes
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    try:
        return asyncio.run(_demo(args))
    except (DemoError, launch.LaunchError, OSError) as exc:
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
        async with launch.server(directory / "server", port=args.port) as url:
            print(f"Live page: {url}", flush=True)
            if not args.no_browser and _has_screen():
                webbrowser.open(url)
            print(f"Streaming {audio.name}{' as fast as it goes' if args.fast else ' in real time'}\n", flush=True)
            watching = Watching(url)
            watching.start()
            try:
                sent = await launch.agent(url, directory / "agent", *_capture(audio, frames, args.fast))
                ledgers = await launch.settled(url, _SETTLE_S)
                await asyncio.sleep(_LAST_EVENT_S)
            finally:
                watching.stop()
            good = _account(url, watching, sent, ledgers, args.fast)
            if args.keep:
                print(f"\nThe page stays at {url} until Ctrl-C; data in {directory}", flush=True)
                await asyncio.Event().wait()
        return 0 if good else 1


def _capture(audio: Path, frames: str | None, fast: bool) -> list[str]:
    return [
        *("--audio", str(audio), "--device", "demo"),
        *(("--frames", frames) if frames else ()),
        *(("--fast",) if fast else ()),
    ]


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
        cursor = launch.fetch(f"{self.url}api/snapshot")["cursor"]
        self._thread = threading.Thread(target=self._follow, args=(cursor,), name="viewer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Print nothing more."""
        self._stopped = True

    def _follow(self, cursor: str) -> None:
        for name, data in launch.events(self.url, cursor):
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
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            text = textwrap.fill(text, width, subsequent_indent=" " * 12, break_on_hyphens=False)
        print(text, flush=True)

    def _redraw(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        shown = text if len(text) <= width else text[:12] + "…" + text[-(width - 13) :]
        sys.stdout.write("\r\x1b[K" + shown)
        sys.stdout.flush()
        self._draft_shown = True


def _local(iso: str) -> str:
    return datetime.fromisoformat(iso).astimezone().strftime("%H:%M:%S")


def _account(url: str, watching: Watching, sent: dict[str, Any], ledgers: list[dict[str, Any]], fast: bool) -> bool:
    """Print the short account; True if every captured second is accounted for and none is pending."""
    moments = launch.moments(url)
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
    try:
        from moonshine_voice import get_assets_path
    except ModuleNotFoundError as exc:
        raise DemoError("the server is not installed: python -m pip install 'fieldnote[server]'") from exc

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
