"""Builds and runs the capture pipeline. Read this first.

    source -> VAD -> segmenter -> records -> spool          one thread (capture.py)
                                             spool -> link  the event loop (link.py)

The spool is the only way from one side to the other.
"""

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import platformdirs

from agent import status
from agent.audio import seconds
from agent.config import AgentConfig, ConfigError
from agent.protocol import Note
from agent.sources import Source
from agent.spool import Spool

logger = logging.getLogger(__name__)
_STATUS_EVERY_S = 0.5
_REFUSED_RETRY_S = 30.0
_FAST_COMMIT_S = 0.1
_LAST_WORDS_S = 2.0  # on Ctrl-C, how long the link may go on draining


@dataclass(frozen=True, slots=True)
class Request:
    """What one `capture` command asks for beyond the config file."""

    fast: bool = False  # files: do not wait for the clock
    started_at: datetime | None = None  # files: when the recording began
    show: Callable[[status.Status], None] = lambda _: None


def spool_directory(config: AgentConfig) -> Path:
    """Where the spool lies: [spool] dir, or the user's data directory."""
    return Path(config.spool.dir or Path(platformdirs.user_data_dir("fieldnote", appauthor=False)) / "spool")


async def capture(config: AgentConfig, request: Request, stop: asyncio.Event) -> None:
    """Capture until `stop`, or until the files end and the server holds everything.

    Raises ConfigError, DeviceError, SpoolError or LinkRefused; whatever was captured until then is in the spool.
    """
    directory = spool_directory(config)
    spool = Spool(directory, int(config.spool.cap_mb * 1e6))
    try:
        await Agent(config, request, spool, directory).run(stop)
    finally:
        spool.close()


class Agent:
    """One capture thread, one link, and the status that both feed."""

    def __init__(self, config: AgentConfig, request: Request, spool: Spool, directory: Path) -> None:
        from agent.capture import PAUSED_FILE, Capture
        from agent.codec import Encoder, OpusEncoder, PcmEncoder
        from agent.link import Link

        self._config = config
        self._request = request
        self._directory = directory
        self._paused = directory / PAUSED_FILE
        self._loop = asyncio.get_running_loop()
        self._live = config.audio.source.split(":")[0] == "mic"
        self._link = Link(
            config.server,
            spool,
            device=config.device.name or socket.gethostname(),
            token=os.environ.get(config.server.token_env, "").strip(),  # a newline would break the request
            listener=self,
            report=self._report,
        )

        def encoder() -> Encoder:
            return PcmEncoder() if self._link.codec == "pcm" else OpusEncoder(config.codec.bitrate_bps)

        def appended() -> None:
            self._loop.call_soon_threadsafe(self._link.wake)

        self._capture = Capture(
            config,
            spool,
            self._paused,
            encoder=encoder,
            appended=appended,
            commit_every_s=_FAST_COMMIT_S if request.fast else 0.0,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Run until the source ends and the spool is drained, or until `stop`."""
        source = await asyncio.to_thread(open_source, self._config, self._request)
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [group.create_task(self._show()), group.create_task(_close_on(stop, source))]
                link = group.create_task(self._drain())
                await self._capture_all(source)
                self._link.finish_when_drained()
                stopped = group.create_task(stop.wait())
                await asyncio.wait({link, stopped}, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait({link}, timeout=_LAST_WORDS_S)  # what stays is sent at the next start
                for task in (link, stopped, *helpers):
                    task.cancel()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        finally:
            source.close()
            last = msgspec.structs.replace(self.status(), state="stopped")
            self._request.show(last)
            status.write(self._directory, last)

    async def _capture_all(self, source: Source) -> None:
        """Run the capture thread to its end; a cancellation closes the source and still waits for the thread."""
        ended: asyncio.Future[None] = self._loop.create_future()

        def work() -> None:
            try:
                self._capture.run(source.events())
            except BaseException as exc:  # carried to the loop, where it is raised
                self._loop.call_soon_threadsafe(_settle, ended, exc)
            else:
                self._loop.call_soon_threadsafe(_settle, ended, None)

        thread = threading.Thread(target=work, name="capture")
        thread.start()
        try:
            await asyncio.shield(ended)
        finally:
            source.close()
            await asyncio.to_thread(thread.join)

    async def _drain(self) -> None:
        """Drain the spool. A live device goes on capturing while a server refuses it; files end."""
        from agent.link import LinkRefused

        while True:
            try:
                await self._link.run()
                return
            except LinkRefused as exc:
                if not self._live:
                    raise
                self._link.state.trouble = str(exc)
                await asyncio.sleep(_REFUSED_RETRY_S)

    async def _show(self) -> None:
        while True:
            current = self.status()
            self._request.show(current)
            await asyncio.to_thread(status.write, self._directory, current)
            await asyncio.sleep(_STATUS_EVERY_S)

    def status(self) -> status.Status:
        """How it goes now."""
        progress, link = self._capture.progress, self._link.state
        waiting = "paused" if self._paused.exists() else "waiting"
        return status.Status(
            pid=os.getpid(),
            at=time.time(),
            state="recording" if progress.recording else waiting,
            speaking=progress.speaking,
            level=progress.level,
            captured_s=seconds(progress.position),
            utterances=progress.utterances,
            frames=progress.frames,
            backlog=link.backlog,
            server="connected" if link.connected else link.trouble,
            url=self._config.server.url,
            shedding=link.shedding,
            trouble=progress.trouble,
            sent_bytes=link.sent_bytes,
        )

    def _report(self) -> tuple[bool, float]:
        return self._capture.progress.recording, self._capture.progress.level

    def noted(self, note: Note) -> None:
        """The server heard something."""
        logger.debug("note for utterance %d: %d characters", note.utterance, len(note.text))

    def asked(self, action: str) -> None:
        """The page asked to pause or to resume."""
        logger.info("%s, asked for through the server", action)
        set_paused(self._directory, action == "pause")


def set_paused(directory: Path, paused: bool) -> None:
    """Pause or resume whatever agent runs on this spool, now or at its next start."""
    from agent.capture import PAUSED_FILE

    if paused:
        (directory / PAUSED_FILE).touch()
    else:
        (directory / PAUSED_FILE).unlink(missing_ok=True)


def open_source(config: AgentConfig, request: Request) -> Source:
    """The source that the config names. Raises DeviceError and ConfigError."""
    kind, _, device = config.audio.source.partition(":")
    frames = config.frames.source
    camera = frames.split(":")[0] == "camera" or "://" in frames
    if kind == "mic":
        if frames and not camera:
            raise ConfigError("frames from files need audio from a file, too: use --audio FILE, or --frames camera")
        from agent.sources.camera import Camera
        from agent.sources.live import LiveSource
        from agent.sources.microphone import Microphone

        eye = Camera(frames if "://" in frames else frames.partition(":")[2] or "0") if frames else None
        return LiveSource(lambda: Microphone(device, config.audio.buffer_s), eye, pictures_hz=config.frames.speaking_hz)
    if camera:
        raise ConfigError("a camera needs a microphone: use --audio mic, or --frames with a folder or video")
    from agent.sources.file import FileSource, duration_s

    path = Path(config.audio.source)
    source = FileSource(path, Path(frames) if frames else None, request.fast, config.frames.speaking_hz)
    if request.started_at is not None:
        source.start_utc_ns = int(request.started_at.astimezone(UTC).timestamp() * 1e9)
    elif request.fast:  # as if it had just been recorded
        source.start_utc_ns -= int(duration_s(path) * 1e9)
    return source


def _settle(future: "asyncio.Future[None]", exc: BaseException | None) -> None:
    if future.cancelled():
        return
    if exc is None:
        future.set_result(None)
    else:
        future.set_exception(exc)


async def _close_on(stop: asyncio.Event, source: Source) -> None:
    await stop.wait()
    source.close()
