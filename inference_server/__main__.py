"""The `fieldnote-server` command. Exit codes: 0 done, 1 failed, 2 wrong usage or config."""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.config import ConfigError
from agent.status import utf8_output
from inference_server.config import LOOPBACK, ServerConfig, check, data_directory, load

if TYPE_CHECKING:
    from inference_server.pairing import Pairing

_EPILOG = """examples:
  fieldnote-server serve                          this machine alone: http://127.0.0.1:8750
  fieldnote-server serve --host 0.0.0.0           the network, too; shows the token and a QR code to open the page
  fieldnote-server notes                          the newest day's running notes as Markdown
  fieldnote-server ask "when is the launch?"      answered from the notes, with evidence
  fieldnote-server export --format jsonl > all.jsonl"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    utf8_output()
    args = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if args.verbose > 1 else logging.INFO if args.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # On DEBUG uvicorn logs headers, and so the token.
    logging.getLogger("uvicorn").setLevel(logging.INFO if args.verbose else logging.WARNING)
    try:
        return _run(args)
    except ModuleNotFoundError as exc:
        return _fail(2, f"{exc.name} is not installed: the server needs python -m pip install 'fieldnote[server]'")
    except KeyboardInterrupt:
        return 130


def _run(args: argparse.Namespace) -> int:
    from inference_server.engines.base import EngineError
    from inference_server.store.schema import StoreError

    try:
        run: Callable[[argparse.Namespace, ServerConfig], int] = args.run
        return run(args, _config(args))
    except ConfigError as exc:
        return _fail(2, exc)
    except (StoreError, EngineError, OSError) as exc:
        return _fail(1, exc)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fieldnote-server",
        description="Turns what Fieldnote agents capture into live notes and answers, with evidence.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, metavar="FILE", help="server.toml; see configs/ for commented ones")
    common.add_argument("--data-dir", metavar="DIR", help="where everything is kept (default: user data directory)")
    common.add_argument("-v", "--verbose", action="count", default=0, help="log more; twice: everything")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace, ServerConfig], int], text: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, parents=[common], help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    serve = command("serve", _serve, "take records from agents and serve the live page, until Ctrl-C")
    serve.add_argument("--host", help="address to listen on (default 127.0.0.1; any other asks viewers for a token)")
    serve.add_argument("--port", type=int, help="port to listen on (default 8750; 0: any free one)")
    notes = command("notes", _notes, "print running notes as Markdown")
    ask = command("ask", _ask, "answer a question from the notes; exit code 1 if they hold nothing on it")
    ask.add_argument("question", nargs="+")
    search = command("search", _search, "print the lines that hold every word")
    search.add_argument("words", nargs="+")
    search.add_argument("--limit", type=int, default=50, metavar="N", help="at most this many (default 50)")
    export = command("export", _export, "write moments to standard output")
    export.add_argument("--format", choices=("jsonl", "md", "srt", "vtt"), default="jsonl")
    for sub in (notes, export):
        sub.add_argument(
            "--day",
            metavar="YYYY-MM-DD",
            help="one UTC day (default: " + ("the newest)" if sub is notes else "all)"),
        )
        sub.add_argument("--stream", default="", metavar="ID", help="one device's stream")
    command("doctor", _doctor, "check the data directory, the disk, the models and the port")
    return parser


def _config(args: argparse.Namespace) -> ServerConfig:
    """The config file with the command line on top."""
    config, replace = load(args.config), msgspec.structs.replace
    if args.data_dir:
        config = replace(config, store=replace(config.store, data_dir=args.data_dir))
    if getattr(args, "host", None):
        config = replace(config, http=replace(config.http, host=args.host))
    if (port := getattr(args, "port", None)) is not None:
        if not 0 <= port <= 65535:
            raise ConfigError(f"--port {port}: must lie between 0 and 65535")
        config = replace(config, http=replace(config.http, port=port))
    check(config)
    return config


def _serve(args: argparse.Namespace, config: ServerConfig) -> int:
    from inference_server.app import serve

    def ready(pairing: "Pairing") -> None:
        print(f"fieldnote-server: listening on {pairing.url}", flush=True)
        if config.http.host not in LOOPBACK:
            if not pairing.tls:
                print("anyone in this network could read along: give http.cert and http.key for TLS", flush=True)
            print(f"connect a device: {pairing.command}", flush=True)
            if sys.stdout.isatty():
                print(pairing.qr_text(), flush=True)

    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # uvicorn sets its own while it serves and raises the signal again after
        signal.signal(number, lambda *_: None)
    asyncio.run(serve(config, ready))
    return 0


def _notes(args: argparse.Namespace, config: ServerConfig) -> int:
    from inference_server.app import open_storage
    from inference_server.notes import markdown

    library = open_storage(_existing(config)).library
    days = library.days()
    day = args.day or (days[-1] if days else None)
    if day is None:
        print("nothing was noted yet")
        return 0
    print(markdown(day, library.topics(_day(day), args.stream)))
    return 0


def _ask(args: argparse.Namespace, config: ServerConfig) -> int:
    from inference_server.asking import answer

    return answer(_existing(config), " ".join(args.question))


def _search(args: argparse.Namespace, config: ServerConfig) -> int:
    from inference_server.app import open_storage
    from inference_server.views import iso

    found = open_storage(_existing(config)).library.search(" ".join(args.words), args.limit)
    for line in found:
        print(f"{iso(line.captured_at)}  {'seen: ' if line.kind == 'seen' else ''}{line.text}")
    if not found:
        print("nothing holds all of these words", file=sys.stderr)
    return 0 if found else 1


def _export(args: argparse.Namespace, config: ServerConfig) -> int:
    from inference_server.app import open_storage
    from inference_server.export import export

    day = _day(args.day) if args.day else None
    for piece in export(open_storage(_existing(config)).library, args.format, day, args.stream):
        sys.stdout.write(piece)
    return 0


def _doctor(args: argparse.Namespace, config: ServerConfig) -> int:
    from inference_server import doctor

    return doctor.run(config)


def _existing(config: ServerConfig) -> ServerConfig:
    """The config, if its data directory holds a store: reading commands never make a new one."""
    directory = data_directory(config)
    if not (directory / "fieldnote.db").exists():
        raise ConfigError(
            f"{directory}: no Fieldnote store here; run `fieldnote-server serve` first, or give --data-dir"
        )
    return config


def _day(day: str) -> str:
    from inference_server.ledger import day_bounds_ns

    try:
        day_bounds_ns(day)
    except ValueError as exc:
        raise ConfigError(f"--day {day}: must be a date like 2026-11-20") from exc
    return day


def _fail(code: int, message: object) -> int:
    print(f"fieldnote-server: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
