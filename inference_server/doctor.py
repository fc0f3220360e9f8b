"""Finds out what would keep this server from working, and says in plain words what to do about it."""

import asyncio
import shutil
import time
from collections.abc import Iterator

import numpy as np

from agent.audio import SAMPLE_RATE
from agent.config import ConfigError
from agent.doctor import Finding, report
from inference_server.app import listen, open_engine, open_storage
from inference_server.config import LOOPBACK, ServerConfig, data_directory, token_from_environment
from inference_server.engines.base import EngineError, Noted
from inference_server.store.schema import StoreError

_MB_AN_HOUR = 25  # what one device may send at most, by the agent's defaults


def run(config: ServerConfig) -> int:
    """Check everything and print a line for each; 0 if all is fine."""
    return report(_findings(config))


def _findings(config: ServerConfig) -> Iterator[Finding]:
    yield _store(config)
    yield _disk(config)
    yield asyncio.run(_engine(config))
    yield _port(config)
    yield _privacy(config)


def _store(config: ServerConfig) -> Finding:
    try:
        storage = open_storage(config)
    except StoreError as exc:
        return Finding("store", False, str(exc))
    devices = storage.library.devices()
    storage.database.close()
    return Finding("store", True, f"{data_directory(config)}, {len(devices)} streams")


def _disk(config: ServerConfig) -> Finding:
    try:
        free_mb = shutil.disk_usage(data_directory(config)).free / 1e6
    except OSError as exc:
        return Finding("disk", False, f"{data_directory(config)} cannot be used: {exc.strerror}")
    text = f"{free_mb / 1000:.1f} GB free: {free_mb / _MB_AN_HOUR / 24:.0f} days of one device around the clock"
    return Finding("disk", free_mb > 1000, text)


async def _engine(config: ServerConfig) -> Finding:
    try:
        engine = open_engine(config)
    except EngineError as exc:
        return Finding("engine", False, str(exc))
    try:
        begun = time.monotonic()
        await engine.warm_up()
        loaded_s = time.monotonic() - begun
        async for piece in engine.note(np.zeros(SAMPLE_RATE, np.int16), SAMPLE_RATE):
            if isinstance(piece, Noted) and piece.outcome != "silence":
                return Finding("engine", False, f"hears {piece.outcome} in a second of silence: report this")
        text = f"{engine.capabilities.name}, {engine.capabilities.parallel} side by side, loads in {loaded_s:.1f} s"
        return Finding("engine", True, text)
    except EngineError as exc:
        return Finding("engine", False, str(exc))
    finally:
        await engine.aclose()


def _port(config: ServerConfig) -> Finding:
    try:
        listen(config).close()
    except ConfigError as exc:
        return Finding("port", False, str(exc))
    return Finding("port", True, f"{config.http.host}:{config.http.port} is free")


def _privacy(config: ServerConfig) -> Finding:
    if config.http.host in LOOPBACK and not token_from_environment(config):
        return Finding("privacy", True, "this machine alone; no token")
    if not config.http.cert:
        return Finding("privacy", True, "asks for a token; without TLS, others in the network could read along")
    return Finding("privacy", True, "asks for a token, over TLS")
