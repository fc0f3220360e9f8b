"""The link: connects, greets, pumps the spool into the socket, reconnects. It only ever drains the spool.

Offline is not a mode: the link tries again with growing delays for as long as it takes. A session lives as long as
acknowledgements advance; a silent peer with records on the way is given up after `stall_timeout_s`.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException

from agent.backoff import Backoff
from agent.config import ConfigError
from agent.config import Server as ServerConfig
from agent.protocol import (
    MAX_MESSAGE_BYTES,
    PATH,
    PROTOCOL,
    Ack,
    Control,
    Error,
    Hello,
    Note,
    ProtocolError,
    SlowDown,
    State,
    Welcome,
    decode_from_server,
    encode,
)
from agent.spool import DiskFull, Spool
from agent.uplink import Uplink

logger = logging.getLogger(__name__)
_STATE_EVERY_S = 1.0
_FATAL_CODES = {"version", "protocol"}  # trying again cannot help


class LinkRefused(Exception):
    """The server will never take this stream as things are; the message says what to do."""


@dataclass(slots=True)
class LinkState:
    """How the link goes, for the status line."""

    connected: bool = False
    trouble: str = "connecting"  # why it is not connected; "" when it is
    backlog: int = 0  # records not acknowledged
    sent_bytes: int = 0  # payload of the socket, both headers and media; without TCP
    received_bytes: int = 0
    shedding: str = ""


class Listener(Protocol):
    """What the link tells its owner."""

    def noted(self, note: Note) -> None:
        """Words of an utterance, as they form."""
        ...

    def asked(self, action: str) -> None:
        """Someone asked to "pause" or "resume"."""
        ...


class Link:
    """`run` drains the spool until `finish_when_drained` was called and everything is acknowledged."""

    def __init__(
        self,
        config: ServerConfig,
        spool: Spool,
        device: str,
        token: str,
        listener: Listener,
        report: Callable[[], tuple[bool, float]],
    ) -> None:
        self._config = config
        self._spool = spool
        self._device = device
        self._token = token
        self._listener = listener
        self._report = report  # (recording, level)
        self._uplink = Uplink(config.window_records, config.window_bytes)
        self._backoff = Backoff(config.backoff_first_s, config.backoff_longest_s, Random())
        self._wake = asyncio.Event()
        self._finishing = False
        self._progress_at = 0.0
        self.codec = "opus"  # what the server asked for last
        self.state = LinkState()

    def wake(self) -> None:
        """There is something new in the spool. Call on the event loop's thread."""
        self._wake.set()

    def finish_when_drained(self) -> None:
        """Nothing more will be spooled. Call on the event loop's thread."""
        self._finishing = True
        self._wake.set()

    async def run(self) -> None:
        """Drain the spool. Raises LinkRefused and ConfigError; waits for an absent server as long as it takes."""
        while not await self._drained():
            try:
                await self._session()
            except InvalidStatus as exc:
                if exc.response.status_code in (401, 403):
                    raise LinkRefused(
                        f"{self._config.url} refused the token: set {self._config.token_env} to the one "
                        "that `fieldnote-server` shows at its start"
                    ) from exc
                self._lost(exc)
            except InvalidURI as exc:
                raise ConfigError(f"server url {self._config.url!r}: not a ws:// or wss:// address") from exc
            except (OSError, TimeoutError, WebSocketException, ProtocolError, DiskFull) as exc:
                self._lost(exc)
            else:
                continue
            await asyncio.sleep(self._backoff.next_s())

    def _lost(self, exc: Exception) -> None:
        self.state.connected = False
        self.state.trouble = _explain(exc, self._config.url)
        logger.info("not connected: %s", self.state.trouble)

    async def _drained(self) -> bool:
        self.state.backlog = self._spool.backlog()
        return self._finishing and self.state.backlog == 0

    async def _session(self) -> None:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        async with connect(
            self._config.url.rstrip("/") + PATH,
            additional_headers=headers,
            open_timeout=self._config.connect_timeout_s,
            close_timeout=2.0,
            max_size=MAX_MESSAGE_BYTES,
            compression=None,  # Opus and JPEG do not shrink
            proxy=None,  # the server is ours: nobody stands between
            ping_interval=None,  # liveness is judged by acknowledgements: a busy peer is not a dead one
        ) as socket:
            await self._greet(socket)
            self.state.connected, self.state.trouble = True, ""
            logger.info("connected to %s at record %d", self._config.url, self._uplink.acked)
            try:
                await self._pump(socket)
            finally:
                self.state.connected = False

    async def _greet(self, socket: ClientConnection) -> None:
        _, next_seq = await asyncio.to_thread(self._spool.span)
        hello = Hello(
            protocol=PROTOCOL,
            stream=self._spool.stream,
            device=self._device,
            clock=time.time_ns(),
            codecs=("opus", "pcm"),
            next_seq=next_seq,
        )
        await self._send(socket, encode(hello))
        async with asyncio.timeout(self._config.connect_timeout_s):
            answer = await self._receive(socket)
        match answer:
            case Welcome(have_seq=have_seq, codec=codec):
                oldest_seq, next_seq = await asyncio.to_thread(self._spool.span)
                try:
                    self._uplink.welcomed(have_seq, oldest_seq, next_seq)
                except ProtocolError as exc:
                    raise LinkRefused(str(exc)) from exc
                await asyncio.to_thread(self._spool.drop_through, have_seq)
                self.codec = codec
            case Error(code=code, message=message) if code in _FATAL_CODES:
                raise LinkRefused(f"the server refused this agent: {message}")
            case Error(message=message):
                raise ProtocolError(message)
            case _:
                raise ProtocolError(f"expected a welcome and got {type(answer).__name__}")

    async def _pump(self, socket: ClientConnection) -> None:
        """Send, receive and report side by side until drained; the first failure ends all three."""
        self._progress_at = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [group.create_task(self._listen(socket)), group.create_task(self._tell(socket))]
                await self._drain(socket)
                for helper in helpers:
                    helper.cancel()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    async def _drain(self, socket: ClientConnection) -> None:
        while not await self._drained():
            self._wake.clear()
            after = self._uplink.sent_through
            batch = await asyncio.to_thread(self._spool.read, after, min(64, self._uplink.room))
            for seq, wire in batch:
                self._uplink.sent(seq, len(wire))
                await self._send(socket, wire)
            if not batch:
                self._check_stall()
                try:
                    async with asyncio.timeout(_STATE_EVERY_S):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    def _check_stall(self) -> None:
        waited_s = time.monotonic() - self._progress_at
        if self._uplink.in_flight == 0:
            self._progress_at = time.monotonic()
        elif waited_s > self._config.stall_timeout_s:
            raise TimeoutError(f"the server acknowledged nothing for {waited_s:.0f} s")

    async def _listen(self, socket: ClientConnection) -> None:
        while True:
            message = await self._receive(socket)
            match message:
                case Ack(seq=seq):
                    before, acked = self._uplink.acked, self._uplink.acknowledged(seq)
                    if acked > before:  # only what advances is a sign of life
                        self._progress_at = time.monotonic()
                        self._backoff.reset()
                        await asyncio.to_thread(self._spool.drop_through, acked)
                        self._wake.set()
                case Note():
                    self._listener.noted(message)
                case Control(action=action):
                    self._listener.asked(action)
                case SlowDown(shedding=shedding):
                    self.state.shedding = shedding
                case Error(code=code, message=text):
                    if code in _FATAL_CODES:
                        raise LinkRefused(f"the server refused this stream: {text}")
                    raise ProtocolError(text)
                case Welcome():
                    raise ProtocolError("a second welcome")

    async def _tell(self, socket: ClientConnection) -> None:
        while True:
            recording, level = self._report()
            state = State(recording=recording, backlog=self.state.backlog, level=round(level, 2))
            await self._send(socket, encode(state))
            await asyncio.sleep(_STATE_EVERY_S)

    async def _send(self, socket: ClientConnection, wire: bytes) -> None:
        async with asyncio.timeout(self._config.stall_timeout_s):
            await socket.send(wire)
        self.state.sent_bytes += len(wire)

    async def _receive(self, socket: ClientConnection) -> object:
        frame = await socket.recv(decode=False)
        self.state.received_bytes += len(frame)
        return decode_from_server(frame)


def _explain(exc: Exception, url: str) -> str:
    match exc:
        case InvalidHandshake():
            return f"{url} answers, but is not a Fieldnote server ({exc})"
        case ssl.SSLCertVerificationError():
            return f"{url} has a certificate that is not trusted here: set SSL_CERT_FILE to its PEM file"
        case TimeoutError():
            return f"{url} does not answer in time{f' ({exc})' if str(exc) else ''}"
        case ConnectionClosed():
            return "the connection broke"
        case OSError():
            return f"{url} cannot be reached ({exc.strerror or exc})"
        case _:
            return str(exc)
