"""server.toml."""

from pathlib import Path

import pytest

from agent.config import ConfigError
from inference_server.config import ServerConfig, data_directory, load, token_from_environment


def written(directory: Path, text: str) -> Path:
    path = directory / "server.toml"
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_hold_and_nobody_else_is_let_in() -> None:
    config = load(None)
    assert config == ServerConfig()
    assert (config.http.host, config.http.port) == ("127.0.0.1", 8750)


def test_a_file_changes_what_it_names_alone(tmp_path: Path) -> None:
    config = load(written(tmp_path, "[limits]\nstreams = 3\n"))
    assert config.limits.streams == 3
    assert config.http == ServerConfig().http


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[http]\nprot = 1\n", "prot"),
        ("[htp]\n", "htp"),
        ("[http]\nport = 70000\n", "http.port"),
        ("[limits]\nstreams = 0\n", "limits.streams"),
        ("[notes]\ndraft_every_s = 0.0\n", "notes.draft_every_s"),
        ('[engine]\nname = "magic"\n', "engine.name"),
        ("[http\n", "TOML"),
        ('[engine]\nlanguage = "de"\n', "engine.language"),
        ('[http]\ncert = "x.pem"\n', "http.cert"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_it(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        load(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_whisper_may_speak_other_languages(tmp_path: Path) -> None:
    assert load(written(tmp_path, '[engine]\nrecogniser = "whisper"\nlanguage = "de"\n')).engine.language == "de"


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path / "none.toml")


def test_the_store_lies_where_it_is_told_or_with_the_user(tmp_path: Path) -> None:
    assert data_directory(load(written(tmp_path, f'[store]\ndata_dir = "{tmp_path}"\n'))) == tmp_path
    assert data_directory(ServerConfig()).parts[-2:] == ("fieldnote", "server")


def test_a_token_may_come_from_the_environment_and_loses_stray_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIELDNOTE_TOKEN", raising=False)
    assert token_from_environment(ServerConfig()) == ""
    monkeypatch.setenv("FIELDNOTE_TOKEN", " secret\n")
    assert token_from_environment(ServerConfig()) == "secret"
