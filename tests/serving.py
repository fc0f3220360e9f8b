"""The server's parts put together over a directory of the test's own, with a fake engine; deadlines, never sleeps."""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
from fakes import FakeEngine, Tape
from websockets.asyncio.client import ClientConnection, connect

from agent.protocol import PATH, Ack, FromServer, Welcome, decode_from_server, encode
from inference_server.api import Services
from inference_server.app import Storage, build, listen, open_storage, run, web_server
from inference_server.config import Http, Limits, Notes, ServerConfig, Store
from inference_server.hub import Event
from inference_server.pairing import Pairing
from inference_server.session import Session

DEADLINE_S = 20.0
T = TypeVar("T")


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run the test on an event loop of its own, with a deadline; a task or thread that it leaves behind fails it."""

    async def whole(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(2 * DEADLINE_S):
            await test(*args, **kwargs)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks are left: {left}"

    @functools.wraps(test)
    def running(*args: Any, **kwargs: Any) -> None:
        before = set(threading.enumerate())
        asyncio.run(whole(*args, **kwargs))
        left = [thread for thread in threading.enumerate() if thread not in before and not thread.daemon]
        assert not left, f"threads are left: {left}"

    return running


def settings(directory: Path, notes: Notes | None = None, **limits: Any) -> ServerConfig:
    """Defaults over `directory`, at any free port, with other limits."""
    return ServerConfig(
        http=Http(port=0),
        store=Store(data_dir=str(directory)),
        notes=notes or Notes(draft_every_s=1e-6),
        limits=msgspec.structs.replace(Limits(), **limits),
    )


def keep(storage: Storage, tape: Tape) -> tuple[Session, list[int], list[int]]:
    """Store what is new on the tape as the gateway would; returns where the stream stands, and what came of it."""
    session = storage.ingest.greet(tape.hello())
    fresh = tape.take()
    for record, _ in fresh:
        session.receive(record)
    stored = storage.ingest.store(tape.stream, session, fresh)
    return session, list(stored.utterances_ended), list(stored.frames)


@dataclass
class Working:
    """Worker, reading and ledgers over a store; no network."""

    storage: Storage
    engine: FakeEngine
    services: Services
    config: ServerConfig
    events: list[Event] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, tape: Tape) -> None:
        """Store what is new on the tape and tell the worker, as the gateway would."""
        session, ended, frames = await asyncio.to_thread(keep, self.storage, tape)
        for utterance in ended:
            await self.services.worker.utterance_ended(tape.stream, utterance)
        if frames:
            self.services.reading.frame_arrived()
        if session.open_utterance:
            await self.services.worker.speech_arrived(tape.stream, session.open_utterance)

    async def follow(self) -> None:
        """Collect every event."""
        async with aclosing(self.services.hub.events(self.services.hub.cursor)) as events:
            async for event in events:
                async with self._news:
                    self.events.append(event)
                    self._news.notify_all()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something holds; it is looked at with each event."""
        async with asyncio.timeout(DEADLINE_S), self._news:
            await self._news.wait_for(true)

    def named(self, name: str) -> list[dict[str, Any]]:
        """The data of all events of one name so far."""
        return [event.data for event in self.events if event.name == name]

    async def outcome(self, utterance: int) -> str:
        """Wait until the utterance has one, and give it."""
        await self.until(lambda: utterance in self._outcomes())
        return self._outcomes()[utterance]

    def _outcomes(self) -> dict[int, str]:
        ended = {data["utterance"]: data["outcome"] for data in self.named("ended")}
        return ended | {data["line"]["utterance"]: "noted" for data in self.named("line")}


@asynccontextmanager
async def _plain_group() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that raises what went wrong first, as it is: a test's failure stays readable."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


@asynccontextmanager
async def working(
    directory: Path, engine: FakeEngine | None = None, config: ServerConfig | None = None
) -> AsyncIterator[Working]:
    """The parts behind the gateway, at work."""
    config, engine = config or settings(directory), engine or FakeEngine()
    storage = open_storage(config)
    with closing(storage.database):
        services = build(config, storage, engine, Pairing("127.0.0.1", 1, "", tls=False))
        parts = Working(storage, engine, services, config)
        async with _plain_group() as group:
            tasks = [group.create_task(parts.follow()), group.create_task(services.worker.run())]
            if engine.capabilities.reads_frames:
                tasks.append(group.create_task(services.reading.run()))
            try:
                yield parts
            finally:
                for task in tasks:
                    task.cancel()


@dataclass
class Running:
    """A real server on the loopback."""

    url: str
    services: Services
    storage: Storage
    engine: FakeEngine
    config: ServerConfig
    http: httpx.AsyncClient
    stop: Callable[[], None]
    stopped: asyncio.Event
    connections: Callable[[], int]

    @property
    def capture_url(self) -> str:
        return self.url.replace("http", "ws", 1).rstrip("/") + PATH

    @asynccontextmanager
    async def device(self, tape: Tape, **options: Any) -> AsyncIterator["Device"]:
        """A connection that has been welcomed."""
        async with connect(self.capture_url, compression=None, max_size=None, **options) as socket:
            device = Device(socket, tape)
            await socket.send(encode(tape.hello()))
            welcome = await device.receive()
            assert isinstance(welcome, Welcome), welcome
            device.welcome = welcome
            yield device

    async def get(self, path: str, **options: Any) -> Any:
        """The JSON at a path that must be fine."""
        response = await self.http.get(path, **options)
        assert response.status_code == 200, response.text
        return response.json()


@dataclass
class Device:
    """The agent's end of a socket, by hand."""

    socket: ClientConnection
    tape: Tape
    welcome: Welcome | None = None
    acked: int = 0

    async def receive(self) -> FromServer:
        """The next message."""
        async with asyncio.timeout(DEADLINE_S):
            frame = await self.socket.recv(decode=False)
        message = decode_from_server(frame)
        if isinstance(message, Ack):
            self.acked = message.seq
        return message

    async def send(self) -> None:
        """Send what is new on the tape."""
        for record, payload in self.tape.take():
            await self.socket.send(encode(record, payload))

    async def until_acked(self) -> None:
        """Wait until everything on the tape is acknowledged."""
        while self.acked < self.tape.next_seq - 1:
            await self.receive()

    async def until(self, kind: type) -> Any:
        """The next message of this kind."""
        while not isinstance(message := await self.receive(), kind):
            pass
        return message


@asynccontextmanager
async def serving(
    directory: Path, engine: FakeEngine | None = None, config: ServerConfig | None = None, token: str = ""
) -> AsyncIterator[Running]:
    """A whole server with a fake engine, on a free port."""
    config, engine = config or settings(directory), engine or FakeEngine()
    storage, ready, stopped = open_storage(config), asyncio.Event(), asyncio.Event()
    with closing(storage.database), closing(listen(config)) as listener:
        port = listener.getsockname()[1]
        services = build(config, storage, engine, Pairing("127.0.0.1", port, token, tls=False))
        server = web_server(config, services, ready.set)

        def stop() -> None:
            services.hub.close()
            server.should_exit = True

        async def until_stopped() -> None:
            await run(engine, services, server, listener)
            stopped.set()

        url = f"http://127.0.0.1:{port}/"
        async with _plain_group() as group:
            group.create_task(until_stopped())
            await within(ready.wait())
            async with httpx.AsyncClient(base_url=url, timeout=DEADLINE_S) as http:
                try:
                    connections = lambda: len(server.server_state.connections)  # noqa: E731
                    yield Running(url, services, storage, engine, config, http, stop, stopped, connections)
                finally:
                    stop()
                    await within(stopped.wait())


async def eventually(true: Callable[[], bool]) -> None:
    """Wait for what tells nobody when it happens."""
    async with asyncio.timeout(DEADLINE_S):
        while not true():  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0.002)


async def within(awaitable: Awaitable[T]) -> T:
    """Wait, with a deadline."""
    async with asyncio.timeout(DEADLINE_S):
        return await awaitable
