"""The status line and the status file."""

import io
import json
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import status
from agent.status import Status, StatusLine, clock, line

NOW = Status(
    pid=1,
    at=0.0,
    state="recording",
    speaking=True,
    level=0.5,
    captured_s=3725.9,
    utterances=12,
    frames=3,
    backlog=7,
    server="connected",
    url="ws://127.0.0.1:8750",
    shedding="",
    trouble="",
    sent_bytes=1000,
)


def but(**changes: object) -> Status:
    """`NOW` with these changes."""
    return msgspec.structs.replace(NOW, **changes)


def test_the_line_says_what_a_wearer_wants_to_know() -> None:
    assert line(NOW, 200) == "● recording 1:02:05 ▄▄▄▄ · 12 utterances · 3 frames · backlog 7 · server ok"


def test_a_paused_agent_says_so_and_shows_no_level() -> None:
    text = line(but(state="paused", level=1.0, frames=0), 200)
    assert text.startswith("‖ paused")
    assert "█" not in text and "frames" not in text


def test_a_missing_server_is_said_with_its_reason() -> None:
    assert "no server: ws://x cannot be reached" in line(but(server="ws://x cannot be reached"), 200)


def test_what_the_server_sheds_is_said() -> None:
    assert line(but(shedding="frames"), 200).endswith("server sheds frames")


def test_a_full_disk_is_said() -> None:
    assert line(but(trouble="/spool: free some space"), 200).endswith("/spool: free some space")


@given(
    st.sampled_from(["recording", "paused", "waiting"]),
    st.floats(0, 1),
    st.floats(0, 1e9),
    st.text(max_size=200),
    st.integers(1, 300),
)
def test_the_line_is_never_wider_than_the_terminal(
    state: str, level: float, captured_s: float, server: str, width: int
) -> None:
    assert len(line(but(state=state, level=level, captured_s=captured_s, server=server), width)) <= width


def test_seconds_are_told_as_a_clock() -> None:
    assert [clock(s) for s in (0, 59.9, 60, 3600, 360_000)] == ["0:00:00", "0:00:59", "0:01:00", "1:00:00", "100:00:00"]


def test_elsewhere_than_on_a_terminal_only_a_change_in_kind_is_printed() -> None:
    out = io.StringIO()
    shown = StatusLine(out)
    for current in (NOW, but(level=0.9), but(state="paused"), but(state="paused", utterances=13), NOW):
        shown.show(current)
    shown.end()
    assert [text.split()[1] for text in out.getvalue().splitlines()] == ["recording", "paused", "recording"]


def test_what_was_written_is_read_by_another_process(tmp_path: Path) -> None:
    current = but(at=time.time())
    status.write(tmp_path, current)
    assert status.read(tmp_path) == current
    assert json.loads(status.as_json(current))["backlog"] == 7
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid":1}', b"\xff"])
def test_a_status_file_that_is_none_means_no_agent(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "status.json").write_bytes(content)
    assert status.read(tmp_path) is None


def test_an_old_status_means_no_agent(tmp_path: Path) -> None:
    status.write(tmp_path, but(at=time.time() - 60))
    assert status.read(tmp_path) is None


def test_no_status_file_and_no_directory_mean_no_agent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert status.read(tmp_path) is None
    assert status.read(tmp_path / "nowhere") is None
    assert status.read(tmp_path / "file") is None


def test_a_status_that_cannot_be_written_does_not_stop_capture(tmp_path: Path) -> None:
    status.write(tmp_path / "nowhere", NOW)
