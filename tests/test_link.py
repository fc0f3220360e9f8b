"""The link against real WebSocket servers on this machine: whatever they do, the spool is drained once and in order."""

import asyncio
import http
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import msgspec
import pytest
from fakes import ServerEnd
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from agent.config import ConfigError
from agent.config import Server as ServerConfig
from agent.link import Link, LinkRefused
from agent.protocol import (
    PROTOCOL,
    Ack,
    Control,
    Error,
    Note,
    Silence,
    SlowDown,
    State,
    Welcome,
    encode,
)
from agent.spool import DiskFull, Spool

DEADLINE_S = 20.0
Handler = Callable[[ServerConnection], Awaitable[None]]
CONFIG = ServerConfig(
    connect_timeout_s=5.0, stall_timeout_s=5.0, backoff_first_s=0.01, backoff_longest_s=0.05, window_records=16
)


class Heard:
    """A listener that remembers, and lets a test wait for it."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.actions: list[str] = []
        self.told = asyncio.Event()

    def noted(self, note: Note) -> None:
        self.notes.append(note)
        self.told.set()

    def asked(self, action: str) -> None:
        self.actions.append(action)
        self.told.set()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with closing(Spool(tmp_path, 10_000_000)) as opened:
        yield opened


def fill(spool: Spool, n: int) -> None:
    """Append `n` more seconds of silence."""
    _, first = spool.span()
    spool.append(
        [
            (Silence(seq=seq, first_sample=(seq - 1) * 16_000, n_samples=16_000, captured_at=0), b"")
            for seq in range(first, first + n)
        ]
    )


def address(server: Server) -> str:
    """Where `server` listens."""
    return f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@asynccontextmanager
async def serving(handler: Handler, **options: object) -> AsyncIterator[str]:
    """A server that treats each connection with `handler`; gives its address."""
    async with serve(handler, "127.0.0.1", 0, close_timeout=0.5, **options) as server:  # type: ignore[arg-type]
        yield address(server)


def a_link(url: str, spool: Spool, heard: Heard | None = None, token: str = "", **settings: float | int) -> Link:
    """A link of device "test" with quick reconnects."""
    config = msgspec.structs.replace(CONFIG, url=url, **settings)
    return Link(config, spool, "test", token, heard or Heard(), lambda: (True, 0.5))


async def drain(link: Link) -> None:
    """Run `link` until the server holds everything that is in the spool now."""
    link.finish_when_drained()
    async with asyncio.timeout(DEADLINE_S):
        await link.run()


async def until(condition: Callable[[], bool]) -> None:
    """Yield to the loop until `condition` holds; the deadline is generous and only met by a failure."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what the link shows of itself has no event
            await asyncio.sleep(0.005)


def seqs(end: ServerEnd) -> list[int]:
    """The records that the server kept."""
    return [record.seq for record, _ in end.records]


def test_everything_in_the_spool_arrives_once_in_order_and_is_then_forgotten(spool: Spool) -> None:
    async def story() -> None:
        async with serving(end.serve) as url:
            link = a_link(url, spool)
            await drain(link)
            assert link.state.backlog == 0 and not link.state.connected

    end = ServerEnd()
    fill(spool, 100)
    asyncio.run(story())
    assert seqs(end) == list(range(1, 101))
    assert spool.backlog() == 0
    (hello,) = end.hellos
    assert (hello.protocol, hello.stream, hello.device, hello.next_seq) == (PROTOCOL, spool.stream, "test", 101)


def test_with_nothing_to_send_it_ends_without_a_server(spool: Spool) -> None:
    asyncio.run(drain(a_link("ws://127.0.0.1:1", spool)))


def test_what_is_spooled_while_connected_is_sent_at_once(spool: Spool) -> None:
    async def story() -> None:
        async with serving(end.serve) as url, asyncio.TaskGroup() as group:
            link = a_link(url, spool)
            running = group.create_task(link.run())
            await until(lambda: link.state.connected)
            for n in (1, 2, 3):
                fill(spool, 1)
                link.wake()
                await until(lambda n=n: seqs(end) == list(range(1, n + 1)))  # type: ignore[misc]
            link.finish_when_drained()
            await running

    end = ServerEnd()
    asyncio.run(story())


def test_after_every_drop_it_goes_on_where_the_server_stands(spool: Spool) -> None:
    async def drops_often(connection: ServerConnection) -> None:
        """Ends each connection after seven records, the last of them received and not acknowledged."""
        connections.append(1)
        frames = 0
        async for frame in connection:
            answer = end.receive(frame)  # type: ignore[arg-type]
            frames += 1
            if frames == 8:
                connection.transport.abort()
                return
            if answer is not None:
                await connection.send(encode(answer))

    async def story() -> None:
        async with serving(drops_often) as url:
            await drain(a_link(url, spool))

    end, connections = ServerEnd(), list[int]()
    fill(spool, 40)
    asyncio.run(story())
    assert seqs(end) == list(range(1, 41))
    assert len(connections) > 5


def test_it_resumes_at_what_the_server_holds_and_not_at_what_it_sent(spool: Spool) -> None:
    async def story() -> None:
        async with serving(end.serve) as url:
            await drain(a_link(url, spool))

    end = ServerEnd()
    end.session.have_seq, end.session.end = 6, 6 * 16_000  # acknowledged, and the acknowledgement was lost
    fill(spool, 10)
    asyncio.run(story())
    assert seqs(end) == [7, 8, 9, 10]


def test_an_absent_server_is_waited_for(spool: Spool) -> None:
    async def story() -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            port = reserved.getsockname()[1]
            link = a_link(f"ws://127.0.0.1:{port}", spool)
            async with asyncio.TaskGroup() as group:
                running = group.create_task(drain(link))
                await until(lambda: "cannot be reached" in link.state.trouble)
                reserved.close()
                async with serve(end.serve, "127.0.0.1", port):
                    await running

    end = ServerEnd()
    fill(spool, 3)
    asyncio.run(story())
    assert seqs(end) == [1, 2, 3]


def test_a_refused_token_is_one_clear_error_that_names_the_variable(spool: Spool) -> None:
    def guard(connection: ServerConnection, request: Request) -> Response | None:
        if request.headers.get("Authorization") == "Bearer right":
            return None
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "no\n")

    async def story() -> None:
        async with serving(end.serve, process_request=guard) as url:
            for token in ("", "wrong"):
                with pytest.raises(LinkRefused, match="FIELDNOTE_TOKEN"):
                    await drain(a_link(url, spool, token=token))
            assert spool.backlog() == 3
            await drain(a_link(url, spool, token="right"))

    end = ServerEnd()
    fill(spool, 3)
    asyncio.run(story())
    assert spool.backlog() == 0


@pytest.mark.parametrize("code", ["version", "protocol"])
def test_an_error_that_trying_again_cannot_help_ends_it_with_the_servers_words(spool: Spool, code: str) -> None:
    async def refuses(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(encode(Error(code=code, message="upgrade the older of the two")))

    async def story() -> None:
        async with serving(refuses) as url:
            with pytest.raises(LinkRefused, match="upgrade the older"):
                await drain(a_link(url, spool))

    fill(spool, 1)
    asyncio.run(story())
    assert spool.backlog() == 1


def test_a_record_that_the_server_calls_nonsense_ends_it_with_the_servers_words(spool: Spool) -> None:
    async def refuses(connection: ServerConnection) -> None:
        end.receive(await connection.recv())  # type: ignore[arg-type]
        await connection.send(encode(Welcome(protocol=1, have_seq=0, codec="opus", server="x")))
        await connection.recv()
        await connection.send(encode(Error(code="protocol", message="sample 5 came where 4 was next")))
        await connection.wait_closed()

    async def story() -> None:
        async with serving(refuses) as url:
            with pytest.raises(LinkRefused, match="sample 5"):
                await drain(a_link(url, spool))

    end = ServerEnd()
    fill(spool, 1)
    asyncio.run(story())


@pytest.mark.parametrize("have_seq", [5, 99, 2**62])
def test_a_server_that_holds_more_than_was_ever_sent_is_refused(spool: Spool, have_seq: int) -> None:
    async def refuses(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(encode(Welcome(protocol=1, have_seq=have_seq, codec="opus", server="x")))
        await connection.wait_closed()

    async def story() -> None:
        async with serving(refuses) as url:
            with pytest.raises(LinkRefused, match="old copy"):
                await drain(a_link(url, spool))

    fill(spool, 4)
    asyncio.run(story())
    assert spool.backlog() == 4


def test_a_server_that_lost_what_it_held_is_refused_in_words(spool: Spool) -> None:
    async def story() -> None:
        async with serving(ServerEnd().serve) as url:
            with pytest.raises(LinkRefused, match="another --spool DIR"):
                await drain(a_link(url, spool))

    fill(spool, 9)
    spool.drop_through(4)
    asyncio.run(story())
    assert spool.backlog() == 5


async def _busy(connection: ServerConnection) -> None:
    await connection.recv()
    await connection.send(encode(Error(code="busy", message="too many devices")))


async def _garbage(connection: ServerConnection) -> None:
    await connection.recv()
    await connection.send(b"\x00\xffgarbage")
    await connection.wait_closed()


async def _text(connection: ServerConnection) -> None:
    await connection.recv()
    await connection.send("hello?")
    await connection.wait_closed()


async def _note_first(connection: ServerConnection) -> None:
    await connection.recv()
    await connection.send(encode(Note(utterance=1, text="", done=True)))
    await connection.wait_closed()


async def _welcome_twice(connection: ServerConnection) -> None:
    await connection.recv()
    for _ in range(2):
        await connection.send(encode(Welcome(protocol=1, have_seq=0, codec="opus", server="x")))
    await connection.wait_closed()


async def _acknowledges_the_future(connection: ServerConnection) -> None:
    await connection.recv()
    await connection.send(encode(Welcome(protocol=1, have_seq=0, codec="opus", server="x")))
    await connection.send(encode(Ack(seq=2**62)))
    await connection.wait_closed()


async def _cannot_store(connection: ServerConnection) -> None:
    await connection.recv()
    await connection.send(encode(Welcome(protocol=1, have_seq=0, codec="opus", server="x")))
    await connection.send(encode(Error(code="storage", message="the disk is full")))
    await connection.wait_closed()


async def _hangs_up(connection: ServerConnection) -> None:
    await connection.recv()


async def _too_long(connection: ServerConnection) -> None:
    await connection.recv()
    await connection.send(bytes(5 << 20))
    await connection.wait_closed()


@pytest.mark.parametrize(
    "misbehaves",
    [
        _busy,
        _garbage,
        _text,
        _note_first,
        _welcome_twice,
        _acknowledges_the_future,
        _cannot_store,
        _hangs_up,
        _too_long,
    ],
)
def test_a_server_that_misbehaves_for_a_while_costs_nothing(spool: Spool, misbehaves: Handler) -> None:
    async def at_first(connection: ServerConnection) -> None:
        connections.append(1)
        await (misbehaves if len(connections) <= 3 else end.serve)(connection)

    async def story() -> None:
        async with serving(at_first) as url:
            await drain(a_link(url, spool))

    end, connections = ServerEnd(), list[int]()
    fill(spool, 5)
    asyncio.run(story())
    assert seqs(end) == [1, 2, 3, 4, 5]
    assert len(connections) == 4


@pytest.mark.parametrize("speech", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b""])
def test_what_answers_without_being_a_fieldnote_server_is_named_so(spool: Spool, speech: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(speech)
        writer.close()

    async def story() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server, asyncio.TaskGroup() as group:
            port = server.sockets[0].getsockname()[1]
            link = a_link(f"ws://127.0.0.1:{port}", spool)
            running = group.create_task(link.run())
            await until(lambda: link.state.trouble != "connecting")
            assert "is not a Fieldnote server" in link.state.trouble
            running.cancel()

    fill(spool, 1)
    asyncio.run(story())
    assert spool.backlog() == 1


@pytest.mark.parametrize("answer", [None, Ack(seq=0)])
def test_a_server_that_acknowledges_nothing_new_is_given_up_and_tried_again(spool: Spool, answer: Ack | None) -> None:
    async def stuck_at_first(connection: ServerConnection) -> None:
        connections.append(1)
        if len(connections) > 1:
            await end.serve(connection)
            return
        await connection.recv()
        await connection.send(encode(Welcome(protocol=1, have_seq=0, codec="opus", server="x")))
        while answer is not None:
            await connection.send(encode(answer))
            await asyncio.sleep(0.05)
        await connection.wait_closed()

    async def story() -> None:
        async with serving(stuck_at_first) as url:
            await drain(a_link(url, spool, stall_timeout_s=0.3))

    end, connections = ServerEnd(), list[int]()
    fill(spool, 3)
    asyncio.run(story())
    assert seqs(end) == [1, 2, 3]
    assert len(connections) == 2


def test_a_server_that_takes_the_connection_and_says_nothing_is_given_up(spool: Spool) -> None:
    async def silent_at_first(connection: ServerConnection) -> None:
        connections.append(1)
        await (connection.wait_closed() if len(connections) == 1 else end.serve(connection))

    async def story() -> None:
        async with serving(silent_at_first) as url:
            await drain(a_link(url, spool, connect_timeout_s=0.3))

    end, connections = ServerEnd(), list[int]()
    fill(spool, 1)
    asyncio.run(story())
    assert seqs(end) == [1]


def test_no_more_than_the_window_is_on_the_way(spool: Spool) -> None:
    async def waits(connection: ServerConnection) -> None:
        """Acknowledges only when everything that may come has come."""
        await connection.recv()
        await connection.send(encode(Welcome(protocol=1, have_seq=0, codec="opus", server="x")))
        async for frame in connection:
            if (ack := end.receive(frame)) is None:  # type: ignore[arg-type]
                continue
            assert isinstance(ack, Ack)
            most.append(ack.seq - acked[-1])
            if ack.seq % 4 == 0 or ack.seq == 50:
                acked.append(ack.seq)
                await connection.send(encode(ack))

    async def story() -> None:
        async with serving(waits) as url:
            await drain(a_link(url, spool, window_records=4))

    end, acked, most = ServerEnd(), [0], list[int]()
    fill(spool, 50)
    asyncio.run(story())
    assert seqs(end) == list(range(1, 51))
    assert max(most) <= 4


def test_what_the_server_says_in_between_reaches_the_listener(spool: Spool) -> None:
    async def talks(connection: ServerConnection) -> None:
        end.receive(await connection.recv())  # type: ignore[arg-type]
        await connection.send(encode(Welcome(protocol=1, have_seq=0, codec="pcm", server="x")))
        for message in (Control(action="pause"), SlowDown(shedding="frames"), Note(utterance=1, text="Hi", done=True)):
            await connection.send(encode(message))
        async for frame in connection:
            if (answer := end.receive(frame)) is not None:  # type: ignore[arg-type]
                await connection.send(encode(answer))

    async def story() -> None:
        heard = Heard()
        async with serving(talks) as url, asyncio.TaskGroup() as group:
            link = a_link(url, spool, heard)
            running = group.create_task(link.run())
            await until(lambda: bool(heard.notes) and bool(end.states))
            assert heard.actions == ["pause"]
            assert heard.notes == [Note(utterance=1, text="Hi", done=True)]
            assert (link.state.shedding, link.codec) == ("frames", "pcm")
            link.finish_when_drained()
            await running

    end = ServerEnd()
    asyncio.run(story())
    assert end.states[0] == State(recording=True, backlog=0, level=0.5)


def test_cancelling_it_in_the_middle_leaves_the_spool_usable(spool: Spool) -> None:
    async def story() -> None:
        async with serving(end.serve) as url, asyncio.TaskGroup() as group:
            link = a_link(url, spool)
            running = group.create_task(link.run())
            await until(lambda: len(end.records) > 10)
            running.cancel()
        assert not link.state.connected
        async with serving(end.serve) as url:
            await drain(a_link(url, spool))

    end = ServerEnd()
    fill(spool, 200)
    asyncio.run(story())
    assert seqs(end) == list(range(1, 201))


class Stuck(Spool):
    """A spool on a disk that is full for the first few acknowledgements."""

    full = 3

    def drop_through(self, seq: int) -> None:
        if seq and self.full:
            self.full -= 1
            raise DiskFull("free some space")
        super().drop_through(seq)


def test_a_disk_that_is_full_for_a_while_ends_neither_the_link_nor_the_order(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(end.serve) as url:
            await drain(a_link(url, spool))

    end = ServerEnd()
    with closing(Stuck(tmp_path, 10_000_000)) as spool:
        fill(spool, 20)
        asyncio.run(story())
        assert (spool.full, spool.backlog()) == (0, 0)
    assert seqs(end) == list(range(1, 21))


def test_an_address_that_is_none_is_a_config_error(spool: Spool) -> None:
    fill(spool, 1)
    with pytest.raises(ConfigError, match="http://example"):
        asyncio.run(drain(a_link("http://example", spool)))
