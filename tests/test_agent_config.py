"""agent.toml: defaults, and errors that name the key."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from agent.config import AgentConfig, ConfigError, load, parse

CONFIGS = Path(__file__).parents[1] / "configs"


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("")
    assert load(tmp_path / "agent.toml") == AgentConfig() == load(None)


def test_what_the_file_says_replaces_one_default_and_no_other() -> None:
    config = parse("[segmenter]\nonset = 0.6", AgentConfig, "agent.toml")
    assert isinstance(config, AgentConfig)
    back = msgspec.structs.replace(config, segmenter=msgspec.structs.replace(config.segmenter, onset=0.4))
    assert config.segmenter.onset == 0.6
    assert back == AgentConfig()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[segmenter]\nonsett = 0.6", "onsett"),
        ("[segmentation]\nonset = 0.6", "segmentation"),
        ("onset = 0.6", "onset"),
        ("[segmenter]\nonset = 1.5", r"\$\.segmenter\.onset"),
        ("[segmenter]\nlongest_s = 31", r"\$\.segmenter\.longest_s"),
        ("[segmenter]\nlongest_s = 0.1", r"\$\.segmenter\.longest_s"),
        ("[segmenter]\nonset_s = 1e-9", r"\$\.segmenter\.onset_s"),
        ("[segmenter]\npreroll_s = 1e6", r"\$\.segmenter\.preroll_s"),
        ("[segmenter]\ncut_search_s = 0", r"\$\.segmenter\.cut_search_s"),
        ("[segmenter]\nonset = 'high'", r"\$\.segmenter\.onset"),
        ("[vad]\ngate_mode = 4", r"\$\.vad\.gate_mode"),
        ("[codec]\nchunk_ms = 30", r"\$\.codec\.chunk_ms"),
        ("[codec]\nbitrate_bps = 500", r"\$\.codec\.bitrate_bps"),
        ("[spool]\ncap_mb = 0", r"\$\.spool\.cap_mb"),
        ("[spool]\ncap_mb = nan", r"\$\.spool\.cap_mb"),
        ("[spool]\ncap_mb = inf", r"\$\.spool\.cap_mb"),
        ("[frames]\njpeg_quality = 101", r"\$\.frames\.jpeg_quality"),
        ("[server]\nstall_timeout_s = -1", r"\$\.server\.stall_timeout_s"),
        ("[server]\nwindow_records = 0", r"\$\.server\.window_records"),
        ("[server]\ntoken = 'secret'", "token"),
    ],
)
def test_a_wrong_key_or_value_is_named_together_with_the_file(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_toml_is_refused_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("[segmenter\n")
    with pytest.raises(ConfigError, match="line 1"):
        load(tmp_path / "agent.toml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path / "agent.toml")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("name", ["agent.toml", "pi.toml", "glasses.toml"])
def test_the_config_files_that_are_shipped_are_valid(name: str) -> None:
    path = CONFIGS / name
    if not path.exists():
        pytest.skip(f"no {name}")
    load(path)


def test_the_shipped_agent_toml_states_the_defaults() -> None:
    path = CONFIGS / "agent.toml"
    if not path.exists():
        pytest.skip("no agent.toml")
    assert tomllib.loads(path.read_text("utf-8"))
    assert load(path) == AgentConfig()
