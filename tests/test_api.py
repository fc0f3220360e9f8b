"""Every route of docs/api.md, over HTTP."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import soundfile
from fakes import FakeEngine, Tape, jpeg
from serving import DEADLINE_S, Running, eventually, on_a_loop, serving, settings, within
from test_store import see

from inference_server.engines.base import EngineError
from inference_server.hub import Event

DAY = "2026-11-20"
STREAM = "ab" * 16
LINE = {
    *("id", "kind", "stream", "utterance", "captured_at", "end_at", "text", "heard", "speaker", "todo"),
    *("audio", "frame"),
}
TOPIC = {"id", "stream", "device", "title", "started_at"}
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@asynccontextmanager
async def with_notes(directory: Path, **options: Any) -> AsyncIterator[tuple[Running, Tape, int, int]]:
    """A server that holds a frame (1) and two notes; gives the seqs of the notes."""
    tape, engine = Tape(device="pi"), FakeEngine(reads_frames=False)
    engine.say(51, "We launch the website on Friday.")
    engine.say(26, "Mia sends the budget to Ben.")
    async with serving(directory, engine, **options) as server, watching(server) as events:
        frame = tape.frame(jpeg(width=640, height=480))
        first = tape.utterance(51)
        tape.silence(10.0)
        second = tape.utterance(26)
        async with server.device(tape) as device:
            await device.send()
            await device.until_acked()
        for _ in range(2):
            await events.until("line")
        see(server.storage, tape, frame, "EXIT 4")
        yield server, tape, first, second


class Watching:
    """A viewer of the event stream."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.seen: list[Event] = []

    async def next(self) -> Event:
        """The next event; its cursor is its id."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(DEADLINE_S):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if line and name:
                    fields[name] = value
                elif "event" in fields:
                    event = Event(fields.get("id", ""), fields["event"], json.loads(fields["data"]))
                    self.seen.append(event)
                    return event
        raise EOFError("the stream ended")

    async def until(self, name: str) -> Any:
        """The data of the next event of this name."""
        while (event := await self.next()).name != name:
            pass
        return event.data


@asynccontextmanager
async def watching(server: Running, after: str | None = None, **headers: str) -> AsyncIterator[Watching]:
    """Follow the events from now on, or from a cursor."""
    cursor = server.services.hub.cursor if after is None else after
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with server.http.stream("GET", "/api/events", params={"after": cursor}, headers=named) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        async with aclosing(response.aiter_lines()) as lines:
            assert await anext(lines) == ": connected"
            yield Watching(lines)


def refused(response: httpx.Response, status: int, code: str) -> None:
    """The answer is an error, as documented, with a message of one line."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message"} and error["code"] == code
    assert error["message"] and "\n" not in error["message"]


# State and events


@on_a_loop
async def test_the_snapshot_is_everything_that_the_page_shows(tmp_path: Path) -> None:
    async with with_notes(tmp_path) as (server, _, first, _):
        state = await server.get("/api/snapshot")

        assert set(state) == {
            *("cursor", "day", "days", "devices", "topics", "drafts", "ledger", "answers", "server"),
        }
        assert (state["day"], state["days"]) == (DAY, [DAY])
        (topic,) = state["topics"]
        assert set(topic) == TOPIC | {"lines"} and topic["device"] == "pi"
        assert [line["text"] for line in topic["lines"]] == [
            "EXIT 4",
            "We launch the website on Friday.",
            "Mia sends the budget to Ben.",
        ]
        heard = topic["lines"][1]
        assert set(heard) == LINE and heard["id"] == f"{STREAM}/{first}"
        assert ISO.fullmatch(heard["captured_at"]) and ISO.fullmatch(heard["end_at"])
        (ledger,) = state["ledger"]
        assert (ledger["noted_s"], ledger["silence_s"], ledger["total_s"]) == (1.5, 10.0, 11.5)
        (device,) = state["devices"]
        assert set(device) == {"stream", "device", "state", "since", "backlog", "level"}
        assert (device["device"], device["state"]) == ("pi", "offline")
        assert state["server"] == {"engine": "fake", "shedding": ""}
        other = await server.get("/api/snapshot?day=2026-11-19")
        assert other["topics"] == [] and other["days"] == ["2026-11-19", DAY]


@on_a_loop
async def test_an_empty_server_shows_today(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        state = await server.get("/api/snapshot")
        assert state["days"] == [state["day"]] and state["topics"] == state["ledger"] == state["devices"] == []


@on_a_loop
async def test_a_snapshot_and_the_events_behind_it_are_the_next_snapshot(tmp_path: Path) -> None:
    engine, tape = FakeEngine(), Tape()
    async with serving(tmp_path, engine) as server, server.device(tape) as device:
        for n in range(17, 23):
            engine.say(n, f"Note {n}.")
        tape.utterance(17)
        await device.send()
        await device.until_acked()
        before = await server.get("/api/snapshot")  # the note may or may not be in it
        async with watching(server, before["cursor"]) as events:
            for n in range(18, 23):
                tape.utterance(n)
            await device.send()
            known = {line["id"]: line for topic in before["topics"] for line in topic["lines"]}
            while len(known) < 6:
                line = (await events.until("line"))["line"]
                known[line["id"]] = line
        after = await server.get("/api/snapshot")
        assert {line["id"]: line for topic in after["topics"] for line in topic["lines"]} == known


@on_a_loop
async def test_events_tell_an_utterance_from_draft_to_line_and_the_account(tmp_path: Path) -> None:
    engine, tape = FakeEngine(), Tape()
    engine.say(17, "We launch.")
    async with serving(tmp_path, engine) as server, watching(server) as events:
        async with server.device(tape) as device:
            assert (await events.until("device"))["state"] == "recording"
            utterance = tape.start()
            tape.audio(16)
            await device.send()
            assert set(await events.until("draft")) == {"stream", "utterance", "captured_at", "text"}
            tape.audio(1)
            tape.end()
            await device.send()
            told = await events.until("line")
            assert set(told) == {"topic", "line"} and set(told["topic"]) == TOPIC and set(told["line"]) == LINE
            assert told["line"]["utterance"] == utterance
            while (await events.until("ledger"))["noted_s"] == 0:
                pass
            quiet = tape.utterance(5)
            await device.send()
            ended = await events.until("ended")
            assert ended == {"stream": STREAM, "utterance": quiet, "outcome": "silence"}
        assert (await events.until("device"))["state"] == "offline"
        cursors = [event.cursor.rpartition("-") for event in events.seen]
        assert len({boot for boot, _, _ in cursors}) == 1
        numbers = [int(number) for _, _, number in cursors]
        assert numbers == sorted(set(numbers))


@on_a_loop
async def test_a_viewer_resumes_where_it_was_and_its_own_memory_wins(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        hub = server.services.hub
        begin = hub.cursor
        hub.publish("topic", {"n": 1})
        middle = hub.cursor
        hub.publish("topic", {"n": 2})
        async with watching(server, begin) as events:
            assert [(await events.next()).data for _ in range(2)] == [{"n": 1}, {"n": 2}]
        async with watching(server, begin, last_event_id=middle) as events:
            assert (await events.next()).data == {"n": 2}
        for unknown in ("", "nonsense", "f00d-1", middle + "9" * 5000):
            async with watching(server, unknown) as events:
                assert (await events.next()).name == "reset"


@on_a_loop
async def test_a_viewer_that_never_reads_is_cut_off_and_freed(tmp_path: Path) -> None:
    config = settings(tmp_path, events=4, silent_s=0.5)
    async with serving(tmp_path, config=config) as server:
        port = int(server.url.rsplit(":", 1)[1].strip("/"))
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(f"GET /api/events HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode())
            async with watching(server) as keen:
                while server.services.hub.viewers < 2:
                    server.services.hub.publish("topic", {"n": 0})
                    await keen.next()
                while server.services.hub.cut_off == 0:
                    server.services.hub.publish("topic", {"text": "x" * 1_000_000})
                    await keen.next()
            await server.get("/health")  # keeps the one connection that is left
            await eventually(lambda: server.connections() == 1)  # not even its buffer is held


@on_a_loop
async def test_the_server_stops_at_once_with_viewers_connected(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, watching(server) as events:
        async with asyncio.timeout(2.5):  # less than the time that is left to those who do not leave
            server.stop()
            with pytest.raises(EOFError):
                await events.next()
            await server.stopped.wait()


# Reading


@on_a_loop
async def test_notes_come_as_json_and_as_markdown(tmp_path: Path) -> None:
    async with with_notes(tmp_path) as (server, _, first, _):
        notes = await server.get(f"/api/notes?day={DAY}&stream={STREAM}")
        assert notes == {"day": DAY, "topics": (await server.get("/api/snapshot"))["topics"]}
        assert (await server.get(f"/api/notes?day={DAY}&stream={'c' * 32}"))["topics"] == []

        answer = await server.http.get("/api/notes.md")
        assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
        assert f"[12:00:00]({server.url}#line/{STREAM}/{first}) We launch the website on Friday." in answer.text


@on_a_loop
async def test_the_ledger_is_the_account_of_a_day(tmp_path: Path) -> None:
    async with with_notes(tmp_path) as (server, _, _, _):
        account = await server.get("/api/ledger")
        assert account["day"] == DAY
        (stream,) = account["streams"]
        assert [span["kind"] for span in stream["spans"]] == ["noted", "silence", "noted"]
        assert all(set(span) == {"start_at", "end_at", "kind", "reason"} for span in stream["spans"])
        assert (await server.get("/api/ledger?day=2026-11-19"))["streams"] == []


@on_a_loop
async def test_search_finds_words_and_shows_them(tmp_path: Path) -> None:
    async with with_notes(tmp_path) as (server, _, _, second):
        found = await server.get("/api/search", params={"q": "Budget BEN"})
        assert found["query"] == "Budget BEN"
        (hit,) = found["hits"]
        assert set(hit) == LINE | {"snippet", "day"}
        assert (hit["id"], hit["day"], hit["snippet"]) == (f"{STREAM}/{second}", DAY, "Mia sends the budget to Ben.")
        for query in ('"', "*", "NEAR(", 'a" OR "b', "\0", "%", ""):
            assert (await server.get("/api/search", params={"q": query}))["hits"] == []
        assert len((await server.get("/api/search", params={"q": "the", "limit": 1}))["hits"]) == 1

        long = "word " * 50 + "needle " + "word " * 50
        await asyncio.to_thread(server.storage.library.correct, STREAM, second, long)
        snippet = (await server.get("/api/search?q=needle"))["hits"][0]["snippet"]
        assert "needle" in snippet and snippet.startswith("…") and snippet.endswith("…") and len(snippet) == 182


@on_a_loop
async def test_exports_are_downloads_in_four_formats(tmp_path: Path) -> None:
    async with with_notes(tmp_path) as (server, _, _, _):
        for format_, type_, begin in (
            ("jsonl", "application/x-ndjson", '{"stream"'),
            ("md", "text/markdown; charset=utf-8", "# Notes"),
            ("srt", "application/x-subrip; charset=utf-8", "1\n00:00:00,000"),
            ("vtt", "text/vtt; charset=utf-8", "WEBVTT\n"),
        ):
            answer = await server.http.get(f"/api/export?format={format_}&day={DAY}&stream={STREAM}")
            assert (answer.status_code, answer.headers["content-type"]) == (200, type_)
            assert answer.headers["content-disposition"] == f'attachment; filename="fieldnote-{DAY}.{format_}"'
            assert answer.text.startswith(begin)
        refused(await server.http.get("/api/export?format=exe"), 400, "request")
        refused(await server.http.get("/api/export?day=2026-99-99"), 400, "request")
        assert (await server.http.get("/api/export")).headers["content-disposition"].endswith('"fieldnote-all.jsonl"')


@on_a_loop
async def test_health_metrics_pairing_page_and_docs_answer(tmp_path: Path) -> None:
    async with with_notes(tmp_path) as (server, _, _, _):
        assert await server.get("/health") == {"name": "fieldnote", "status": "ok"}
        metrics = (await server.http.get("/metrics")).text
        assert 'fieldnote_outcomes_total{outcome="noted"} 2.0' in metrics and "website" not in metrics
        pairing = await server.get("/api/pairing")
        assert pairing["url"] == server.url and pairing["qr_svg"].startswith("<svg")
        assert pairing["command"] == f"fieldnote-agent capture --server {server.url[:-1].replace('http', 'ws')}"
        page = await server.http.get("/")
        assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
        for script in re.findall(r'(?:src|href)="(/web/[^"]+)"', page.text):
            assert (await server.http.get(script)).status_code == 200, script
        assert (await server.http.get("/docs")).status_code == 200
        paths = (await server.get("/openapi.json"))["paths"]
        assert {"/api/snapshot", "/api/ask", "/api/lines/{stream}/{seq}"} <= set(paths)


# Asking


async def asked(server: Running, question: str) -> list[dict[str, Any]]:
    response = await server.http.post("/api/ask", json={"question": question})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in response.text.splitlines()]


@on_a_loop
async def test_an_answer_streams_its_pieces_its_evidence_and_its_end(tmp_path: Path) -> None:
    async with with_notes(tmp_path) as (server, _, first, _):
        *pieces, evidence, done = await asked(server, "When do we launch the website?")
        assert "".join(piece["text"] for piece in pieces) == "“We launch the website on Friday.”"
        (item,) = evidence["items"]
        assert set(item) == {"id", "stream", "utterance", "device", "captured_at", "text", "audio", "frame"}
        assert (item["id"], item["device"]) == (f"{STREAM}/{first}", "pi")
        assert done == {"type": "done", "answered": True}


@on_a_loop
async def test_a_question_that_the_notes_do_not_answer_is_not_answered(tmp_path: Path) -> None:
    async with with_notes(tmp_path) as (server, _, _, _):
        for question in ("Who is the president of France?", "When do we launch the rocket in Texas?", "?", "x" * 500):
            *_, evidence, done = await asked(server, question)
            assert (evidence["items"], done["answered"]) == ([], False), question


@on_a_loop
async def test_an_engine_that_fails_ends_the_answer_in_words(tmp_path: Path) -> None:
    async with with_notes(tmp_path) as (server, _, _, _):
        server.engine.answer_fails = EngineError("out of memory")
        piece, done = await asked(server, "When do we launch the website?")
        assert "out of memory" in piece["text"] and done == {"type": "done", "answered": False}


@on_a_loop
async def test_too_many_questions_at_once_are_told_to_wait(tmp_path: Path) -> None:
    async with with_notes(tmp_path, config=settings(tmp_path, answers=1)) as (server, _, _, _):
        server.engine.working.clear()
        async with server.http.stream("POST", "/api/ask", json={"question": "When is the launch?"}) as slow:
            assert slow.status_code == 200
            await eventually(server.services.questions.locked)
            refused(await server.http.post("/api/ask", json={"question": "And now?"}), 503, "busy")
        await eventually(lambda: not server.services.questions.locked())  # who asked has left
        server.engine.working.set()
        assert (await asked(server, "When do we launch the website?"))[-1]["answered"]


# Changing


@on_a_loop
async def test_a_correction_changes_the_note_and_is_told(tmp_path: Path) -> None:
    async with with_notes(tmp_path) as (server, _, first, _), watching(server) as events:
        answer = await server.http.patch(f"/api/lines/{STREAM}/{first}", json={"text": "We launch on Monday."})
        line = answer.json()
        assert (line["text"], line["heard"]) == ("We launch on Monday.", "We launch the website on Friday.")
        assert (await events.until("line"))["line"] == line
        assert (await server.get("/api/search?q=monday"))["hits"][0]["id"] == line["id"]


@on_a_loop
async def test_forgetting_is_told_and_nothing_of_it_is_told_again(tmp_path: Path) -> None:
    async with with_notes(tmp_path) as (server, _, first, second), watching(server) as events:
        old = "-".join((server.services.hub.cursor.split("-")[0], "0"))
        clip, frame = f"/api/media/{STREAM}/{first}.ogg", f"/api/media/{STREAM}/1.jpg"
        assert (await server.http.get(clip)).status_code == (await server.http.get(frame)).status_code == 200

        answer = await server.http.delete(f"/api/lines/{STREAM}/{first}")

        gone = {f"{STREAM}/{first}", f"{STREAM}/1"}
        assert set(answer.json()["forgotten"]) == gone
        assert {(await events.until("removed"))["id"] for _ in gone} == gone
        assert (await events.until("topic"))["title"] == "Mia sends the budget to Ben"
        for path in (clip, frame, frame + "?w=160"):
            refused(await server.http.get(path), 404, "not_found")
        async with watching(server, old) as late:
            assert (await late.next()).name == "reset"
        state = await server.get("/api/snapshot")
        assert [line["id"] for topic in state["topics"] for line in topic["lines"]] == [f"{STREAM}/{second}"]
        assert state["ledger"][0]["gap_s"] == 1.0
        assert "Friday" not in (await server.http.get("/api/export")).text
        refused(await server.http.delete(f"/api/lines/{STREAM}/{first}"), 404, "not_found")


@on_a_loop
async def test_a_device_that_is_offline_cannot_be_paused(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        refused(await server.http.post(f"/api/streams/{STREAM}/pause"), 409, "conflict")
        refused(await server.http.post(f"/api/streams/{STREAM}/explode"), 422, "request")


# Media


@on_a_loop
async def test_a_clip_plays_and_can_be_sought_in(tmp_path: Path) -> None:
    async with with_notes(tmp_path) as (server, _, first, _):
        answer = await server.http.get(f"/api/media/{STREAM}/{first}.ogg")
        assert answer.headers["content-type"] == "audio/ogg"
        (tmp_path / "clip.ogg").write_bytes(answer.content)
        assert soundfile.info(tmp_path / "clip.ogg").frames == 16_000
        part = await server.http.get(f"/api/media/{STREAM}/{first}.ogg", headers={"range": "bytes=0-3"})
        assert (part.status_code, part.content) == (206, b"OggS")


@on_a_loop
async def test_a_clip_that_came_uncompressed_says_so(tmp_path: Path) -> None:
    tape = Tape(codec="pcm")
    async with serving(tmp_path) as server, server.device(tape) as device:
        utterance = tape.utterance(3)
        await device.send()
        await device.until_acked()
        answer = await server.http.get(f"/api/media/{STREAM}/{utterance}.ogg")
        assert (answer.headers["content-type"], answer.content[:4]) == ("audio/flac", b"fLaC")


@on_a_loop
async def test_a_frame_comes_whole_or_small(tmp_path: Path) -> None:
    async with with_notes(tmp_path) as (server, _, _, _):
        whole = await server.http.get(f"/api/media/{STREAM}/1.jpg")
        assert (whole.headers["content-type"], whole.content) == ("image/jpeg", jpeg(width=640, height=480))
        small = await server.http.get(f"/api/media/{STREAM}/1.jpg?w=160")
        assert cv2.imdecode(np.frombuffer(small.content, np.uint8), cv2.IMREAD_COLOR).shape == (120, 160, 3)
        for width in (15, 2001, "x", -1):
            refused(await server.http.get(f"/api/media/{STREAM}/1.jpg?w={width}"), 422, "request")


@on_a_loop
async def test_no_path_leads_out_of_the_media(tmp_path: Path) -> None:
    async with with_notes(tmp_path) as (server, _, first, _):
        port = int(server.url.rsplit(":", 1)[1].strip("/"))
        for path in (
            f"/api/media/{STREAM}/../../fieldnote.db",
            "/api/media/../fieldnote.db",
            f"/api/media/{STREAM}/%2e%2e%2f%2e%2e%2ffieldnote.db",
            f"/api/media/{STREAM}%2f{DAY}/{first}.ogg",
            f"/api/media/{STREAM}/{first}.ogg%00.jpg",
            f"/api/media/{STREAM.upper()}/{first}.ogg",
            f"/api/media/{STREAM}%0a/{first}.ogg",
            f"/api/media/{STREAM}/0.ogg",
            f"/api/media/{STREAM}/-1.ogg",
            f"/api/media/{STREAM}/{2**70}.ogg",
            "/web/../api.py",
            "/web/..%2fapi.py",
            "/web/%2e%2e/%2e%2e/store/schema.py",
            "/web//etc/passwd",
            "//etc/passwd",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
            answer = await within(reader.read())
            writer.close()
            assert re.match(rb"HTTP/1.1 (404|422) ", answer), (path, answer[:200])
            assert b"SQLite format" not in answer and b"import" not in answer


# Errors


REFUSALS = (
    ("GET", "/nowhere", 404, "not_found"),
    ("GET", "/web/nowhere.js", 404, "not_found"),
    ("POST", "/api/snapshot", 405, "method"),
    ("GET", "/api/snapshot?day=yesterday", 422, "request"),
    ("GET", "/api/snapshot?day=2026-13-45", 400, "request"),
    ("GET", "/api/snapshot?day=0001-01-01", 400, "request"),
    ("GET", "/api/snapshot?day=9999-12-31", 400, "request"),
    ("GET", "/api/ledger?day=0000-00-00", 400, "request"),
    ("GET", "/api/notes?day=9999-12-31", 400, "request"),
    ("GET", "/api/notes.md?day=1969-12-31", 400, "request"),
    ("GET", "/api/notes?stream=nonsense", 422, "request"),
    ("GET", "/api/search", 422, "request"),
    ("GET", "/api/search?q=a&limit=0", 422, "request"),
    ("GET", "/api/search?q=" + "a" * 201, 422, "request"),
    ("GET", f"/api/media/{STREAM}/5.ogg", 404, "not_found"),
    ("GET", f"/api/media/{STREAM}/5.jpg?w=100", 404, "not_found"),
    ("PATCH", f"/api/lines/{STREAM}/5", 422, "request"),
    ("DELETE", f"/api/lines/{STREAM}/5", 404, "not_found"),
    ("DELETE", "/api/lines/nonsense/5", 422, "request"),
    ("POST", "/api/ask", 422, "request"),
    ("POST", "/api/streams/nonsense/pause", 422, "request"),
)


@on_a_loop
async def test_an_error_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for method, path, status, code in REFUSALS:
            print(method, path)  # shown when it fails
            refused(await server.http.request(method, path), status, code)


@on_a_loop
async def test_a_body_that_is_nonsense_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for path, body in (
            ("/api/ask", b"{"),
            ("/api/ask", b'{"question": ""}'),
            ("/api/ask", b'{"question": 5}'),
            ("/api/ask", b'["x"]'),
            ("/api/ask", b"\xff\xfe"),
            ("/api/ask", b'{"question": "\\ud800"}'),
            ("/api/ask", b"[" * 90_000),
            ("/api/ask", json.dumps({"question": "x" * 501}).encode()),
        ):
            answer = await server.http.post(path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code in (400, 422), body[:40]
            assert set(answer.json()["error"]) == {"code", "message"}
        for text in ("", "  \n", "x" * 5001, "\ud800"):
            body = json.dumps({"text": text}).encode()
            answer = await server.http.patch(f"/api/lines/{STREAM}/5", content=body)
            assert answer.status_code == 422, text[:10]
        refused(await server.http.post("/api/ask", content=b" " * 200_000), 413, "too_large")


@on_a_loop
async def test_a_store_that_fails_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    async with with_notes(tmp_path) as (server, _, _, _):

        def rename(table: str, name: str) -> None:
            with server.storage.database.write() as db:
                db.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")

        await asyncio.to_thread(rename, "topics", "topics_away")
        refused(await server.http.get("/api/snapshot"), 500, "internal")
        await asyncio.to_thread(rename, "topics_away", "topics")
        assert (await server.get("/api/snapshot"))["topics"]


@on_a_loop
async def test_a_spoken_question_stays_in_the_snapshot_with_its_answer(tmp_path: Path) -> None:
    async with with_notes(tmp_path) as (server, tape, first, _), watching(server) as events:
        server.engine.say(18, "Hey notes, when do we launch the website?")
        question = tape.utterance(18)
        async with server.device(tape) as device:
            await device.send()
            while not (told := await events.until("answer"))["done"]:
                pass
        (answer,) = (await server.get("/api/snapshot"))["answers"]
        assert answer == told
        assert (answer["utterance"], answer["evidence"][0]["id"]) == (question, f"{STREAM}/{first}")
