"""Jobs through the engine: the only caller of it. job -> engine -> store -> hub.

Speech goes first: answers, then notes, then the words of utterances still being spoken, then headings.
"""

import asyncio
import io
import logging
import time
from contextlib import aclosing

import soundfile
from sqlalchemy.exc import DatabaseError, OperationalError

from agent.audio import Pcm
from inference_server import views
from inference_server.answering import Answering
from inference_server.config import Limits, Notes
from inference_server.dispatch import Dispatch, Job, shedding
from inference_server.drafts import Drafts
from inference_server.engines.base import Draft, Engine, EngineError, Noted, Summarised
from inference_server.hub import Hub
from inference_server.ledgers import Ledgers
from inference_server.metrics import Metrics
from inference_server.notes import Line
from inference_server.reading import Reading
from inference_server.store.ingest import Ingest
from inference_server.store.jobs import JobGone, Jobs, Outcome, Utterance
from inference_server.store.media import Media

logger = logging.getLogger(__name__)
_REFILL = 32  # jobs of a stream taken from the table at a time


class Worker:
    """Runs until cancelled. `wake` and the `*_arrived` methods are called on the event loop's thread."""

    def __init__(
        self,
        engine: Engine,
        jobs: Jobs,
        ingest: Ingest,
        media: Media,
        answering: Answering,
        reading: Reading,
        hub: Hub,
        ledgers: Ledgers,
        metrics: Metrics,
        notes: Notes,
        limits: Limits,
    ) -> None:
        self._engine, self._jobs, self._ingest = engine, jobs, ingest
        self._media, self._answering, self._reading, self._hub, self._metrics = media, answering, reading, hub, metrics
        self._ledgers = ledgers
        self._notes, self._limits = notes, limits
        self._dispatch = Dispatch(_REFILL, limits.answers, limits.summaries)
        self._known: set[int] = set()  # durable jobs that are queued here or running
        self._more = True  # the table may hold jobs that are not known here
        self._refilling = asyncio.Lock()
        self._wake = asyncio.Condition()
        self._drafting = 0
        self._drafts = Drafts(notes.draft_every_s)
        self.shedding = ""

    async def run(self) -> None:
        """Serve jobs, as many side by side as the engine can."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._engine.capabilities.parallel):
                group.create_task(self._serve())

    async def utterance_ended(self, stream: str, utterance: int) -> None:
        """A note job was written to the table."""
        self._drafts.end(f"{stream}/{utterance}")
        await self.wake()

    def drafts(self) -> list[views.Json]:
        """The drafts that viewers see now."""
        return self._drafts.shown

    async def wake(self) -> None:
        """There may be jobs in the table."""
        self._more = True
        await self._call()

    async def _call(self) -> None:
        async with self._wake:
            self._wake.notify_all()

    async def speech_arrived(self, stream: str, utterance: int, pause: bool = False) -> None:
        """More of an open utterance is there: show its words, if there is time for it.

        `pause`: it may have ended. Then its words are recognised ahead of its end, and the note is there with it.
        """
        if not self._notes.drafts or self._dispatch.waiting("note"):
            return
        if not self._drafts.due(f"{stream}/{utterance}", time.monotonic(), pause):
            return
        self._dispatch.offer(Job("ahead" if pause else "draft", stream, utterance))
        async with self._wake:
            self._wake.notify()

    async def _serve(self) -> None:
        while True:
            try:
                await self._serve_one()
            except DatabaseError as exc:  # no job's fault: what has no outcome stays in the table and is done later
                logger.error("the store fails (is its disk full?): %s", exc.orig)
                await asyncio.sleep(self._limits.store_retry_s)
                self._more = True

    async def _serve_one(self) -> None:
        job = await self._next()
        try:
            async with asyncio.timeout(self._limits.job_timeout_s):
                await self._do(job)
        except (EngineError, TimeoutError) as exc:
            await self._failed(job, str(exc) or f"no result within {self._limits.job_timeout_s:.0f} s")
        except OperationalError:
            raise
        except Exception as exc:
            logger.exception("job %s of %s/%d", job.kind, job.stream, job.seq)
            await self._failed(job, f"{type(exc).__name__}: {exc}")
        finally:
            self._known.discard(job.id)
            self._dispatch.done(job)
            self._more |= job.id != 0  # its stream has room for another
            await self._call()

    async def _next(self) -> Job:
        while True:
            await self._refill()
            async with self._wake:
                may_draft = self._drafting < max(1, self._engine.capabilities.parallel - 1)
                if (job := self._dispatch.next(drafts=may_draft)) is not None:
                    self._tell_load()
                    return job
                if not self._more:
                    await self._wake.wait()

    async def _refill(self) -> None:
        async with self._refilling:
            if not self._more:
                return
            self._more = False
            for job in await asyncio.to_thread(self._jobs.queued, frozenset(self._known), _REFILL):
                if self._dispatch.offer(job):
                    self._known.add(job.id)
        self._tell_load()
        await self._call()

    def _tell_load(self) -> None:
        waiting = self._dispatch.waiting("note")
        for kind in ("answer", "note", "ahead", "draft", "summary"):
            self._metrics.waiting.labels(kind).set(self._dispatch.waiting(kind))
        now = shedding(waiting, self._limits.shed_summaries_at, self._limits.shed_frames_at)
        if now:
            self._metrics.shed.labels("summary").inc(self._dispatch.clear("summary"))
        if now != self.shedding:
            self.shedding = now
            self._reading.hold(now == "frames")
            self._hub.publish("load", {"shedding": now})
            logger.info("%d notes wait; shedding %s", waiting, now or "nothing")

    async def _do(self, job: Job) -> None:
        match job.kind:
            case "note":
                await self._note(job)
            case "answer":
                await self._answer(job)
            case "draft" | "ahead":
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
        async with aclosing(self._engine.note(audio, utterance.spoken)) as pieces:
            async for piece in pieces:
                match piece:
                    case Draft(text):
                        self._tell_draft(job.stream, job.seq, utterance.captured_at, text, noting=True)
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
            question=line is not None and bool(self._answering.question_in(noted.heard)),
        )
        try:
            written = await asyncio.to_thread(self._jobs.finish, job, outcome)
        except JobGone:  # forgotten, or done already
            return
        self._metrics.outcomes.labels(noted.outcome).inc()
        self._metrics.note_s.observe(took_ms / 1000)
        logger.info("utterance %s/%d: %s in %d ms", job.stream[:8], job.seq, noted.outcome, took_ms)
        self._ledgers.touch(job.stream, utterance.captured_at)
        self._drafts.forget(f"{job.stream}/{job.seq}")
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
        begun = time.monotonic()
        self._drafting += job.kind == "draft"
        try:
            so_far = await asyncio.to_thread(self._ingest.audio_so_far, job.stream, job.seq)
            if not so_far.data:
                return
            audio = await asyncio.to_thread(decode, so_far.data)
            async with aclosing(self._engine.note(audio, None)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Draft):
                        self._tell_draft(job.stream, job.seq, so_far.captured_at, piece.text)
        except soundfile.SoundFileError:
            return  # what cannot be decoded yet is judged when the utterance is complete
        finally:
            self._drafting -= job.kind == "draft"
            self._drafts.made(begun, time.monotonic())

    def _tell_draft(self, stream: str, utterance: int, captured_at: int, text: str, noting: bool = False) -> None:
        draft = {"stream": stream, "utterance": utterance, "captured_at": views.iso(captured_at), "text": text}
        if self._drafts.show(f"{stream}/{utterance}", draft, noting):
            self._hub.publish("draft", draft)

    async def _answer(self, job: Job) -> None:
        utterance = await asyncio.to_thread(self._jobs.utterance, job.stream, job.seq)
        if utterance is None:
            return
        begun, text = time.monotonic(), ""
        lines: list[Line] = []
        evidence: list[views.Json] = []
        question = self._answering.question_in(utterance.heard)

        def tell(done: bool) -> None:
            view = views.answer(job.stream, job.seq, utterance.captured_at, question, text, evidence, done)
            self._hub.publish("answer", view)

        async with aclosing(self._answering.answer(question, before_ns=utterance.captured_at)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    text += piece
                    tell(done=False)
                else:
                    lines, evidence = piece, await self._answering.evidence(piece)
        took_s = time.monotonic() - begun
        ids = tuple(line.id for line in lines)
        finish = self._jobs.finish_answer
        if await asyncio.to_thread(finish, job, utterance.captured_at, question, text, ids, took_s):
            tell(done=True)
        else:  # it quotes what was forgotten meanwhile
            self._hub.forget()
            await self.wake()

    async def _summarise(self, job: Job) -> None:
        notes = await asyncio.to_thread(self._jobs.topic_texts, job.stream, job.seq)
        async with aclosing(self._engine.summarise(notes)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Summarised) and piece.title:
                    topic = await asyncio.to_thread(self._jobs.retitle, job.stream, job.seq, piece.title, notes)
                    if topic is not None:
                        self._hub.publish("topic", views.topic(topic))

    async def _failed(self, job: Job, reason: str) -> None:
        self._metrics.failures.labels(job.kind).inc()
        logger.warning("%s of %s/%d failed: %s", job.kind, job.stream[:8], job.seq, reason)
        if not job.id:  # drafts and summaries are made again when there is more
            return
        if job.attempts + 1 < self._limits.job_attempts:
            await asyncio.to_thread(self._jobs.failed_attempt, job, reason)
        elif job.kind == "note":
            utterance = await asyncio.to_thread(self._jobs.utterance, job.stream, job.seq)
            if utterance is not None:
                await self._finish(job, utterance, Noted("failed", reason=reason))
        else:
            await self._unanswered(job, reason)
        await self.wake()

    async def _unanswered(self, job: Job, reason: str) -> None:
        utterance = await asyncio.to_thread(self._jobs.utterance, job.stream, job.seq)
        if utterance is None:
            return
        question, text = self._answering.question_in(utterance.heard), f"No answer could be made: {reason}"
        at = utterance.captured_at
        if await asyncio.to_thread(self._jobs.finish_answer, job, at, question, text, (), 0.0):
            self._hub.publish("answer", views.answer(job.stream, job.seq, at, question, text, [], True))


def decode(data: bytes) -> Pcm:
    """An utterance's file as (n_samples,) int16 at 16 kHz. Raises SoundFileError."""
    pcm: Pcm
    pcm, _rate = soundfile.read(io.BytesIO(data), dtype="int16")
    return pcm


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
