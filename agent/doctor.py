"""Finds out what would keep this device from capturing, and says in plain words what to do about it."""

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.app import spool_directory
from agent.audio import Pcm, level
from agent.codec import OpusEncoder
from agent.config import AgentConfig
from agent.protocol import PACKET_SAMPLES
from agent.sources import DeviceError, Samples

_LISTEN_S = 2.0
_QUIET = 0.05  # level below which a microphone delivers nothing that a room would (-57 dBFS)


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: `what` was looked at, whether it is fine, and the words for the person."""

    what: str
    fine: bool
    text: str


def run(config: AgentConfig) -> int:
    """Check everything and print a line for each; 0 if all is fine."""
    return report(_findings(config))


def report(findings: Iterator[Finding]) -> int:
    """Print each finding as it comes; 0 if all are fine, else 1."""
    fine = True
    for finding in findings:
        fine = fine and finding.fine
        print(f"{'ok ' if finding.fine else 'NO '} {finding.what:<11} {finding.text}", flush=True)
    return 0 if fine else 1


def devices() -> Iterator[str]:
    """A line for each microphone and camera, or why there is none."""
    from agent.sources.microphone import input_devices

    try:
        yield from input_devices() or ["no microphone found: plug one in"]
    except DeviceError as exc:
        yield f"microphones: {exc}"
    yield from _cameras() or ["no camera found (a camera in the network: --frames rtsp://... or http://...)"]


def _cameras() -> list[str]:
    found = sorted(Path("/dev").glob("video*")) if Path("/dev").is_dir() else []
    return [f"camera:{path.name.removeprefix('video')}  {path}" for path in found]


def _findings(config: AgentConfig) -> Iterator[Finding]:
    yield _sound(config)
    if config.frames.source:
        yield _camera(config)
    yield _disk(config)
    yield _clock()
    yield _codec(config)
    yield asyncio.run(_server(config))


def _sound(config: AgentConfig) -> Finding:
    kind, _, device = config.audio.source.partition(":")
    if kind != "mic":
        return _media(Path(config.audio.source))
    from agent.sources.microphone import Microphone

    try:
        microphone = Microphone(device, config.audio.buffer_s)
    except DeviceError as exc:
        return Finding("microphone", False, str(exc))
    heard: list[Pcm] = []
    until = time.monotonic() + _LISTEN_S
    try:
        for event in microphone.events():
            if isinstance(event, Samples):
                heard.append(event.pcm)
            if time.monotonic() > until:
                break
    except DeviceError as exc:
        return Finding("microphone", False, str(exc))
    finally:
        microphone.close()
    loudest = max((level(pcm) for pcm in heard), default=0.0)
    if loudest < _QUIET:
        return Finding("microphone", False, "delivers silence: is it muted, or is another one meant? (`devices`)")
    return Finding("microphone", True, f"hears you, level {loudest:.2f} of 1 in {_LISTEN_S:.0f} s")


def _media(path: Path) -> Finding:
    from agent.sources.file import check_media, duration_s

    try:
        check_media(path)
        return Finding("recording", True, f"{path}, {duration_s(path):.1f} s")
    except DeviceError as exc:
        return Finding("recording", False, str(exc))


def _camera(config: AgentConfig) -> Finding:
    from agent.sources.camera import Camera

    source = config.frames.source
    if source.split(":")[0] != "camera" and "://" not in source:
        return _media(Path(source))
    try:
        camera = Camera(source if "://" in source else source.partition(":")[2] or "0")
    except DeviceError as exc:
        return Finding("camera", False, str(exc))
    try:
        camera.wanted()
        until = time.monotonic() + 5.0
        while (picture := camera.take()) is None and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        camera.close()
    if picture is None:
        return Finding("camera", False, "opens, and gives no picture in 5 s: try another camera:NUMBER")
    height, width = picture.image.shape[:2]
    return Finding("camera", True, f"{width} x {height}")


def _disk(config: AgentConfig) -> Finding:
    directory = spool_directory(config)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        free_mb = shutil.disk_usage(directory).free / 1e6
    except OSError as exc:
        return Finding("disk", False, f"{directory} cannot be used ({exc.strerror}): choose another --spool DIR")
    days = free_mb / (25.0 * 16)  # 25 MB an hour at most, 16 waking hours
    if free_mb < 500:
        return Finding("disk", False, f"only {free_mb:.0f} MB free at {directory}: make room for hours offline")
    return Finding("disk", True, f"{free_mb / 1000:.1f} GB free at {directory}: {days:.0f} days without a server")


def _clock() -> Finding:
    now = time.gmtime()
    if now.tm_year < 2026:
        return Finding("clock", False, f"says {now.tm_year}: set it (`timedatectl`), or notes get wrong times")
    return Finding("clock", True, time.strftime("%Y-%m-%d %H:%M:%S UTC", now))


def _codec(config: AgentConfig) -> Finding:
    packet = OpusEncoder(config.codec.bitrate_bps).encode(np.zeros(PACKET_SAMPLES, np.int16))
    return Finding("codec", len(packet) > 0, f"Opus at {config.codec.bitrate_bps / 1000:.0f} kbit/s")


async def _server(config: AgentConfig) -> Finding:
    """Ask for what needs the token and starts no stream."""
    from urllib.parse import urlsplit

    url = urlsplit(config.server.url)
    host, port = url.hostname or "", url.port or (443 if url.scheme == "wss" else 80)
    try:
        async with asyncio.timeout(config.server.connect_timeout_s):
            reader, writer = await asyncio.open_connection(host, port, ssl=url.scheme == "wss" or None)
            token = os.environ.get(config.server.token_env, "").strip()
            request = ["GET /api/pairing HTTP/1.1", f"Host: {url.netloc}", f"Authorization: Bearer {token}"]
            writer.write("\r\n".join([*request, "Connection: close", "", ""]).encode())
            answer = await reader.read(-1)
            writer.close()
    except (OSError, TimeoutError) as exc:
        hint = "is `fieldnote-server serve` running there, and does the firewall let this port through?"
        return Finding("server", False, f"{config.server.url} cannot be reached ({exc or 'no answer'}); {hint}")
    if answer.startswith(b"HTTP/1.1 401"):
        text = f"refuses the token: set {config.server.token_env} to the one that `fieldnote-server` shows at its start"
        return Finding("server", False, f"{config.server.url} {text}")
    if b"fieldnote" not in answer:
        return Finding("server", False, f"{config.server.url} answers, but is not a Fieldnote server: check the port")
    return Finding("server", True, config.server.url)
