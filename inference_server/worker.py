"""Jobs through the engine: the only caller of it. job -> engine -> store -> hub.

Speech goes first. Frames are read beside it, one at a time, in order of capture, and only while nothing is behind.
"""

import asyncio
import io
import logging
import re
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing

import soundfile

from agent.audio import Pcm
from inference_server import views
from inference_server.config import Limits, Notes
from inference_server.dispatch import Dispatch, Job, shedding
from inference_server.engines.base import Answered, Draft, Engine, EngineError, Noted, Passage, Summarised
from inference_server.hub import Hub
from inference_server.ledgers import Ledgers
from inference_server.metrics import Metrics
from inference_server.moments import new_lines
from inference_server.notes import Line
from inference_server.retrieval import CANDIDATES
from inference_server.store.ingest import Ingest
from inference_server.store.jobs import Jobs, Outcome, UnreadFrame, Utterance
from inference_server.store.library import Library
from inference_server.store.media import Media
from inference_server.words import content

logger = logging.getLogger(__name__)
_REFILL = 256  # jobs taken from the table at a time
_ENDED = 256  # utterances remembered as ended, so that no late draft follows a note


class Worker:
    """Runs until cancelled. `wake` and the `*_arrived` methods are called on the event loop's thread."""

    def __init__(
        self,
        engine: Engine,
        jobs: Jobs,
        ingest: Ingest,
        library: Library,
        media: Media,
        hub: Hub,
        ledgers: Ledgers,
        metrics: Metrics,
        notes: Notes,
        limits: Limits,
    ) -> None:
        self._engine, self._jobs, self._ingest = engine, jobs, ingest
        self._library, self._media, self._hub, self._metrics = library, media, hub, metrics
        self._ledgers = ledgers
        self._notes, self._limits = notes, limits
        self._dispatch = Dispatch(_REFILL, limits.answers, limits.summaries)
        self._known: set[int] = set()  # durable jobs that are queued here or running
        self._more = True  # the table may hold jobs that are not known here
        self._wake = asyncio.Condition()
        self._frames = asyncio.Event()
        self._drafting = 0
        self._draft_at: dict[str, float] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._drafts: dict[str, views.Json] = {}  # the words of utterances still being spoken
        self.shedding = ""

    async def run(self) -> None:
        """Serve jobs, as many side by side as the engine can, and read frames."""
        self._frames.set()  # frames that an earlier run left unread
        async with asyncio.TaskGroup() as group:
            for _ in range(self._engine.capabilities.parallel):
                group.create_task(self._serve())
            if self._engine.capabilities.reads_frames:
                group.create_task(self._read_frames())

    async def utterance_ended(self, stream: str, utterance: int) -> None:
        """A note job was written to the table."""
        self._remember_ended(f"{stream}/{utterance}")
        await self.wake()

    def drafts(self) -> list[views.Json]:
        """The drafts that viewers see now."""
        return list(self._drafts.values())

    async def wake(self) -> None:
        """There may be jobs in the table."""
        self._more = True
        await self._call()

    async def _call(self) -> None:
        async with self._wake:
            self._wake.notify_all()

    async def speech_arrived(self, stream: str, utterance: int) -> None:
        """More of an open utterance is there: show its words, if there is time for it."""
        key, now = f"{stream}/{utterance}", time.monotonic()
        behind = self._dispatch.waiting("note") > 0
        if not self._notes.drafts or behind or now - self._draft_at.get(key, 0.0) < self._notes.draft_every_s:
            return
        self._draft_at[key] = now
        self._dispatch.offer(Job("draft", stream, utterance))
        async with self._wake:
            self._wake.notify()

    def frame_arrived(self) -> None:
        """A frame waits to be read."""
        self._frames.set()

    async def _serve(self) -> None:
        while True:
            job = await self._next()
            try:
                async with asyncio.timeout(self._limits.job_timeout_s):
                    await self._do(job)
            except (EngineError, TimeoutError) as exc:
                await self._failed(job, str(exc) or f"no result within {self._limits.job_timeout_s:.0f} s")
            except Exception as exc:
                logger.exception("job %s of %s/%d", job.kind, job.stream, job.seq)
                await self._failed(job, f"{type(exc).__name__}: {exc}")
            finally:
                self._known.discard(job.id)
                self._dispatch.done(job)
                await self._call()

    async def _next(self) -> Job:
        async with self._wake:
            while True:
                await self._refill()
                may_draft = self._drafting < max(1, self._engine.capabilities.parallel - 1)
                if (job := self._dispatch.next(drafts=may_draft)) is not None:
                    self._tell_load()
                    return job
                await self._wake.wait()

    async def _refill(self) -> None:
        if not self._more:
            return
        self._more = False
        queued = await asyncio.to_thread(self._jobs.queued, frozenset(self._known), _REFILL)
        for job in queued:
            if self._dispatch.offer(job):
                self._known.add(job.id)
            else:
                self._more = True
        self._tell_load()

    def _tell_load(self) -> None:
        waiting = self._dispatch.waiting("note")
        for kind in ("answer", "note", "draft", "summary"):
            self._metrics.waiting.labels(kind).set(self._dispatch.waiting(kind))
        now = shedding(waiting, self._limits.shed_summaries_at, self._limits.shed_frames_at)
        if now:
            self._metrics.shed.labels("summary").inc(self._dispatch.clear("summary"))
        if now != self.shedding:
            self.shedding = now
            self._frames.set()
            self._hub.publish("load", {"shedding": now})
            logger.info("%d notes wait; shedding %s", waiting, now or "nothing")

    async def _do(self, job: Job) -> None:
        match job.kind:
            case "note":
                await self._note(job)
            case "answer":
                await self._answer(job)
            case "draft":
                await self._draft(job)
            case "summary":
                await self._summarise(job)

    async def _note(self, job: Job) -> None:
        utterance = await asyncio.to_thread(self._jobs.utterance, job.stream, job.seq)
        if utterance is None:  # forgotten while it waited
            return
        try:
            audio = await asyncio.to_thread(self._decode_file, utterance.audio)
        except (soundfile.SoundFileError, OSError) as exc:
            await self._finish(job, utterance, Noted("failed", reason=f"the audio cannot be decoded: {exc}"))
            return
        noted = Noted("failed", reason="the engine gave no result")
        async with aclosing(self._engine.note(f"{job.stream}/{job.seq}", audio, final=True)) as pieces:
            async for piece in pieces:
                match piece:
                    case Draft(text):
                        self._publish_draft(utterance, text)
                    case Noted():
                        noted = piece
        await self._finish(job, utterance, noted)

    def _decode_file(self, name: str) -> Pcm:
        return decode(self._media.read(name))

    async def _finish(self, job: Job, utterance: Utterance, noted: Noted) -> None:
        line = _line(utterance, noted) if noted.outcome == "noted" else None
        took_ms = max(0, (time.time_ns() - utterance.received_at) // 1_000_000)
        outcome = Outcome(
            noted.outcome,
            noted.reason,
            noted.heard,
            self._engine.capabilities.name,
            took_ms,
            line,
            question=line is not None and bool(question_in(noted.heard, self._notes.wake_phrase)),
        )
        written = await asyncio.to_thread(self._jobs.finish, job, outcome)
        self._metrics.outcomes.labels(noted.outcome).inc()
        self._metrics.note_s.observe(took_ms / 1000)
        logger.info("utterance %s/%d: %s in %d ms", job.stream[:8], job.seq, noted.outcome, took_ms)
        self._ledgers.touch(job.stream, utterance.captured_at)
        self._draft_at.pop(f"{job.stream}/{job.seq}", None)
        self._drafts.pop(f"{job.stream}/{job.seq}", None)
        if written is None:
            ended = {"stream": job.stream, "utterance": job.seq, "outcome": noted.outcome}
            self._hub.publish("ended", ended)
            return
        line, topic = written
        self._hub.publish("line", {"topic": views.topic(topic), "line": views.line(line)})
        if self.shedding == "":
            self._dispatch.offer(Job("summary", topic.stream, topic.seq))
        await self.wake()

    async def _draft(self, job: Job) -> None:
        key = f"{job.stream}/{job.seq}"
        self._drafting += 1
        try:
            so_far = await asyncio.to_thread(self._ingest.audio_so_far, job.stream, job.seq)
            if not so_far.data or key in self._ended:
                return
            audio = await asyncio.to_thread(decode, so_far.data)
            async with aclosing(self._engine.note(key, audio, final=False)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Draft) and key not in self._ended:
                        self._tell_draft(_draft_view(job.stream, job.seq, so_far.captured_at, piece.text))
        except soundfile.SoundFileError:
            return  # what cannot be decoded yet is judged when the utterance is complete
        finally:
            self._drafting -= 1

    def _publish_draft(self, utterance: Utterance, text: str) -> None:
        moment = utterance.moment
        self._tell_draft(_draft_view(moment.stream, moment.utterance, utterance.captured_at, text))

    def _tell_draft(self, draft: views.Json) -> None:
        key = f"{draft['stream']}/{draft['utterance']}"
        if draft["text"] and self._drafts.get(key) != draft:
            self._drafts[key] = draft
            self._hub.publish("draft", draft)

    def _remember_ended(self, key: str) -> None:
        self._ended[key] = None
        while len(self._ended) > _ENDED:
            self._ended.popitem(last=False)

    async def _answer(self, job: Job) -> None:
        utterance = await asyncio.to_thread(self._jobs.utterance, job.stream, job.seq)
        if utterance is None:
            return
        begun, text = time.monotonic(), ""
        evidence: list[Line] = []
        question = question_in(utterance.heard, self._notes.wake_phrase)

        def tell(done: bool) -> None:
            view = views.answer(
                job.stream,
                job.seq,
                utterance.captured_at,
                question,
                text,
                [views.evidence(e, "") for e in evidence],
                done,
            )
            self._hub.publish("answer", view)

        async with aclosing(self.answer(question, before_ns=utterance.captured_at)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    text += piece
                    tell(done=False)
                else:
                    evidence = piece
        took_s = time.monotonic() - begun
        ids = tuple(line.id for line in evidence)
        await asyncio.to_thread(self._jobs.finish_answer, job, utterance.captured_at, question, text, ids, took_s)
        tell(done=True)

    async def answer(self, question: str, before_ns: int = 2**63 - 1) -> AsyncGenerator[str | list[Line]]:
        """Answer from what was captured before `before_ns`: pieces of text, then the lines that it stands on."""
        found = await asyncio.to_thread(self._library.candidates, content(question), CANDIDATES)
        lines = {
            line.id: line
            for line in found
            if line.captured_at < before_ns and not question_in(line.text, self._notes.wake_phrase)
        }
        passages = tuple(Passage(line.id, line.text, line.captured_at) for line in lines.values())
        async with aclosing(self._engine.answer(question, passages)) as pieces:
            async for piece in pieces:
                match piece:
                    case str():
                        yield piece
                    case Answered(evidence):
                        yield [lines[id_] for id_ in evidence]

    async def _summarise(self, job: Job) -> None:
        notes = await asyncio.to_thread(self._jobs.topic_texts, job.stream, job.seq)
        async with aclosing(self._engine.summarise(notes)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Summarised) and piece.title:
                    topic = await asyncio.to_thread(self._jobs.retitle, job.stream, job.seq, piece.title)
                    if topic is not None:
                        self._hub.publish("topic", views.topic(topic))

    async def _failed(self, job: Job, reason: str) -> None:
        self._metrics.failures.labels(job.kind).inc()
        logger.warning("%s of %s/%d failed: %s", job.kind, job.stream[:8], job.seq, reason)
        if not job.id:  # drafts and summaries are made again when there is more
            return
        if job.attempts + 1 < self._limits.job_attempts:
            await asyncio.to_thread(self._jobs.failed_attempt, job, reason)
            self._known.discard(job.id)
        elif job.kind == "note":
            utterance = await asyncio.to_thread(self._jobs.utterance, job.stream, job.seq)
            if utterance is not None:
                await self._finish(job, utterance, Noted("failed", reason=reason))
        else:
            await asyncio.to_thread(self._jobs.finish_answer, job, time.time_ns(), "", reason, (), 0.0)
        await self.wake()

    async def _read_frames(self) -> None:
        while True:
            await self._frames.wait()
            self._frames.clear()
            if self.shedding == "frames":
                continue
            unread, shed = await asyncio.to_thread(self._jobs.unread_frames, self._limits.read_frames)
            self._metrics.shed.labels("frame").inc(shed)
            if unread:
                await self._read(unread[0])
                self._frames.set()  # there may be more

    async def _read(self, frame: UnreadFrame) -> None:
        begun = time.monotonic()
        try:
            jpeg = await asyncio.to_thread(self._media.read, frame.image)
            seen = await self._engine.read(jpeg)
        except (EngineError, OSError) as exc:
            logger.warning("frame %s/%d cannot be read: %s", frame.stream[:8], frame.seq, exc)
            await asyncio.to_thread(self._jobs.frame_read, frame.stream, frame.seq, "failed", "", None)
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


def decode(data: bytes) -> Pcm:
    """An utterance's file as (n_samples,) int16 at 16 kHz. Raises SoundFileError."""
    pcm: Pcm
    pcm, _rate = soundfile.read(io.BytesIO(data), dtype="int16")
    return pcm


def question_in(text: str, wake_phrase: str) -> str:
    """The question behind the wake phrase at the beginning of `text`; "" if it does not begin with it.

    Recognisers waver on a short phrase, so each word may differ by one letter and end marks between do not count.
    """
    wake = re.findall(r"\w+", wake_phrase.casefold())
    words = list(re.finditer(r"\w+", text))
    if not wake or len(words) <= len(wake):
        return ""
    for word, expected in zip(words, wake, strict=False):
        if not _nearly(word.group().casefold(), expected):
            return ""
    return text[words[len(wake)].start() :].strip()


def _nearly(word: str, expected: str) -> bool:
    """Equal, or one letter changed, added or left out, the first letter apart."""
    if word == expected:
        return True
    if abs(len(word) - len(expected)) > 1 or len(expected) < 4 or word[:1] != expected[:1]:
        return False
    shorter, longer = sorted((word, expected), key=len)
    if len(shorter) == len(longer):
        return sum(a != b for a, b in zip(shorter, longer, strict=True)) == 1
    return any(longer[:at] + longer[at + 1 :] == shorter for at in range(len(longer)))


def _line(utterance: Utterance, noted: Noted) -> Line:
    moment = utterance.moment
    return Line(
        stream=moment.stream,
        seq=moment.utterance,
        kind="heard",
        captured_at=utterance.captured_at,
        end_at=utterance.ended_at,
        text=noted.note,
        heard=noted.heard,
        speaker=noted.speaker,
        todo=noted.todo,
        frame=moment.shown_frame,
        audio=True,
    )


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


def _draft_view(stream: str, utterance: int, captured_at: int, text: str) -> views.Json:
    return {"stream": stream, "utterance": utterance, "captured_at": views.iso(captured_at), "text": text}
