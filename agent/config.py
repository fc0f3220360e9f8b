"""The agent's settings: one frozen struct per TOML section, each field with its unit.

An unknown key or a value out of range is a ConfigError that names it. Secrets are never in the file:
`token_env` names the environment variable that holds the server's token.
"""

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec

Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]  # TOML knows inf
NonNegative = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
LookBack = Annotated[float, msgspec.Meta(ge=0.02, le=30)]  # seconds: from one VAD window to what memory has room for
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(gt=0)]


class ConfigError(Exception):
    """The configuration cannot be used; the message names the key and what to do."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A TOML section: immutable, and closed to unknown keys."""


class Device(Section, frozen=True):
    """[device] who this is."""

    name: str = ""  # shown on the page; empty: the host's name


class Server(Section, frozen=True):
    """[server] where the records go."""

    url: str = "ws://127.0.0.1:8750"
    token_env: str = "FIELDNOTE_TOKEN"
    connect_timeout_s: Positive = 10.0
    stall_timeout_s: Positive = 30.0  # no acknowledged progress for this long: reconnect
    backoff_first_s: Positive = 0.5
    backoff_longest_s: Positive = 30.0
    window_records: Count = 256  # sent but not yet acknowledged, at most
    window_bytes: Count = 1_000_000


class Audio(Section, frozen=True):
    """[audio] the microphone or file."""

    source: str = "mic"  # "mic", "mic:NAME or NUMBER", or a file
    buffer_s: Positive = 10.0  # a microphone's samples wait here at most; older ones become a gap


class Vad(Section, frozen=True):
    """[vad] speech probability per window: WebRTC as the cheap gate, earshot as the judge."""

    gate_mode: Annotated[int, msgspec.Meta(ge=0, le=3)] = 1  # WebRTC aggressiveness
    gate_hold_s: NonNegative = 0.5  # the gate stays open this long after its last voiced frame


class Segmenter(Section, frozen=True):
    """[segmenter] where utterances start and end."""

    onset: Fraction = 0.4  # probability that is speech while listening; at 0.5 quiet speakers lose words
    offset: Fraction = 0.35  # ... and while speech goes on
    onset_s: LookBack = 0.1  # this much speech within twice that time starts an utterance
    # At 0.3 soft first consonants are clipped (benchmarks/vad.py).
    preroll_s: Annotated[float, msgspec.Meta(ge=0, le=5)] = 0.5
    # A pause after few words is mostly a breath: cutting there costs words (benchmarks/quality.py). So the pause
    # that ends an utterance shrinks from the first value to the second as the utterance nears its longest.
    hangover_s: Positive = 0.9
    hangover_late_s: Positive = 0.4
    longest_s: Annotated[float, msgspec.Meta(ge=1, le=30)] = 20.0  # beyond it the small recogniser loses words
    cut_search_s: LookBack = 5.0  # a longer utterance is cut at the best pause in its last seconds


class Codec(Section, frozen=True):
    """[codec] Opus on the wire."""

    bitrate_bps: Annotated[int, msgspec.Meta(ge=6000, le=128000)] = 24_000
    chunk_ms: Annotated[int, msgspec.Meta(ge=20, le=320, multiple_of=20)] = 320  # whole packets of 20 ms


class Frames(Section, frozen=True):
    """[frames] which camera frames are sent, and how."""

    source: str = ""  # "", "camera", "camera:1", an rtsp:// or http:// URL, a folder of images or a video
    speaking_hz: Positive = 1.0
    idle_hz: Positive = 0.2
    longest_side_px: Annotated[int, msgspec.Meta(ge=64, le=4096)] = 1280
    jpeg_quality: Annotated[int, msgspec.Meta(ge=10, le=100)] = 80
    budget_mb_per_hour: Positive = 9.0  # on average; up to ten minutes' worth may go at once
    repeat_s: Positive = 60.0  # a scene that stays is sent again after this long: it was still there
    # Grey levels (0-255), measured by benchmarks/frames.py.
    duplicate_distance: NonNegative = 1.4  # a frame whose most changed spot differs less shows the same thing
    blurriest: NonNegative = 3.5  # lines that stand out less cannot be made out; on readable photos: over 25
    darkest: NonNegative = 40.0  # a frame without lines is called black below this mean, blurred above


class Spool(Section, frozen=True):
    """[spool] the durable queue between capture and network."""

    dir: str = ""  # empty: the user's data directory
    cap_mb: Positive = 2000.0


class AgentConfig(Section, frozen=True):
    """Everything in agent.toml."""

    device: Device = Device()
    server: Server = Server()
    audio: Audio = Audio()
    vad: Vad = Vad()
    segmenter: Segmenter = Segmenter()
    codec: Codec = Codec()
    frames: Frames = Frames()
    spool: Spool = Spool()


def parse(text: str, type_: type[Section], origin: str) -> Section:
    """Parse TOML `text` into the config struct `type_`. Raises ConfigError, naming `origin` and the key."""
    try:
        return msgspec.convert(tomllib.loads(text), type_)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{origin}: not valid TOML: {exc}") from exc
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{origin}: {exc}; compare with the commented files in configs/") from exc


def load(path: Path | None) -> AgentConfig:
    """Read an agent.toml, or give the defaults when there is none. Raises ConfigError."""
    if path is None:
        return AgentConfig()
    config = parse(read_text(path), AgentConfig, str(path))
    assert isinstance(config, AgentConfig)
    return config


def read_text(path: Path) -> str:
    """Read a config file. Raises ConfigError with the reason."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: cannot read the config file: {exc}") from exc
