"""The `fieldnote-server` command: exit codes, and one clear line for each trouble."""

import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from fakes import Tape
from serving import keep, settings
from test_store import note

from agent.config import ConfigError
from inference_server.__main__ import main
from inference_server.app import access_token, listen, open_storage
from inference_server.config import Http, ServerConfig, Store

STREAM = "ab" * 16
DAY = "2026-11-20"
READING = ("notes", "ask when", "search words", "export")


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIELDNOTE_TOKEN", raising=False)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with closing((storage := open_storage(settings(tmp_path))).database):
        tape = Tape()
        utterance = tape.utterance(51)
        keep(storage, tape)
        note(storage, tape, utterance, "We launch the website on Friday.")
    return tmp_path


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What the command said of its trouble: one line, and nothing else."""
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("fieldnote-server: "), (out, err)
    return err


# Reading commands


def test_notes_are_printed_as_markdown(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["notes", "--data-dir", str(store)]) == 0
    assert "We launch the website on Friday." in capsys.readouterr().out
    assert main(["notes", "--data-dir", str(store), "--day", "2026-11-19"]) == 0
    assert "Nothing was noted." in capsys.readouterr().out


def test_an_empty_store_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_storage(settings(tmp_path)).database.close()
    assert main(["notes", "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "nothing was noted yet\n"


def test_search_prints_lines_or_fails(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--data-dir", str(store), "website", "FRIDAY"]) == 0
    assert capsys.readouterr().out == "2026-11-20T12:00:00.000Z  We launch the website on Friday.\n"
    assert main(["search", "--data-dir", str(store), "rocket"]) == 1
    assert capsys.readouterr().err == "nothing holds all of these words\n"


def test_a_question_is_answered_with_its_evidence_or_fails(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "--data-dir", str(store), "when", "do we launch the website?"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "“We launch the website on Friday.”"
    assert out[1].startswith("  2026-11-20T12:00:00.000Z  ") and Path(out[1].split("  ")[-1]).is_file()
    assert main(["ask", "--data-dir", str(store), "who is the president of France?"]) == 1
    assert capsys.readouterr().out == "I have nothing on that.\n"


def test_a_question_of_any_length_is_taken(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "--data-dir", str(store), "金曜日に何を発表しますか" * 500]) == 1
    assert main(["ask", "--data-dir", str(store), *["rocket"] * 5000]) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("format_", "begin"), [("jsonl", '{"stream"'), ("md", "# Notes"), ("srt", "1\n"), ("vtt", "WEBVTT")]
)
def test_an_export_goes_to_standard_output(
    store: Path, capsys: pytest.CaptureFixture[str], format_: str, begin: str
) -> None:
    assert main(["export", "--data-dir", str(store), "--format", format_, "--day", DAY, "--stream", STREAM]) == 0
    out = capsys.readouterr().out
    assert out.startswith(begin) and "website" in out


@pytest.mark.parametrize("command", READING)
def test_a_missing_store_is_one_clear_line_and_none_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([*command.split(), "--data-dir", str(tmp_path / "none")]) == 2
    assert "no Fieldnote store here" in one_line(capsys)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", [*READING, "serve --port 0"])
def test_a_newer_store_is_one_clear_line(store: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    with closing(sqlite3.connect(store / "fieldnote.db")) as db:
        db.execute("PRAGMA user_version = 99")
    with _signals_kept():
        assert main([*command.split(), "--data-dir", str(store)]) == 1
    assert "newer Fieldnote" in one_line(capsys)


@pytest.mark.parametrize("command", ["notes", "export"])
@pytest.mark.parametrize("day", ["yesterday", "2026-13-01", "20261120", "1969-01-01", "9999-01-01"])
def test_a_bad_day_is_one_clear_line(store: Path, capsys: pytest.CaptureFixture[str], command: str, day: str) -> None:
    assert main([command, "--data-dir", str(store), "--day", day]) == 2
    assert "must be a date like" in one_line(capsys)


# Config


def test_an_unknown_key_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "server.toml").write_text("[http]\nprot = 1\n")
    assert main(["notes", "--config", str(tmp_path / "server.toml")]) == 2
    assert "prot" in one_line(capsys)


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_is_none_is_one_clear_line(capsys: pytest.CaptureFixture[str], port: str) -> None:
    assert main(["serve", "--port", port]) == 2
    assert f"--port {port}" in one_line(capsys)


def test_wrong_usage_is_told_with_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ([], ["explode"], ["serve", "--port", "x"], ["export", "--format", "exe"], ["ask"]):
        with pytest.raises(SystemExit) as caught:
            main(wrong)
        assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


# Serving


@contextmanager
def _signals_kept() -> Iterator[None]:
    """`serve` takes over the signals of its process, which here is the tests'."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_port_in_use_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken, _signals_kept():
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port), "--data-dir", str(tmp_path)]) == 2
        assert f"cannot listen on 127.0.0.1:{port}" in one_line(capsys)


def test_an_address_that_is_not_ours_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="cannot listen"):
        listen(ServerConfig(http=Http(host="192.0.2.1", port=0)))
    with pytest.raises(ConfigError, match="cannot listen"):
        listen(ServerConfig(http=Http(host="no.such.host.invalid", port=0)))


def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "inference_server", "serve", "--port", "0", "--data-dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("fieldnote-server: listening on http://127.0.0.1:")
        url = line.split()[-1]
        with urllib.request.urlopen(url + "api/events", timeout=20) as events:  # a viewer that stays
            assert events.readline() == b": connected\n"
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()
        process.wait()


# The token


def opened_to_all(directory: Path) -> ServerConfig:
    return ServerConfig(http=Http(host="0.0.0.0"), store=Store(data_dir=str(directory)))


def test_a_server_for_others_makes_a_token_once_and_keeps_it_to_itself(tmp_path: Path) -> None:
    token = access_token(opened_to_all(tmp_path / "new"))
    assert len(token) >= 24 and access_token(opened_to_all(tmp_path / "new")) == token
    assert (tmp_path / "new" / "token").stat().st_mode & 0o777 == 0o600


def test_a_server_for_this_machine_needs_none(tmp_path: Path) -> None:
    assert access_token(ServerConfig(store=Store(data_dir=str(tmp_path)))) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_token_in_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIELDNOTE_TOKEN", "mine")
    assert access_token(opened_to_all(tmp_path)) == access_token(ServerConfig()) == "mine"


def test_a_token_that_was_cut_short_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" \n")
    with pytest.raises(ConfigError, match="is empty; remove it"):
        access_token(opened_to_all(tmp_path))


def test_a_server_without_its_packages_says_how_to_install_them() -> None:
    code = "import sys; sys.modules['sqlalchemy'] = None\nfrom inference_server.__main__ import main\n"
    code += "sys.exit(main(['serve']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "pip install 'fieldnote[server]'" in done.stderr
