"""Builds and runs the server. Read this first.

    gateway (records in) -> store -> worker -> engine -> store -> hub -> api (events, page)

One event loop; the store, the recogniser and the frame reader do their work on threads and in a process of their own.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from types import FrameType

import soundfile
import uvicorn

from agent.audio import n_samples
from agent.config import ConfigError
from agent.protocol import MAX_MESSAGE_BYTES
from inference_server.answering import Answering
from inference_server.api import Services, create
from inference_server.config import LOOPBACK, ServerConfig, data_directory, token_from_environment
from inference_server.engines.base import Engine
from inference_server.gateway import Gateway
from inference_server.guard import Guard
from inference_server.hub import Hub
from inference_server.ledgers import Ledgers
from inference_server.metrics import Metrics
from inference_server.pairing import Pairing
from inference_server.presence import Presence
from inference_server.reading import Reading
from inference_server.snapshot import Snapshots
from inference_server.store.ingest import Ingest
from inference_server.store.jobs import Jobs, TopicRule
from inference_server.store.library import Library
from inference_server.store.media import Media
from inference_server.store.schema import Database
from inference_server.worker import Worker

logger = logging.getLogger(__name__)
_SHUTDOWN_S = 3


def open_engine(config: ServerConfig) -> Engine:
    """The engine that the config names; nothing of another engine is imported."""
    match config.engine.name:
        case "cascade":
            from inference_server.engines.cascade.engine import Cascade

            return Cascade(config.engine)


@dataclass(frozen=True, slots=True)
class Storage:
    """The parts of the store, over one data directory."""

    database: Database
    media: Media
    ingest: Ingest
    jobs: Jobs
    library: Library


def open_storage(config: ServerConfig) -> Storage:
    """Open the store; `database.close()` when done. Raises StoreError."""
    directory, notes = data_directory(config), config.notes
    database, media = Database(directory), Media(directory)
    rule = TopicRule(notes.topic_pause_s, notes.topic_shift_pause_s)
    return Storage(
        database,
        media,
        Ingest(database, media),
        Jobs(database, rule, notes.frame_before_s, notes.frame_after_s),
        Library(database, media, n_samples(notes.frame_before_s), n_samples(notes.frame_after_s)),
    )


def access_token(config: ServerConfig) -> str:
    """The token that this server asks for: from the environment, or made once and kept in the data directory.

    "" on loopback without one in the environment: nobody else can reach the server there.
    """
    if token := token_from_environment(config):
        return token
    if config.http.host in LOOPBACK:
        return ""
    path = data_directory(config) / "token"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))
    token = path.read_text("utf-8").strip()
    if not token:  # its writing was cut short; without one, everybody could come in
        raise ConfigError(f"{path}: is empty; remove it, and a new token is made")
    return token


def listen(config: ServerConfig) -> socket.socket:
    """The bound socket. Raises ConfigError if the address is taken or not ours."""
    host, port = config.http.host, config.http.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":  # a restart need not wait for old connections; on Windows the option would share the port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: who takes nothing for this long is cut off, and its buffer freed
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(config.limits.silent_s * 1000))
    try:
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {exc.strerror or exc}; choose another --port, or stop what uses it"
        ) from exc
    return listener


async def serve(config: ServerConfig, ready: Callable[[Pairing], None]) -> None:
    """Serve until a signal. `ready` is called once, when devices and viewers can connect.

    Raises ConfigError, StoreError and EngineError.
    """
    with closing(listen(config)) as listener:
        storage = open_storage(config)
        with closing(storage.database):
            engine = open_engine(config)
            try:
                token = access_token(config)
                port = int(listener.getsockname()[1])
                pairing = Pairing(config.http.host, port, token, tls=bool(config.http.cert))
                services = build(config, storage, engine, pairing)
                await run(engine, services, web_server(config, services, lambda: ready(pairing)), listener)
            finally:
                await engine.aclose()


def web_server(config: ServerConfig, services: Services, ready: Callable[[], None]) -> uvicorn.Server:
    """What answers requests, until a signal or its `handle_exit`. Call on the event loop that will run it."""
    return _Server(
        uvicorn.Config(
            Guard(create(services), services.pairing.token),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="websockets-sansio",
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_ping_interval=None,  # a busy session is not a dead one: the agent judges by acknowledgements
            timeout_graceful_shutdown=_SHUTDOWN_S,
            ssl_certfile=config.http.cert or None,
            ssl_keyfile=config.http.key or None,
        ),
        services.hub.close,
        ready,
    )


async def run(engine: Engine, services: Services, server: uvicorn.Server, listener: socket.socket) -> None:
    """Run the parts side by side until the server is told to exit; the first failure ends all."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_work(engine, services.worker)),
                *([group.create_task(services.reading.run())] if engine.capabilities.reads_frames else []),
                group.create_task(services.ledgers.run()),
            ]
            await server.serve(sockets=[listener])
            for task in tasks:
                task.cancel()
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


def build(config: ServerConfig, storage: Storage, engine: Engine, pairing: Pairing) -> Services:
    """Connect the parts. Call on the event loop that will run them."""
    metrics = Metrics()
    hub = Hub(secrets.token_hex(4), config.limits.history, config.limits.events)
    presence = Presence(hub)
    ledgers = Ledgers(storage.library, hub)
    answering = Answering(engine, storage.library, config.notes.wake_phrase)
    reading = Reading(engine, storage.jobs, storage.media, hub, metrics, config.notes, config.limits)
    worker = Worker(
        engine,
        storage.jobs,
        storage.ingest,
        storage.media,
        answering,
        reading,
        hub,
        ledgers,
        metrics,
        config.notes,
        config.limits,
    )
    codec = "opus" if "OPUS" in soundfile.available_subtypes("OGG") else "pcm"
    gateway = Gateway(storage.ingest, worker, reading, hub, presence, metrics, config.limits, ledgers, codec)
    snapshots = Snapshots(storage.library, presence, hub, worker, engine.capabilities.name)
    questions = asyncio.Semaphore(config.limits.answers)
    return Services(
        gateway,
        worker,
        reading,
        answering,
        storage.library,
        snapshots,
        ledgers,
        presence,
        hub,
        metrics,
        pairing,
        questions,
    )


async def _work(engine: Engine, worker: Worker) -> None:
    """Load the models, then work; records are taken meanwhile. An engine that cannot load ends the server."""
    await engine.warm_up()
    await worker.run()


class _Server(uvicorn.Server):
    """uvicorn, with the viewers' streams ended first: they would otherwise hold the shutdown up."""

    def __init__(self, config: uvicorn.Config, closing: Callable[[], None], ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._closing = closing
        self._ready = ready
        self._loop = asyncio.get_running_loop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: begin the end."""
        self._loop.call_soon_threadsafe(self._closing)
        super().handle_exit(sig, frame)
