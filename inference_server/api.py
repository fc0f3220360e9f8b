"""The HTTP interface: state, events, search, questions, media, export, the page. See docs/api.md."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException, Query, Request, WebSocket, WebSocketDisconnect
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException as StarletteHTTPException

from agent.protocol import PATH
from inference_server import views
from inference_server.answering import Answering
from inference_server.engines.base import EngineError
from inference_server.export import FORMATS, export
from inference_server.gateway import Gateway
from inference_server.hub import Hub
from inference_server.ledger import day_bounds_ns
from inference_server.ledgers import Ledgers, day_view
from inference_server.metrics import Metrics
from inference_server.notes import Line, markdown
from inference_server.pairing import Pairing
from inference_server.presence import Presence
from inference_server.reading import Reading
from inference_server.snapshot import Snapshots
from inference_server.store.library import Library
from inference_server.thumbnails import thumbnail
from inference_server.worker import Worker

_WEB = Path(__file__).parent / "web"
_PING_S = 15.0
_MOST_VIEWERS = 200

StreamId = Annotated[str, InPath(pattern="^[0-9a-f]{32}$")]
Seq = Annotated[int, InPath(ge=1, le=2**62)]
Day = Annotated[str, Query(pattern=r"^\d{4}-\d{2}-\d{2}$")]
StreamFilter = Annotated[str, Query(pattern="^([0-9a-f]{32})?$")]
Question = Annotated[str, Body(embed=True, min_length=1, max_length=500)]


@dataclass(slots=True)
class Services:
    """What the routes call."""

    gateway: Gateway
    worker: Worker
    reading: Reading
    answering: Answering
    library: Library
    snapshots: Snapshots
    ledgers: Ledgers
    presence: Presence
    hub: Hub
    metrics: Metrics
    pairing: Pairing
    questions: asyncio.Semaphore  # how many questions are answered at once


def create(services: Services) -> FastAPI:
    """The application, without its guard."""
    app = FastAPI(
        title="Fieldnote",
        version="1",
        description="Live notes with evidence. See docs/api.md.",
        docs_url=None,  # FastAPI's own pages run scripts from elsewhere; ours are in web/
        redoc_url=None,
    )
    app.add_exception_handler(StarletteHTTPException, _as_error)
    app.add_exception_handler(RequestValidationError, _as_bad_request)
    app.add_exception_handler(ValueError, _as_bad_value)
    app.add_exception_handler(Exception, _as_failure)
    _live(app, services)
    _reading(app, services)
    _asking(app, services)
    _changing(app, services)
    _media(app, services)
    app.mount("/web", StaticFiles(directory=_WEB), name="web")
    return app


def _live(app: FastAPI, s: Services) -> None:
    @app.websocket(PATH)
    async def capture(socket: WebSocket) -> None:
        await s.gateway.serve(socket)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_WEB / "index.html", headers={"cache-control": "no-cache"})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(_WEB / "docs.html", headers={"cache-control": "no-cache"})

    @app.get("/health")
    async def health() -> views.Json:
        """Whether the server is up; open to all, says nothing about anyone."""
        return {"name": "fieldnote", "status": "ok"}

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        s.metrics.viewers.set(s.hub.viewers)
        return Response(generate_latest(s.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/api/snapshot")
    async def snapshot(day: Day | None = None) -> views.Json:
        """Everything the page shows, and the cursor behind which its events follow."""
        return await s.snapshots.take(day)

    @app.get("/api/events")
    async def events(request: Request, after: str = "") -> StreamingResponse:
        """Server-sent events behind `after`."""
        if s.hub.viewers >= _MOST_VIEWERS:
            raise HTTPException(503, f"{_MOST_VIEWERS} viewers follow already; close some pages")
        cursor = request.headers.get("last-event-id", after)
        return StreamingResponse(
            _sse(s.hub, cursor),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )


async def _sse(hub: Hub, cursor: str) -> AsyncIterator[str]:
    yield ": connected\n\n"
    async with aclosing(hub.events(cursor, _PING_S)) as events:
        async for event in events:
            id_ = f"id: {event.cursor}\n" if event.cursor else ""
            yield f"{id_}event: {event.name}\ndata: {_dump(event.data)}\n\n"


def _reading(app: FastAPI, s: Services) -> None:
    @app.get("/api/notes")
    async def notes(day: Day | None = None, stream: StreamFilter = "") -> views.Json:
        """A day's running notes."""
        wanted = await s.snapshots.day_or_newest(day)
        found = await asyncio.to_thread(s.library.topics, wanted, stream)
        return {"day": wanted, "topics": [views.topic_with_lines(topic) for topic in found]}

    @app.get("/api/notes.md")
    async def notes_markdown(day: Day | None = None, stream: StreamFilter = "") -> Response:
        """A day's running notes as Markdown."""
        wanted = await s.snapshots.day_or_newest(day)
        found = await asyncio.to_thread(s.library.topics, wanted, stream)
        return Response(markdown(wanted, found, s.pairing.page_url), media_type=FORMATS["md"])

    @app.get("/api/ledger")
    async def ledger(day: Day | None = None) -> views.Json:
        """The account of a day, for each device."""
        wanted = await s.snapshots.day_or_newest(day)
        devices = await asyncio.to_thread(s.library.devices)
        found = [await asyncio.to_thread(day_view, s.library, device, wanted) for device in devices]
        return {"day": wanted, "streams": [one for one in found if one["total_s"]]}

    @app.get("/api/search")
    async def search(
        q: Annotated[str, Query(max_length=200)], limit: Annotated[int, Query(ge=1, le=500)] = 50
    ) -> views.Json:
        """Lines that hold every word of `q`, newest first."""
        found = await asyncio.to_thread(s.library.search, q, limit)
        hits = [
            views.line(line) | {"snippet": _snippet(line, q), "day": views.iso(line.captured_at)[:10]} for line in found
        ]
        return {"query": q, "hits": hits}

    @app.get("/api/export")
    async def export_all(format: str = "jsonl", day: Day | None = None, stream: StreamFilter = "") -> StreamingResponse:
        """Everything, or one day, or one stream, as jsonl, md, srt or vtt."""
        if format not in FORMATS:
            raise HTTPException(400, f"format {format!r} is not one of {', '.join(FORMATS)}")
        if day is not None:
            day_bounds_ns(day)
        name = f"fieldnote-{day or 'all'}.{format}"
        return StreamingResponse(
            export(s.library, format, day, stream),
            media_type=FORMATS[format],
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )

    @app.get("/api/pairing")
    async def pairing() -> views.Json:
        """How to connect a device."""
        return s.pairing.view()


def _snippet(line: Line, query: str) -> str:
    """The part of the line's words around the first word of the query."""
    at = min(
        (found for word in query.split() if (found := line.text.casefold().find(word.casefold())) >= 0),
        default=0,
    )
    start = max(0, at - 60)
    piece = line.text[start : start + 180]
    return ("…" if start else "") + piece + ("…" if start + 180 < len(line.text) else "")


def _asking(app: FastAPI, s: Services) -> None:
    @app.post("/api/ask")
    async def ask(question: Question) -> StreamingResponse:
        """Answer from the notes alone; newline-delimited JSON as it forms."""
        if s.questions.locked():
            raise HTTPException(503, "too many questions at once; ask again in a moment")
        return StreamingResponse(_answer(s, question), media_type="application/x-ndjson")


async def _answer(s: Services, question: str) -> AsyncIterator[str]:
    async with s.questions, aclosing(s.answering.answer(question)) as pieces:
        answered = False
        try:
            async for piece in pieces:
                if isinstance(piece, str):
                    yield _dump({"type": "piece", "text": piece}) + "\n"
                else:
                    answered = bool(piece)
                    yield _dump({"type": "evidence", "items": await s.answering.evidence(piece)}) + "\n"
        except EngineError as exc:
            yield _dump({"type": "piece", "text": f"No answer could be made: {exc}"}) + "\n"
        yield _dump({"type": "done", "answered": answered}) + "\n"


def _changing(app: FastAPI, s: Services) -> None:
    @app.post("/api/streams/{stream}/{action}", status_code=202)
    async def control(stream: StreamId, action: Annotated[str, InPath(pattern="^(pause|resume)$")]) -> views.Json:
        """Ask a device to pause or to resume."""
        connection = s.presence.connection(stream)
        if connection is None:
            raise HTTPException(409, "the device is offline; use `fieldnote-agent pause` on it")
        try:
            await connection.ask(action)
        except (WebSocketDisconnect, RuntimeError, TimeoutError) as exc:  # RuntimeError: it is being closed
            raise HTTPException(409, "the device has just left; try again when it is back") from exc
        return {"asked": action}

    @app.patch("/api/lines/{stream}/{seq}")
    async def correct(
        stream: StreamId, seq: Seq, text: Annotated[str, Body(embed=True, pattern=r"\S", max_length=5000)]
    ) -> views.Json:
        """Correct a note."""
        line = await asyncio.to_thread(s.library.correct, stream, seq, text)
        if line is None:
            raise HTTPException(404, "no such line")
        topic = await asyncio.to_thread(s.library.heading, stream, line.topic)
        s.hub.publish("line", {"topic": views.topic(topic), "line": views.line(line)})
        return views.line(line)

    @app.delete("/api/lines/{stream}/{seq}")
    async def forget(stream: StreamId, seq: Seq) -> views.Json:
        """Forget a line with its clip, its frames and all that came from them."""
        line = await asyncio.to_thread(s.library.line, stream, seq)
        gone = None if line is None else await asyncio.to_thread(s.library.forget, stream, seq)
        if line is None or gone is None:
            raise HTTPException(404, "no such line")
        s.hub.forget()
        for id_ in gone.lines:
            s.hub.publish("removed", {"id": id_})
        for topic in gone.topics:
            s.hub.publish("topic", views.topic(topic))
        s.ledgers.touch(stream, line.captured_at)
        return {"forgotten": gone.lines}


def _media(app: FastAPI, s: Services) -> None:
    @app.get("/api/media/{stream}/{seq}.ogg")
    async def clip(stream: StreamId, seq: Seq) -> FileResponse:
        """An utterance's audio."""
        path = await asyncio.to_thread(s.library.clip, stream, seq)
        return _file(path, "audio/ogg" if path is None or path.suffix == ".ogg" else "audio/flac")

    @app.get("/api/media/{stream}/{seq}.jpg")
    async def frame(stream: StreamId, seq: Seq, w: Annotated[int | None, Query(ge=16, le=2000)] = None) -> Response:
        """A frame, or a thumbnail `w` pixels wide."""
        path = await asyncio.to_thread(s.library.frame, stream, seq)
        if w is None or path is None or not path.is_file():
            return _file(path, "image/jpeg")
        small = await asyncio.to_thread(thumbnail, path.read_bytes(), w)
        return Response(small, media_type="image/jpeg", headers={"cache-control": "private, no-cache"})


def _file(path: Path | None, media_type: str) -> FileResponse:
    if path is None or not path.is_file():
        raise HTTPException(404, "nothing is kept under this name; it may have been forgotten")
    return FileResponse(path, media_type=media_type, headers={"cache-control": "private, no-cache"})


def _dump(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status)


async def _as_error(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, StarletteHTTPException)
    codes = {404: "not_found", 405: "method", 409: "conflict", 413: "too_large", 503: "busy"}
    return _error(exc.status_code, codes.get(exc.status_code, "request"), str(exc.detail))


async def _as_bad_request(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    first = exc.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return _error(422, "request", f"{where or 'the request'}: {first['msg']}")


async def _as_failure(_request: Request, _exc: Exception) -> Response:
    return _error(500, "internal", "the server failed; its log says why")  # uvicorn logs the exception


async def _as_bad_value(_request: Request, exc: Exception) -> Response:
    return _error(400, "request", str(exc))
