"""The capture WebSocket: read -> session -> store -> ack. A record is acknowledged only when it is durable.

Two tasks for each device: one reads and decodes into a bounded queue, the other writes whatever has gathered as one
transaction and acknowledges it. A third passes notes on to the device.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.exc import DatabaseError
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from agent.protocol import (
    PROTOCOL,
    Ack,
    Audio,
    Control,
    Error,
    FromServer,
    Hello,
    Note,
    ProtocolError,
    Record,
    SlowDown,
    State,
    Welcome,
    decode_from_agent,
    encode,
)
from inference_server.config import Limits
from inference_server.hub import Event, Hub
from inference_server.ledgers import Ledgers
from inference_server.metrics import Metrics
from inference_server.presence import Presence
from inference_server.reading import Reading
from inference_server.session import Session, Verdict
from inference_server.store.ingest import Ingest, Stored, Superseded
from inference_server.worker import Worker

logger = logging.getLogger(__name__)
CLOSE_PROTOCOL = 1002  # RFC 6455 section 7.4.1
CLOSE_TRY_AGAIN = 1013
CLOSE_REPLACED = 4001
CLOSE_AWAY = 1001
_REPLACED = Error(code="replaced", message="the same stream connected again; this older connection ends")


class _Refused(Exception):
    """The connection ends with this error and close code."""

    def __init__(self, error: Error, close_code: int) -> None:
        super().__init__(error.message)
        self.error, self.close_code = error, close_code


@dataclass(slots=True)
class Gateway:
    """Serves one device for each call of `serve`."""

    ingest: Ingest
    worker: Worker
    reading: Reading
    hub: Hub
    presence: Presence
    metrics: Metrics
    limits: Limits
    ledgers: Ledgers
    codec: str  # what this server can decode

    async def serve(self, socket: WebSocket) -> None:
        """Take a device's records until it leaves."""
        await socket.accept()
        try:
            await self._session(socket)
        except* WebSocketDisconnect:
            pass  # the device left; it comes back when it can
        except* _Refused as refusals:
            refused = next(_leaves(refusals))
            await self._end(socket, refused.error, refused.close_code)
        except* Superseded:
            await self._end(socket, _REPLACED, CLOSE_REPLACED)
        except* TimeoutError:
            logger.info("a device was silent for %g s", self.limits.silent_s)
            text = f"nothing came or was taken for {self.limits.silent_s:g} s"
            await self._end(socket, Error(code="busy", message=text), CLOSE_AWAY)
        except* ProtocolError as errors:
            self.metrics.protocol_errors.inc()
            message = str(next(_leaves(errors)))
            logger.warning("protocol error: %s", message)
            await self._end(socket, Error(code="protocol", message=message[:200]), CLOSE_PROTOCOL)
        except* (OSError, DatabaseError) as errors:
            cause = next(_leaves(errors))
            logger.error("records cannot be stored: %s", cause)
            message = "the server cannot store records now (is its disk full?); they stay on the device"
            await self._end(socket, Error(code="storage", message=message), CLOSE_TRY_AGAIN)
        except* Exception:
            logger.exception("a device's session failed")
            await self._end(socket, Error(code="busy", message="internal error; see the server's log"), 1011)

    async def _session(self, socket: WebSocket) -> None:
        hello = await self._greeting(socket)
        if (older := self.presence.connection(hello.stream)) is not None:
            older.close()  # before the question where the stream stands: it may still be storing
        session = await asyncio.to_thread(self.ingest.greet, hello)
        if session.have_seq >= hello.next_seq:
            raise ProtocolError(
                f"record {session.have_seq} of this stream is held already and the device is only at "
                f"{hello.next_seq - 1}: what it records now belongs into a new stream"
            )
        cursor = self.hub.cursor
        welcome = Welcome(protocol=PROTOCOL, have_seq=session.have_seq, codec=self.codec, server="fieldnote")
        await self._send(socket, welcome)
        logger.info("device %r connected, stream %s at record %d", hello.device, hello.stream[:8], session.have_seq)
        replaced = asyncio.Event()

        async def ask(action: str) -> None:
            await self._send(socket, Control(action=action))

        connection = self.presence.arrived(hello.stream, hello.device, ask, replaced.set)
        received: asyncio.Queue[tuple[Record, bytes]] = asyncio.Queue(self.limits.receive_records)
        self.metrics.devices.set(self.presence.connected)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(socket, hello.stream, received))
                group.create_task(self._commit(socket, hello.stream, session, received))
                group.create_task(self._pass_on(socket, hello.stream, cursor))
                group.create_task(_watch(replaced))
        finally:
            self.presence.left(hello.stream, connection)
            self.metrics.devices.set(self.presence.connected)
            logger.info("device %r left, stream %s at record %d", hello.device, hello.stream[:8], session.have_seq)

    async def _greeting(self, socket: WebSocket) -> Hello:
        try:
            async with asyncio.timeout(self.limits.hello_s):
                message, _ = decode_from_agent(await self._receive(socket))
        except TimeoutError as exc:
            text = f"no hello within {self.limits.hello_s:g} s"
            raise _Refused(Error(code="busy", message=text), CLOSE_TRY_AGAIN) from exc
        if not isinstance(message, Hello):
            raise ProtocolError(f"expected a hello and got {type(message).__name__}")
        if message.protocol != PROTOCOL:
            text = f"this server speaks protocol {PROTOCOL}, the agent {message.protocol}; upgrade the older of the two"
            raise _Refused(Error(code="version", message=text), CLOSE_PROTOCOL)
        if self.presence.connected >= self.limits.streams and self.presence.connection(message.stream) is None:
            text = f"{self.limits.streams} devices are connected already (limits.streams); trying again later"
            raise _Refused(Error(code="busy", message=text), CLOSE_TRY_AGAIN)
        return message

    async def _read(self, socket: WebSocket, stream: str, received: "asyncio.Queue[tuple[Record, bytes]]") -> None:
        """Full queue: wait, and so let the socket's own buffers and then the device wait."""
        while True:
            async with asyncio.timeout(self.limits.silent_s):
                frame = await self._receive(socket)
            message, payload = decode_from_agent(frame)
            match message:
                case State(recording=recording, backlog=backlog, level=level):
                    self.presence.changed(stream, recording, backlog, level)
                case Hello():
                    raise ProtocolError("a second hello")
                case _:
                    await received.put((message, payload))

    async def _receive(self, socket: WebSocket) -> bytes:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        frame = message.get("bytes")
        if frame is None:
            raise ProtocolError("a text message; all messages are binary")
        self.metrics.received_bytes.inc(len(frame))
        return bytes(frame)

    async def _commit(
        self,
        socket: WebSocket,
        stream: str,
        session: Session,
        received: "asyncio.Queue[tuple[Record, bytes]]",
    ) -> None:
        while True:
            batch = [await received.get()]
            while len(batch) < self.limits.commit_records and not received.empty():
                batch.append(received.get_nowait())
            await self._commit_batch(socket, stream, session, batch)

    async def _commit_batch(
        self, socket: WebSocket, stream: str, session: Session, batch: list[tuple[Record, bytes]]
    ) -> None:
        after, fresh, nonsense = replace(session), [], None
        for record, payload in batch:
            try:
                verdict = after.receive(record)
            except ProtocolError as exc:
                nonsense = exc  # what came before it is good and is kept
                break
            if verdict is Verdict.FRESH:
                fresh.append((record, payload))
            else:
                self.metrics.duplicates.inc()
        if fresh:
            await to_its_end(self._keep(stream, session, after, fresh))
        await self._send(socket, Ack(seq=session.have_seq))
        if nonsense is not None:
            raise nonsense

    async def _keep(self, stream: str, session: Session, after: Session, fresh: list[tuple[Record, bytes]]) -> None:
        """Store, and tell whoever works with it: what is stored and not told would wait for the next record."""
        stored = await asyncio.to_thread(self.ingest.store, stream, after, fresh)
        session.have_seq, session.open_utterance = after.have_seq, after.open_utterance
        session.audio_end, session.end = after.audio_end, after.end
        await self._announce(stream, after, fresh, stored)

    async def _announce(self, stream: str, session: Session, fresh: list[tuple[Record, bytes]], stored: Stored) -> None:
        for record, _ in fresh:
            self.metrics.records.labels(str(record.__struct_config__.tag)).inc()
        for utterance in stored.utterances_ended:
            await self.worker.utterance_ended(stream, utterance)
        if stored.frames:
            self.reading.frame_arrived()
        if session.open_utterance:
            said = [record for record, _ in fresh if isinstance(record, Audio)]
            pause = bool(said) and said[-1].pause
            await self.worker.speech_arrived(stream, session.open_utterance, pause)
        self.ledgers.touch(stream, fresh[-1][0].captured_at)

    async def _pass_on(self, socket: WebSocket, stream: str, cursor: str) -> None:
        """This device's notes, and what is shed. A device too slow for it misses some; that is no loss."""
        while True:
            async with aclosing(self.hub.events(cursor, watching=False)) as events:
                async for event in events:
                    if (message := _for_device(event, stream)) is not None:
                        await self._send(socket, message)
            if self.hub.closed:
                return
            cursor = self.hub.cursor

    async def _send(self, socket: WebSocket, message: FromServer) -> None:
        """Raises TimeoutError if the device does not take it."""
        async with asyncio.timeout(self.limits.silent_s):
            await socket.send_bytes(encode(message))

    async def _end(self, socket: WebSocket, error: Error, close_code: int) -> None:
        if socket.client_state is WebSocketState.CONNECTED and socket.application_state is WebSocketState.CONNECTED:
            try:
                await self._send(socket, error)
                await socket.close(close_code, error.message[:120])
            except (WebSocketDisconnect, RuntimeError, TimeoutError):
                logger.debug("the device left before it heard why")


def _for_device(event: Event, stream: str) -> FromServer | None:
    """The event as the device sees it; None if it is not for this one."""
    match event.name:
        case "line" if event.data["line"]["stream"] == stream and event.data["line"]["utterance"]:
            line = event.data["line"]
            return Note(utterance=line["utterance"], text=line["text"], done=True)
        case "load":
            return SlowDown(shedding=event.data["shedding"])
        case _:
            return None


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Await `work` even if the connection ends meanwhile; then go on ending."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            raise


async def _watch(replaced: asyncio.Event) -> None:
    await replaced.wait()
    raise _Refused(_REPLACED, CLOSE_REPLACED)


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[Any]:
    """The exceptions themselves, out of however many groups around them."""
    for exc in group.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            yield from _leaves(exc)
        else:
            yield exc
