"""The capture thread: source -> VAD -> segmenter -> records -> spool, all that happens before the network.

It is synchronous and runs on one thread of its own, so nothing on the network side can hold it up. Whoever
wants to know how it goes reads `Progress`; whoever wants it paused creates the spool's `paused` file.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from agent.audio import Rechunker, level, n_samples
from agent.codec import EncoderFactory
from agent.config import AgentConfig
from agent.config import Segmenter as SegmenterConfig
from agent.frames import FrameGate, Verdict, look
from agent.protocol import Gap, Record, UtteranceEnd
from agent.records import SILENCE_EVERY, SILENCE_MARGIN, Recorder
from agent.segmenter import Segmenter
from agent.sources import DeviceError, Event, Image, Lost, Picture, Samples
from agent.spool import DiskFull, Resume, Spool
from agent.timeline import Timeline
from agent.vad import WINDOW, Vad

logger = logging.getLogger(__name__)
PAUSED_FILE = "paused"
_PAUSE_EVERY = n_samples(5.0)  # the ledger learns of a long pause this often
_FULL_RETRY_S = 1.0
_HOLD_BYTES = 16_000_000  # while the disk is full, this much waits in memory: an hour of speech without frames


@dataclass(slots=True)
class Progress:
    """How capture goes, for the status line: written by the capture thread alone, read by anyone."""

    recording: bool = False
    speaking: bool = False
    level: float = 0.0
    position: int = 0
    utterances: int = 0
    frames: int = 0
    dropped_frames: int = 0
    trouble: str = ""  # why nothing reaches the disk


class Capture:
    """Runs one source into the spool. `appended` is called (on the capture thread) after records reached the disk."""

    def __init__(
        self,
        config: AgentConfig,
        spool: Spool,
        paused: Path,
        encoder: EncoderFactory,
        appended: Callable[[], None],
        commit_every_s: float = 0.0,
        hold_bytes: int = _HOLD_BYTES,
    ) -> None:
        self._config = config
        self._spool = spool
        self._paused = paused
        self._appended = appended
        self._encoder = encoder
        self._commit_every_s = commit_every_s  # media read faster than real time are written in larger portions
        self._hold_bytes = hold_bytes
        self._committed_at = 0.0
        self._pending: list[tuple[Record, bytes]] = []
        self._windows = Rechunker(WINDOW)
        self._vad = Vad(config.vad)
        self._gate = FrameGate(config.frames)
        self._paused_samples = 0
        self._broken = True  # the timeline needs an anchor: at the start and after each gap
        self.progress = Progress()

    def run(self, events: Iterable[Event]) -> None:
        """Capture until the events end, then account for everything. Raises DeviceError and SpoolError."""
        resume = self._spool.resume()
        self._begin(resume)
        try:
            for event in events:
                self._event(event)
                self._commit_if_due()
        except DeviceError:
            self._end()  # what was heard before the device failed is kept
            raise
        self._end()

    def _event(self, event: Event) -> None:
        match event:
            case Samples():
                self._samples(event)
            case Picture(image):
                due = self._gate.due(self._recorder.position, self._segmenter.speaking)
                if due and not self._paused.exists():
                    self._picture(image)
            case Lost(lost, reason):
                self._resume()
                self._gap(lost, reason)
                self._broken = True
                self._idle()

    def _begin(self, resume: Resume) -> None:
        # Holds until the first samples come, for what is recovered: it was captured when the last process ran.
        anchor = Timeline.at(resume.position, resume.captured_at or time.time_ns(), time.monotonic_ns())
        self._segmenter = Segmenter(self._config.segmenter, resume.position)
        self._recorder = Recorder(
            timeline=anchor,
            encoder=self._encoder,
            chunk_samples=n_samples(self._config.codec.chunk_ms / 1000),
            history_samples=_reach(self._config.segmenter) + n_samples(2.0) + SILENCE_MARGIN,
            next_seq=resume.next_seq,
            position=resume.position,
        )
        if not resume.clean:
            self._keep(self._recover(resume, anchor))

    def _recover(self, resume: Resume, timeline: Timeline) -> list[tuple[Record, bytes]]:
        """Close what a killed process left open; what it heard and had not written is a gap, at most this long."""
        records: list[tuple[Record, bytes]] = []
        if resume.open_utterance:
            end = UtteranceEnd(
                seq=self._recorder.next_seq,
                end_sample=resume.position,
                captured_at=timeline.utc_ns(resume.position),
                reason="agent stopped",
            )
            self._recorder.next_seq += 1
            records.append((end, b""))
            lost = n_samples(self._config.codec.chunk_ms / 1000)
        else:
            lost = SILENCE_EVERY + SILENCE_MARGIN
        records += self._recorder.gap(lost, "agent stopped")
        assert isinstance(records[-1][0], Gap)
        self._segmenter.restart(self._recorder.position)
        return records

    def _samples(self, event: Samples) -> None:
        position = self._recorder.position + self._paused_samples + len(self._windows) + len(event.pcm)
        if self._broken:
            self._recorder.timeline.jump(position, event.utc_ns, event.monotonic_ns)
            self._broken = False
        else:
            self._recorder.timeline.observe(position, event.utc_ns, event.monotonic_ns)
        if self._paused.exists():
            self._pause(len(event.pcm))
            return
        self._resume()
        for window in self._windows.push(event.pcm):
            probability = self._vad.push(window)
            boundaries = self._segmenter.push(probability, WINDOW)
            self._keep(self._recorder.window(window, boundaries, self._segmenter.silent))
        self.progress.recording = True
        self.progress.speaking = self._segmenter.speaking
        self.progress.level = level(event.pcm)
        self.progress.position = self._recorder.position
        self.progress.utterances = self._recorder.utterances

    def _pause(self, n: int) -> None:
        if self._paused_samples == 0:
            self._break_off()
        self._paused_samples += n
        self._idle()
        if self._paused_samples >= _PAUSE_EVERY:
            self._resume()

    def _resume(self) -> None:
        if self._paused_samples:
            lost, self._paused_samples = self._paused_samples, 0
            self._gap(lost, "paused")

    def _gap(self, lost: int, reason: str) -> None:
        self._break_off()
        self._keep(self._recorder.gap(lost, reason))
        self._segmenter.restart(self._recorder.position)

    def _idle(self) -> None:
        self.progress.recording = self.progress.speaking = False
        self.progress.level = 0.0
        self.progress.position = self._recorder.position + self._paused_samples
        self.progress.utterances = self._recorder.utterances

    def _break_off(self) -> None:
        """End what is going on: the samples stop here, for good or for a while."""
        rest = self._windows.flush()
        if len(rest):
            self._keep(self._recorder.window(rest, self._segmenter.push(0.0, len(rest))))
        self._keep(self._recorder.boundaries(self._segmenter.flush()))
        self._keep(self._recorder.account())
        self._vad.reset()

    def _end(self) -> None:
        self._resume()
        self._break_off()
        self._idle()
        self._commit()
        self._spool.finish()

    def _picture(self, image: Image) -> None:
        small = _shrink(image, self._config.frames.longest_side_px)
        at = self._recorder.position
        seen = look(np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8))
        if self._gate.judge(seen, at) is not Verdict.KEEP:
            self.progress.dropped_frames += 1
            return
        quality = [cv2.IMWRITE_JPEG_QUALITY, self._config.frames.jpeg_quality]
        encoded, jpeg = cv2.imencode(".jpg", small, quality)
        assert encoded
        if not self._gate.spend(seen, len(jpeg), at):
            self.progress.dropped_frames += 1
            return
        self._keep(self._recorder.frame(jpeg.tobytes(), small.shape[1], small.shape[0]))
        self.progress.frames += 1

    def _keep(self, records: list[tuple[Record, bytes]]) -> None:
        self._pending += records

    def _commit_if_due(self) -> None:
        every_s = max(self._commit_every_s, _FULL_RETRY_S) if self.progress.trouble else self._commit_every_s
        if not self._pending or time.monotonic() - self._committed_at < every_s:
            return
        try:
            self._commit()
        except DiskFull as exc:
            if sum(len(payload) for _, payload in self._pending) > self._hold_bytes:
                raise
            if not self.progress.trouble:
                logger.error("%s; records wait in memory", exc)
            self.progress.trouble = str(exc)
            self._committed_at = time.monotonic()

    def _commit(self) -> None:
        if self._pending:
            self._spool.append(self._pending)
            self._pending = []
            self._committed_at = time.monotonic()
            self.progress.trouble = ""
            self._appended()


def _reach(config: SegmenterConfig) -> int:
    """How far before the newest sample a boundary may lie: where an utterance is cut, or where its pre-roll begins."""
    return n_samples(max(config.cut_search_s, config.preroll_s + 2 * config.onset_s))


def _shrink(image: Image, longest_side_px: int) -> Image:
    """The image with its longest side at most `longest_side_px`, (height, width, 3) uint8."""
    scale = longest_side_px / max(image.shape[:2])
    if scale >= 1.0:
        return image
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
