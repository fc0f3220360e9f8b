"""The `fieldnote-agent` command.

Exit codes: 0 done, 1 failed, 2 wrong usage or config, 3 device or media, 4 refused by the server.
"""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from agent import app, status
from agent.config import AgentConfig, ConfigError, load

_EPILOG = """examples:
  fieldnote-agent capture --server ws://192.168.1.20:8750            microphone to a server in the house
  fieldnote-agent capture --server ws://HOST:8750 --frames camera    ... with the first camera
  fieldnote-agent capture --server ws://HOST:8750 --audio talk.flac --frames slides/ --fast
  fieldnote-agent doctor --server ws://HOST:8750                     what is wrong, and what to do

A server on another machine needs its token: export FIELDNOTE_TOKEN=... (it is shown when the server starts).
What was captured and not yet sent is kept in the spool and sent at the next start."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    status.utf8_output()
    args = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if args.verbose > 1 else logging.INFO if args.verbose else logging.ERROR,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        run: Callable[[argparse.Namespace], int] = args.run
        return run(args)
    except ConfigError as exc:
        return _fail(2, exc)
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fieldnote-agent",
        description="Captures speech and camera frames and streams them to a Fieldnote server.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, metavar="FILE", help="agent.toml; see configs/ for commented ones")
    common.add_argument(
        "--spool", metavar="DIR", help="where records wait for the server (default: user data directory)"
    )
    common.add_argument("-v", "--verbose", action="count", default=0, help="log more; twice: everything")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, parents=[common], help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    capture = command("capture", _capture, "capture and stream until Ctrl-C, or until the files end")
    capture.add_argument("--server", metavar="URL", help="ws://HOST:PORT or wss://HOST:PORT of the server")
    capture.add_argument(
        "--audio",
        metavar="mic|FILE",
        help="mic, mic:NUMBER, mic:NAME, or a recording (wav flac mp3 ogg mp4 ...)",
    )
    capture.add_argument(
        "--frames",
        metavar="SOURCE",
        help="camera, camera:NUMBER, a URL (rtsp:// http://), a folder of images or a video",
    )
    capture.add_argument("--fast", action="store_true", help="files: as fast as it goes instead of real time")
    capture.add_argument(
        "--recorded-at",
        type=_moment,
        metavar="TIME",
        help="files: when the recording began, ISO 8601 (default: now)",
    )
    capture.add_argument("--device", metavar="NAME", help="the name that the page shows (default: this host's)")
    command("devices", _devices, "list microphones and cameras")
    doctor = command("doctor", _doctor, "check microphone, camera, disk, clock, codec and server")
    doctor.add_argument("--server", metavar="URL", help="the server to try")
    state = command("status", _status, "how the running agent is doing")
    state.add_argument("--json", action="store_true", help="for programs")
    command("pause", _pause, "stop recording until `resume`; the agent keeps running")
    command("resume", _resume, "record again")
    return parser


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time like 2026-11-20T14:02:11") from exc
    if not 1971 <= moment.year <= 2199:
        raise argparse.ArgumentTypeError(f"{text!r} lies outside of 1971 to 2199")
    return moment


def _config(args: argparse.Namespace) -> AgentConfig:
    """The config file with the command line on top."""
    config = load(args.config)
    replace = msgspec.structs.replace
    if args.spool:
        config = replace(config, spool=replace(config.spool, dir=args.spool))
    if getattr(args, "server", None):
        config = replace(config, server=replace(config.server, url=args.server))
    if getattr(args, "audio", None):
        config = replace(config, audio=replace(config.audio, source=args.audio))
    if getattr(args, "frames", None):
        config = replace(config, frames=replace(config.frames, source=args.frames))
    if getattr(args, "device", None):
        config = replace(config, device=replace(config.device, name=args.device))
    _check_url(config.server.url)
    return config


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0 and not parts.fragment
    except ValueError:  # a port that is no number, a bracket that does not close
        usable = False
    if not usable:
        raise ConfigError(f"server url {url!r}: must be like ws://127.0.0.1:8750 or wss://notes.example.org")


def _capture(args: argparse.Namespace) -> int:
    from agent.link import LinkRefused
    from agent.sources import DeviceError
    from agent.spool import SpoolError

    config = _config(args)
    shown = status.StatusLine()
    request = app.Request(fast=args.fast, started_at=args.recorded_at, show=shown.show)
    try:
        asyncio.run(_until_signal(config, request))
    except DeviceError as exc:
        return _fail(3, exc)
    except SpoolError as exc:
        return _fail(1, exc)
    except LinkRefused as exc:
        return _fail(4, f"{exc} (everything captured is kept in the spool)")
    finally:
        shown.end()
    return 0


async def _until_signal(config: AgentConfig, request: app.Request) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # The plain handler works on every platform; the loop's own does not exist on Windows.
    before = {
        number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        await app.capture(config, request, stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _devices(args: argparse.Namespace) -> int:
    from agent import doctor

    for text in doctor.devices():
        print(text)
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from agent import doctor

    return doctor.run(_config(args))


def _status(args: argparse.Namespace) -> int:
    current = status.read(app.spool_directory(_config(args)))
    if current is None:
        print("no agent is running on this spool; start one with `fieldnote-agent capture`")
        return 1
    print(status.as_json(current) if args.json else status.line(current, 200))
    return 0


def _pause(args: argparse.Namespace) -> int:
    return _set_paused(args, True, "paused: nothing is recorded until `fieldnote-agent resume`")


def _resume(args: argparse.Namespace) -> int:
    return _set_paused(args, False, "recording again")


def _set_paused(args: argparse.Namespace, paused: bool, text: str) -> int:
    directory = app.spool_directory(_config(args))
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        app.set_paused(directory, paused)
    except OSError as exc:
        return _fail(1, f"{directory}: cannot be used as a spool ({exc.strerror}); choose another --spool DIR")
    running = status.read(directory) is not None
    print(text if running else f"{text} (no agent is running on this spool now; it holds for the next start)")
    return 0


def _fail(code: int, message: object) -> int:
    print(f"fieldnote-agent: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
