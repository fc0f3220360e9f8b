"""Reads the text in frames, each once, in order of capture, beside the speech and never before it.

Bounded: of the frames that wait, the newest `limits.read_frames` are kept and older ones shed. While notes are
so far behind that frames give way, nothing is read.
"""

import asyncio
import logging
import time

from sqlalchemy.exc import DatabaseError

from inference_server import views
from inference_server.config import Limits, Notes
from inference_server.engines.base import Engine, EngineError
from inference_server.hub import Hub
from inference_server.metrics import Metrics
from inference_server.moments import new_lines
from inference_server.notes import Line
from inference_server.store.jobs import Jobs, UnreadFrame
from inference_server.store.media import Media

logger = logging.getLogger(__name__)


class Reading:
    """Runs until cancelled. Its methods are called on the event loop's thread."""

    def __init__(
        self, engine: Engine, jobs: Jobs, media: Media, hub: Hub, metrics: Metrics, notes: Notes, limits: Limits
    ) -> None:
        self._engine, self._jobs, self._media = engine, jobs, media
        self._hub, self._metrics, self._notes, self._limits = hub, metrics, notes, limits
        self._arrived = asyncio.Event()
        self._arrived.set()  # frames that an earlier run left unread
        self._held = False

    def frame_arrived(self) -> None:
        """A frame waits to be read."""
        self._arrived.set()

    def hold(self, held: bool) -> None:
        """Read nothing for now, or go on."""
        self._held = held
        self._arrived.set()

    async def run(self) -> None:
        """Read whatever waits."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._held:
                continue
            try:
                await self._read_next()
            except DatabaseError as exc:
                logger.error("the store fails (is its disk full?): %s", exc.orig)
                await asyncio.sleep(self._limits.store_retry_s)
                self._arrived.set()

    async def _read_next(self) -> None:
        unread, shed = await asyncio.to_thread(self._jobs.unread_frames, self._limits.read_frames)
        self._metrics.shed.labels("frame").inc(shed)
        if unread:
            await self._read(unread[0])
            self._arrived.set()  # there may be more

    async def _read(self, frame: UnreadFrame) -> None:
        begun = time.monotonic()
        try:
            jpeg = await asyncio.to_thread(self._media.read, frame.image)
            seen = await self._engine.read(jpeg)
        except (EngineError, OSError) as exc:
            logger.warning("frame %s/%d cannot be read: %s", frame.stream[:8], frame.seq, exc)
            await self._failed(frame)
            return
        except Exception:
            logger.exception("frame %s/%d", frame.stream[:8], frame.seq)
            await self._failed(frame)
            return
        self._metrics.read_s.observe(time.monotonic() - begun)
        since = frame.captured_at - int(self._notes.seen_again_s * 1e9)
        recent = await asyncio.to_thread(self._jobs.recently_seen, frame.stream, since, frame.captured_at)
        line = _seen_line(frame, new_lines(seen, recent))
        text = "\n".join(seen)
        written = await asyncio.to_thread(self._jobs.frame_read, frame.stream, frame.seq, "read", text, line)
        if written is not None:
            fresh, topic = written
            self._hub.publish("line", {"topic": views.topic(topic), "line": views.line(fresh)})

    async def _failed(self, frame: UnreadFrame) -> None:
        await asyncio.to_thread(self._jobs.frame_read, frame.stream, frame.seq, "failed", "", None)


def _seen_line(frame: UnreadFrame, fresh: tuple[str, ...]) -> Line | None:
    if not fresh:
        return None
    return Line(
        stream=frame.stream,
        seq=frame.seq,
        kind="seen",
        captured_at=frame.captured_at,
        end_at=frame.captured_at,
        text=" · ".join(fresh),
        frame=frame.seq,
    )
