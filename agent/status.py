"""How the agent is doing: one calm line in the terminal, and a small JSON file for others."""

import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

import msgspec

STATUS_FILE = "status.json"
_BARS = " ▁▂▃▄▅▆▇█"
_FRESH_S = 5.0  # an older status file is from an agent that no longer runs


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the status line and the status file say."""

    pid: int
    at: float  # UTC seconds
    state: str  # recording, paused, waiting or stopped
    speaking: bool
    level: float  # 0 to 1
    captured_s: float
    utterances: int
    frames: int
    backlog: int  # records that the server has not acknowledged
    server: str  # "connected", or why not
    url: str
    shedding: str
    trouble: str  # what keeps records from the disk, or ""
    sent_bytes: int


def line(status: Status, width: int) -> str:
    """One line of at most `width` columns."""
    if status.state == "stopped":
        return _last_line(status)
    mark = {"recording": "●", "paused": "‖", "waiting": "○", "stopped": "■"}[status.state]
    bar = _BARS[round(status.level * (len(_BARS) - 1))] * 4 if status.state == "recording" else "    "
    server = "server ok" if status.server == "connected" else f"no server: {status.server}"
    parts = [
        f"{mark} {status.state} {clock(status.captured_s)} {bar}",
        f"{status.utterances} utterances",
        *([f"{status.frames} frames"] if status.frames else []),
        f"backlog {status.backlog}",
        server,
        *([f"server sheds {status.shedding}"] if status.shedding else []),
        *([status.trouble] if status.trouble else []),
    ]
    text = " · ".join(parts)
    return text if len(text) <= width else text[: width - 1] + "…"


def _last_line(status: Status) -> str:
    frames = f", {status.frames} frames" if status.frames else ""
    left = f"{status.backlog} records wait in the spool for the next start" if status.backlog else "all of it sent"
    return f"■ stopped after {clock(status.captured_s)}: {status.utterances} utterances{frames}; {left}"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


class StatusLine:
    """Redraws one line on a terminal; elsewhere prints a line when something has changed in kind."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stderr if out is None else out
        self._last_kind: tuple[str, ...] | None = None

    def show(self, status: Status) -> None:
        """Draw `status`."""
        if self._out.isatty():
            with contextlib.suppress(OSError):
                width = os.get_terminal_size(self._out.fileno()).columns
                self._out.write("\r\x1b[K" + line(status, width - 1))
                self._out.flush()
            return
        kind = (status.state, status.server, status.trouble)
        if kind != self._last_kind:
            self._last_kind = kind
            self._out.write(line(status, 200) + "\n")
            self._out.flush()

    def end(self) -> None:
        """Leave the line standing and go to the next."""
        if self._out.isatty():
            self._out.write("\n")
            self._out.flush()


def write(directory: Path, status: Status) -> None:
    """Replace the status file in one step, so that no reader ever sees half of one."""
    fresh = directory / f"{STATUS_FILE}.new"
    with contextlib.suppress(OSError):  # a full disk must not stop capture; the next second tries again
        fresh.write_bytes(msgspec.json.encode(status))
        os.replace(fresh, directory / STATUS_FILE)


def read(directory: Path) -> Status | None:
    """The status of the agent that runs on this spool; None if none does."""
    try:
        status = msgspec.json.decode((directory / STATUS_FILE).read_bytes(), type=Status)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
    return status if status.state != "stopped" and time.time() - status.at < _FRESH_S else None


def utf8_output() -> None:
    """Print UTF-8 wherever the output goes: a pipe on Windows would get the code page, and no "●" in it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")


def as_json(status: Status) -> str:
    """For `status --json`."""
    return json.dumps(msgspec.to_builtins(status))
