"""The server's settings: one frozen struct per TOML section, each field with its unit. Same rules as the agent's."""

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import platformdirs

from agent.config import ConfigError, Count, NonNegative, Positive, Section, parse, read_text

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class Http(Section, frozen=True):
    """[http] where to listen."""

    host: str = "127.0.0.1"  # any other address makes the server ask for a token
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8750
    token_env: str = "FIELDNOTE_TOKEN"  # wins over the token file in the data directory
    cert: str = ""  # TLS certificate and key, PEM files
    key: str = ""


class Store(Section, frozen=True):
    """[store] where everything is kept."""

    data_dir: str = ""  # empty: the user's data directory


class Engine(Section, frozen=True):
    """[engine] what turns moments into notes."""

    name: Literal["cascade"] = "cascade"
    recogniser: Literal["moonshine", "whisper"] = "moonshine"
    whisper_model: str = "base"  # a CTranslate2 directory, or a name on the model hub
    language: str = "en"  # moonshine: en alone; whisper: ISO 639-1
    parallel: Annotated[int, msgspec.Meta(ge=1, le=32)] = 2  # utterances recognised side by side
    read_frames: bool = True


class Notes(Section, frozen=True):
    """[notes] how running notes are made."""

    wake_phrase: str = "hey notes"  # an utterance that begins with it is a question; empty: none
    drafts: bool = True  # show words while the person still speaks
    draft_every_s: Positive = 0.5
    topic_pause_s: Positive = 90.0  # a longer pause begins a new topic
    topic_shift_pause_s: Positive = 15.0  # a pause that begins one if the words change, too
    frame_before_s: NonNegative = 3.0  # frames this long before an utterance belong to its moment
    frame_after_s: NonNegative = 0.5
    seen_again_s: NonNegative = 600.0  # text that was seen this recently is not new


class Limits(Section, frozen=True):
    """[limits] every queue has a size."""

    receive_records: Count = 256  # per device: received and not yet on disk; then the socket waits
    commit_records: Count = 128  # written and acknowledged together at most
    read_frames: Count = 600  # frames waiting to be read, on disk; the oldest is shed
    summaries: Count = 32  # waiting; the oldest is shed
    shed_summaries_at: Count = 4  # notes waiting: from here summaries are shed ...
    shed_frames_at: Count = 12  # ... and from here frames are no longer read
    answers: Count = 16  # questions being answered at once
    events: Count = 512  # per viewer: events not yet taken; then it is cut off and starts anew
    history: Count = 2000  # events kept for viewers that reconnect
    job_attempts: Count = 3
    job_timeout_s: Positive = 120.0
    streams: Count = 64  # devices connected at once
    hello_s: Positive = 10.0  # a device that has not greeted by then is sent away
    silent_s: Positive = 60.0  # a device that says or takes nothing for this long has gone; ours speak every second
    store_retry_s: Positive = 5.0  # when the store fails, work is tried again after this long


class ServerConfig(Section, frozen=True):
    """Everything in server.toml."""

    http: Http = Http()
    store: Store = Store()
    engine: Engine = Engine()
    notes: Notes = Notes()
    limits: Limits = Limits()


def load(path: Path | None) -> ServerConfig:
    """Read a server.toml, or give the defaults when there is none. Raises ConfigError."""
    if path is None:
        return ServerConfig()
    config = parse(read_text(path), ServerConfig, str(path))
    assert isinstance(config, ServerConfig)
    check(config)
    return config


def check(config: ServerConfig) -> None:
    """What the types cannot say. Raises ConfigError."""
    if config.engine.recogniser == "moonshine" and config.engine.language != "en":
        raise ConfigError(
            f"engine.language {config.engine.language!r}: moonshine's packaged model knows English alone; "
            'set engine.recogniser = "whisper"'
        )
    if bool(config.http.cert) != bool(config.http.key):
        raise ConfigError("http.cert and http.key go together: give both for TLS, or neither")


def data_directory(config: ServerConfig) -> Path:
    """Where the store lies: [store] data_dir, or the user's data directory."""
    return Path(config.store.data_dir or Path(platformdirs.user_data_dir("fieldnote", appauthor=False)) / "server")


def token_from_environment(config: ServerConfig) -> str:
    """The token that the environment gives, or empty."""
    return os.environ.get(config.http.token_env, "").strip()
