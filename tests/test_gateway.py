"""The capture WebSocket, over real sockets and a real store."""

import asyncio
from contextlib import suppress
from pathlib import Path
from random import Random

import msgspec
import pytest
from fakes import FakeEngine, Tape, jpeg
from serving import DEADLINE_S, Device, Running, on_a_loop, serving, settings, within
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from agent.protocol import (
    MAX_MESSAGE_BYTES,
    Ack,
    Control,
    Error,
    Note,
    SlowDown,
    State,
    Welcome,
    encode,
)
from inference_server.gateway import to_its_end
from inference_server.ledger import account


async def held(server: Running, tape: Tape) -> int:
    """The last record of the stream that is on the server's disk."""
    return (await asyncio.to_thread(server.storage.ingest.greet, tape.hello())).have_seq


async def ending(device: Device) -> tuple[Error | None, int]:
    """The error that the server sends, if it does, and its close code."""
    error = None
    try:
        while True:
            message = await device.receive()
            error = message if isinstance(message, Error) else error
    except ConnectionClosed as closed:
        assert closed.rcvd is not None
        return error, closed.rcvd.code


# The greeting


@on_a_loop
async def test_a_new_stream_is_welcomed_at_its_beginning(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, server.device(Tape()) as device:
        assert device.welcome == Welcome(protocol=1, have_seq=0, codec="opus", server="fieldnote")


@on_a_loop
async def test_a_stream_goes_on_where_the_server_holds_it(tmp_path: Path) -> None:
    tape = Tape()
    async with serving(tmp_path) as server:
        async with server.device(tape) as device:
            tape.silence(1.0)
            tape.start()
            await device.send()
            await device.until_acked()
        async with server.device(tape) as device:
            assert device.welcome is not None and device.welcome.have_seq == 2
    async with serving(tmp_path) as server, server.device(tape) as device:
        assert device.welcome is not None and device.welcome.have_seq == 2
        tape.audio()
        tape.end()
        await device.send()
        await device.until_acked()


@on_a_loop
async def test_another_protocol_version_is_told_which_one_is_spoken_here(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, connect(server.capture_url) as socket:
        await socket.send(encode(msgspec.structs.replace(Tape().hello(), protocol=2)))
        error, code = await ending(Device(socket, Tape()))
        assert error is not None and error.code == "version" and "upgrade" in error.message
        assert code == 1002


@on_a_loop
async def test_a_device_that_was_set_back_in_time_is_refused_and_loses_nothing(tmp_path: Path) -> None:
    tape = Tape()
    async with serving(tmp_path) as server:
        async with server.device(tape) as device:
            tape.silence(1.0)
            tape.silence(1.0)
            await device.send()
            await device.until_acked()
        async with connect(server.capture_url) as socket:
            await socket.send(encode(Tape().hello()))
            error, code = await ending(Device(socket, tape))
            assert error is not None and "new stream" in error.message and code == 1002


NO_GREETINGS = (
    encode(State(recording=True, backlog=0, level=0.0)),
    encode(Ack(seq=1)),
    b"",
    b"\n",
    b"{}\n",
    b"\xff\x00\n",
    encode(Tape().hello(), b"payload"),
    encode(msgspec.structs.replace(Tape().hello(), stream="../../etc/passwd")),
    b"[" * 100_000 + b"\n",
    "a text message",
)


@on_a_loop
async def test_who_does_not_greet_is_sent_away(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for first in NO_GREETINGS:
            print(first[:80])  # shown when it fails
            async with connect(server.capture_url) as socket:
                await socket.send(first)
                error, code = await ending(Device(socket, Tape()))
                assert error is not None and error.code == "protocol" and "\n" not in error.message
                assert code == 1002
        async with server.device(Tape()) as device:
            assert device.welcome is not None


@on_a_loop
async def test_who_connects_and_says_nothing_is_sent_away(tmp_path: Path) -> None:
    config = settings(tmp_path, hello_s=0.05)
    async with serving(tmp_path, config=config) as server, connect(server.capture_url) as socket:
        error, code = await ending(Device(socket, Tape()))
        assert error is not None and "no hello" in error.message and code == 1013


@on_a_loop
async def test_a_device_that_falls_silent_has_gone(tmp_path: Path) -> None:
    config = settings(tmp_path, silent_s=0.05)
    async with serving(tmp_path, config=config) as server, server.device(Tape()) as device:
        error, code = await ending(device)
        assert error is not None and (error.code, code) == ("busy", 1001)
        assert server.services.presence.connected == 0


@on_a_loop
async def test_more_devices_than_allowed_are_told_to_come_later(tmp_path: Path) -> None:
    config = settings(tmp_path, streams=1)
    async with serving(tmp_path, config=config) as server, server.device(Tape()):
        async with connect(server.capture_url) as socket:
            await socket.send(encode(Tape(stream="c" * 32).hello()))
            error, code = await ending(Device(socket, Tape()))
            assert error is not None and error.code == "busy" and code == 1013
        async with server.device(Tape()):  # the same stream takes its own place
            pass


# Records


@on_a_loop
async def test_a_record_is_acknowledged_only_when_it_is_on_disk(tmp_path: Path) -> None:
    tape = Tape()
    async with serving(tmp_path) as server, server.device(tape) as device:
        for step in (tape.start, tape.audio, tape.end, tape.frame, lambda: tape.silence(1.0), lambda: tape.gap(1.0)):
            step()
            await device.send()
            ack = await device.until(Ack)
            assert ack.seq <= await held(server, tape)
            await device.until_acked()
        clip = server.storage.library.clip(tape.stream, 1)
        frame = server.storage.library.frame(tape.stream, 4)
        assert clip is not None and clip.is_file() and frame is not None and frame.read_bytes() == jpeg()


@on_a_loop
async def test_records_that_come_again_are_acknowledged_again_and_kept_once(tmp_path: Path) -> None:
    tape = Tape()
    async with serving(tmp_path) as server, server.device(tape) as device:
        utterance = tape.utterance()
        await device.send()
        await device.until_acked()
        for record, payload in tape.records:
            await device.socket.send(encode(record, payload))
            assert (await device.until(Ack)).seq == tape.next_seq - 1
        tape.silence(1.0)
        await device.send()
        await device.until_acked()
        assert account(server.storage.library.spans(tape.stream)).total_s == pytest.approx(1.32)
        assert [moment.utterance for moment in server.storage.library.moments()] in ([], [utterance])


def nonsense(tape: Tape) -> dict[str, bytes | str]:
    """What must not come next, by name."""
    wire = encode(*tape.records[-1])
    header, _, payload = wire.partition(b"\n")
    return {
        "a text message": header.decode(),
        "no newline": header,
        "cut short": wire[: len(wire) // 2],
        "an unknown field": header[:-1] + b',"x":1}\n' + payload,
        "an unknown type": header.replace(b'"type":"', b'"type":"x') + b"\n" + payload,
        "a payload where there is none": encode(State(recording=True, backlog=0, level=0), b"x"),
        "a second hello": encode(tape.hello()),
        "a server's message": encode(Ack(seq=1)),
        "a missing record": encode(
            msgspec.structs.replace(tape.records[-1][0], seq=tape.records[-1][0].seq + 1), tape.records[-1][1]
        ),
        "another place": header.replace(b'"first_sample":', b'"first_sample":9') + b"\n" + payload,
        "an impossible packet": header + b"\n\xff\xff" + payload,
        "a huge number": header.replace(b'"seq":', b'"seq":1' + b"0" * 400) + b"\n" + payload,
        "not unicode": b'{"type":"\xff"}\n',
    }


@pytest.mark.parametrize("kind", nonsense((lambda tape: (tape.start(), tape.audio(), tape)[2])(Tape())))
def test_nonsense_ends_the_connection_and_nothing_acknowledged_is_lost(tmp_path: Path, kind: str) -> None:
    @on_a_loop
    async def story() -> None:
        tape = Tape()
        async with serving(tmp_path) as server:
            async with server.device(tape) as device:
                tape.silence(1.0)
                tape.start()
                tape.audio()
                await device.send()
                await device.until_acked()
                tape.audio()
                tape.take()
                await device.socket.send(nonsense(tape)[kind])
                error, code = await ending(device)
            assert error is not None and error.code == "protocol" and code == 1002
            assert await held(server, tape) == device.acked == 3

            async with server.device(tape) as device:
                tape._taken = 3
                tape.end()
                await device.send()
                await device.until_acked()

    story()


@on_a_loop
async def test_good_records_before_nonsense_in_one_breath_are_kept(tmp_path: Path) -> None:
    tape = Tape()
    async with serving(tmp_path) as server, server.device(tape) as device:
        tape.silence(1.0)
        tape.silence(1.0)
        tape.position += 1
        tape.silence(1.0)
        await device.send()
        error, code = await ending(device)
        assert error is not None and "came where" in error.message and code == 1002
        assert await held(server, tape) == device.acked == 2


@on_a_loop
async def test_a_frame_beyond_the_largest_ends_the_connection_alone(tmp_path: Path) -> None:
    tape = Tape()
    async with serving(tmp_path) as server:
        async with server.device(tape) as device:
            tape.silence(1.0)
            await device.send()
            await device.until_acked()
            with suppress(ConnectionClosed):
                await device.socket.send(bytes(MAX_MESSAGE_BYTES + 1))
            _, code = await ending(device)
            assert code == 1009
        assert await held(server, tape) == 1
        async with server.device(tape) as device:
            tape.frame(b"\xff\xd8\xff" + bytes(MAX_MESSAGE_BYTES - 1000))
            await device.send()
            await device.until_acked()


@on_a_loop
async def test_whatever_bytes_come_the_server_goes_on(tmp_path: Path) -> None:
    dice = Random(1)
    async with serving(tmp_path) as server:
        for length in range(0, 300, 10):
            async with connect(server.capture_url) as socket:
                if length % 20:
                    await socket.send(encode(Tape(stream="e" * 32).hello()))
                await socket.send(dice.randbytes(length))
                error, code = await ending(Device(socket, Tape()))
                assert error is not None and (error.code, code) == ("protocol", 1002)
        assert await server.get("/health") == {"name": "fieldnote", "status": "ok"}


@on_a_loop
async def test_a_full_queue_makes_the_device_wait_and_loses_nothing(tmp_path: Path) -> None:
    tape = Tape()
    config = settings(tmp_path, receive_records=1, commit_records=2)
    async with serving(tmp_path, config=config) as server, server.device(tape) as device:
        for _ in range(60):
            tape.silence(0.1)
            tape.frame()
        async with asyncio.TaskGroup() as group:
            group.create_task(device.send())
            await device.until_acked()
        assert await held(server, tape) == 120
        assert account(server.storage.library.spans(tape.stream)).silence_s == pytest.approx(6.0)


@on_a_loop
async def test_a_newer_connection_replaces_the_older_one(tmp_path: Path) -> None:
    tape = Tape()
    async with serving(tmp_path) as server, server.device(tape) as older:
        tape.silence(1.0)
        await older.send()
        await older.until_acked()
        async with server.device(tape) as newer:
            error, code = await ending(older)
            assert error is not None and (error.code, code) == ("replaced", 4001)
            assert newer.welcome is not None and newer.welcome.have_seq == 1
            tape.silence(1.0)
            await newer.send()
            await newer.until_acked()
            assert server.services.presence.connected == 1


@on_a_loop
async def test_many_connections_of_one_stream_at_once_leave_one_and_its_records_whole(tmp_path: Path) -> None:
    tape = Tape()
    tape.utterance()
    tape.silence(1.0)
    async with serving(tmp_path) as server:

        async def insist() -> None:
            for _ in range(100):
                try:
                    async with server.device(tape) as device:
                        assert device.welcome is not None
                        for record, payload in tape.records[device.welcome.have_seq :]:
                            await device.socket.send(encode(record, payload))
                        device.acked = device.welcome.have_seq
                        await device.until_acked()
                        return
                except (ConnectionClosed, AssertionError):
                    continue
            raise AssertionError("never got through")

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(insist())
        assert await held(server, tape) == len(tape.records)
        assert account(server.storage.library.spans(tape.stream)).total_s == pytest.approx(1.32)


@on_a_loop
async def test_when_the_disk_fails_the_device_keeps_its_records_and_sends_them_when_it_is_mended(
    tmp_path: Path,
) -> None:
    tape = Tape()
    async with serving(tmp_path) as server:
        (tmp_path / "media").write_text("in the way of every file")
        async with server.device(tape) as device:
            tape.utterance()
            await device.send()
            error, code = await ending(device)
            assert error is not None and error.code == "storage" and "stay on the device" in error.message
            assert code == 1013 and await held(server, tape) == device.acked
        (tmp_path / "media").unlink()
        async with server.device(tape) as device:
            assert device.welcome is not None
            tape._taken = device.welcome.have_seq
            await device.send()
            await device.until_acked()
            assert server.storage.library.clip(tape.stream, 1) is not None


@on_a_loop
async def test_a_database_that_fails_is_a_storage_error_too(tmp_path: Path) -> None:
    tape = Tape()
    async with serving(tmp_path) as server:
        async with server.device(tape) as device:
            await _rename(server, "spans", "spans_away")
            tape.silence(1.0)
            await device.send()
            error, code = await ending(device)
            assert error is not None and (error.code, code) == ("storage", 1013)
        await _rename(server, "spans_away", "spans")
        async with server.device(tape) as device:
            tape._taken = 0
            await device.send()
            await device.until_acked()


async def _rename(server: Running, table: str, name: str) -> None:
    def work() -> None:
        with server.storage.database.write() as db:
            db.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")

    await asyncio.to_thread(work)


@on_a_loop
async def test_a_device_that_vanishes_in_the_middle_of_a_record_costs_that_record_alone(tmp_path: Path) -> None:
    tape = Tape()
    async with serving(tmp_path) as server:
        async with server.device(tape) as device:
            tape.silence(1.0)
            await device.send()
            await device.until_acked()
            transport = device.socket.transport
            transport.write(b"\x82\xff\x00\x00")  # the beginning of a frame
            transport.abort()
        async with server.device(tape) as device:
            assert device.welcome is not None and device.welcome.have_seq == 1


# What the device is told


@on_a_loop
async def test_a_device_sees_its_own_notes_and_no_others(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.say(17, "We launch on Friday.")
    engine.say(18, "Something else.")
    tape, other = Tape(), Tape(stream="c" * 32)
    async with serving(tmp_path, engine) as server, server.device(tape) as device, server.device(other) as stranger:
        tape.utterance(17)
        await device.send()
        assert await device.until(Note) == Note(utterance=1, text="We launch on Friday.", done=True)

        other.utterance(18)
        await stranger.send()
        assert (await stranger.until(Note)).text == "Something else."


@on_a_loop
async def test_a_device_is_asked_to_pause_and_shown_as_it_is(tmp_path: Path) -> None:
    tape = Tape()
    async with serving(tmp_path) as server, server.device(tape) as device:
        answer = await server.http.post(f"/api/streams/{tape.stream}/pause")
        assert (answer.status_code, answer.json()) == (202, {"asked": "pause"})
        assert await device.until(Control) == Control(action="pause")

        await device.socket.send(encode(State(recording=False, backlog=7, level=0.5)))
        tape.silence(1.0)
        await device.send()
        await device.until_acked()
        (shown,) = (await server.get("/api/snapshot"))["devices"]
        assert (shown["state"], shown["backlog"], shown["level"]) == ("paused", 7, 0.5)
    async with serving(tmp_path) as server:
        (shown,) = (await server.get("/api/snapshot"))["devices"]
        assert shown["state"] == "offline"
        assert (await server.http.post(f"/api/streams/{tape.stream}/resume")).status_code == 409


@on_a_loop
async def test_a_device_is_told_what_is_shed(tmp_path: Path) -> None:
    engine = FakeEngine(parallel=1)
    engine.working.clear()
    tape = Tape()
    config = settings(tmp_path, shed_summaries_at=1, shed_frames_at=2)
    async with serving(tmp_path, engine, config) as server, server.device(tape) as device:
        for _ in range(5):
            tape.utterance(3)
        await device.send()
        shed = [(await device.until(SlowDown)).shedding]
        while shed[-1] != "frames":
            shed.append((await device.until(SlowDown)).shedding)
        engine.working.set()
        while shed[-1] != "":
            shed.append((await device.until(SlowDown)).shedding)


# Ends


@on_a_loop
async def test_the_server_stops_at_once_with_devices_connected(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, server.device(Tape()) as device:
        server.stop()
        _, code = await ending(device)
        assert code in (1001, 1012)
        await within(server.stopped.wait())


@on_a_loop
async def test_a_device_that_takes_nothing_is_not_waited_for(tmp_path: Path) -> None:
    """It goes on speaking, and does not read what it is sent."""
    config, tape = settings(tmp_path, silent_s=0.5), Tape()
    async with (
        serving(tmp_path, config=config) as server,
        server.device(tape, max_queue=1, close_timeout=0.1) as device,
    ):
        tape.silence(1.0)
        await device.send()
        await device.until_acked()
        line = {"stream": tape.stream, "utterance": 1, "text": "x" * 1_000_000}
        for _ in range(20):
            server.services.hub.publish("line", {"line": line})

        async with asyncio.timeout(DEADLINE_S):
            with suppress(ConnectionClosed):
                while server.services.presence.connected:
                    await device.socket.send(encode(State(recording=True, backlog=0, level=0.0)))
                    await asyncio.sleep(0.01)
        assert server.services.presence.connected == 0 and await held(server, tape) == 1


@on_a_loop
async def test_what_is_being_stored_is_told_even_if_the_connection_ends_meanwhile() -> None:
    begun, go_on, told = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def keeping() -> None:
        begun.set()
        await go_on.wait()
        told.set()

    async with asyncio.TaskGroup() as group:
        connection = group.create_task(to_its_end(keeping()))
        await begun.wait()
        connection.cancel()
        go_on.set()
        await asyncio.wait({connection})

    assert told.is_set() and connection.cancelled()
