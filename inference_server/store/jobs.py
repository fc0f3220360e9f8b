"""Work and its outcomes: what is queued, and what came of it. Every outcome is one transaction."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, delete, func, insert, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert

from inference_server.dispatch import Job
from inference_server.moments import Moment, SeenFrame, frame_span
from inference_server.notes import Line, Topic, begins_topic, first_title
from inference_server.store.schema import (
    Database,
    answers,
    frames,
    jobs,
    lines,
    streams,
    topics,
    utterances,
)

_TOPIC_TEXTS = 200  # notes that a heading is made from
_TOPIC_TAIL = 12  # lines of the current topic that decide whether it goes on


@dataclass(frozen=True, slots=True)
class TopicRule:
    """When a new topic begins, in seconds of pause."""

    pause_s: float
    shift_pause_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an utterance. `line` only when it is noted; its topic is settled here."""

    outcome: str
    reason: str
    heard: str
    engine: str
    latency_ms: int
    line: Line | None = None
    question: bool = False


@dataclass(frozen=True, slots=True)
class Utterance:
    """An utterance as a job needs it; `audio` names its file."""

    moment: Moment
    captured_at: int
    ended_at: int
    received_at: int
    audio: str
    heard: str
    spoken: int  # samples from its start behind which nothing is said


@dataclass(frozen=True, slots=True)
class UnreadFrame:
    """A frame that waits to be read."""

    stream: str
    seq: int
    image: str
    captured_at: int


class JobGone(Exception):
    """The job has its outcome already, or its utterance was forgotten."""


class Jobs:
    """The jobs table and everything that finishing a job writes."""

    def __init__(self, database: Database, topic_rule: TopicRule, before_s: float, after_s: float) -> None:
        self._database = database
        self._rule = topic_rule
        self._around = (before_s, after_s)

    def queued(self, without: Collection[int], limit: int) -> list[Job]:
        """Jobs without an outcome that are not among `without`: of each stream and kind the oldest `limit`.

        So a device that comes back with a day's backlog does not stand before everyone else.
        """
        place = func.row_number().over(partition_by=(jobs.c.kind, jobs.c.stream), order_by=jobs.c.id).label("place")
        waiting = select(jobs, place).where(jobs.c.id.not_in(without)).subquery()
        with self._database.read() as db:
            rows = db.execute(select(waiting).where(waiting.c.place <= limit).order_by(waiting.c.id))
            return [Job(row.kind, row.stream, row.utterance, row.id, row.attempts) for row in rows]

    def utterance(self, stream: str, utterance: int) -> Utterance | None:
        """The utterance and its frames; None if it was forgotten."""
        with self._database.read() as db:
            row = db.execute(
                select(utterances).where(utterances.c.stream == stream, utterances.c.utterance == utterance)
            ).one_or_none()
            if row is None or row.audio is None:
                return None
            start, end = frame_span(row.first_sample, row.end_sample, *self._around)
            around = db.execute(
                select(frames.c.seq, frames.c.sample, frames.c.seen)
                .where(frames.c.stream == stream, frames.c.sample.between(start, end))
                .order_by(frames.c.sample)
            )
            seen = tuple(SeenFrame(frame.seq, frame.sample, frame.seen) for frame in around)
        moment = Moment(stream, utterance, row.first_sample, row.end_sample, seen)
        return Utterance(
            moment,
            row.captured_at,
            row.ended_at,
            row.received_at,
            row.audio,
            row.heard,
            row.end_sample - row.first_sample - row.silent,
        )

    def finish(self, job: Job, outcome: Outcome) -> tuple[Line, Topic] | None:
        """Write a note job's outcome, once; returns the line with its topic if it was noted. Raises JobGone."""
        with self._database.write() as db:
            if not _end(db, job):
                raise JobGone
            db.execute(
                update(utterances)
                .where(utterances.c.stream == job.stream, utterances.c.utterance == job.seq)
                .values(
                    outcome=outcome.outcome,
                    outcome_reason=outcome.reason,
                    heard=outcome.heard,
                    engine=outcome.engine,
                    latency_ms=outcome.latency_ms,
                )
            )
            if outcome.line is None:
                return None
            if outcome.question:
                db.execute(insert(jobs).values(kind="answer", stream=job.stream, utterance=job.seq))
            return self._add_line(db, outcome.line, f"{outcome.line.text}\n{outcome.heard}")

    def failed_attempt(self, job: Job, error: str) -> None:
        """Count an attempt that failed; the job stays queued."""
        with self._database.write() as db:
            db.execute(update(jobs).where(jobs.c.id == job.id).values(attempts=jobs.c.attempts + 1, error=error[:500]))

    def finish_answer(
        self, job: Job, captured_at: int, question: str, answer: str, evidence: tuple[str, ...], took_s: float
    ) -> bool:
        """Write the answer to a spoken question. False, and nothing is written, if the question or a line of the
        evidence was forgotten meanwhile; with the question its job has ended, else it is to be answered anew."""
        with self._database.write() as db:
            if not all(_exists(db, id_) for id_ in evidence) or not _end(db, job):
                return False
            values = {
                "captured_at": captured_at,
                "question": question,
                "text": answer,
                "evidence": " ".join(evidence),
                "answered": int(bool(evidence)),
                "took_s": took_s,
            }
            db.execute(
                upsert(answers)
                .values(stream=job.stream, utterance=job.seq, **values)
                .on_conflict_do_update(index_elements=["stream", "utterance"], set_=values)
            )
            return True

    def unread_frames(self, limit: int) -> tuple[list[UnreadFrame], int]:
        """The newest `limit` frames that wait to be read, oldest first, and how many older ones were shed for them."""
        waiting = select(frames).where(frames.c.reading == "pending").order_by(frames.c.captured_at.desc())
        with self._database.read() as db:
            rows = db.execute(waiting.limit(limit + 1)).all()
        shed = 0
        if len(rows) > limit:
            with self._database.write() as db:
                oldest_kept = rows[limit - 1].captured_at
                shed = db.execute(
                    update(frames)
                    .where(frames.c.reading == "pending", frames.c.captured_at < oldest_kept)
                    .values(reading="shed")
                ).rowcount
        found = [UnreadFrame(row.stream, row.seq, row.image, row.captured_at) for row in rows[:limit]]
        return found[::-1], shed

    def recently_seen(self, stream: str, since_ns: int, until_ns: int) -> list[str]:
        """Lines of text in frames read so far that were captured in [since, until)."""
        with self._database.read() as db:
            rows = db.execute(
                select(frames.c.seen).where(
                    frames.c.stream == stream,
                    frames.c.captured_at >= since_ns,
                    frames.c.captured_at < until_ns,
                    frames.c.seen != "",
                )
            )
            return [line for row in rows for line in row.seen.split("\n")]

    def frame_read(
        self, stream: str, seq: int, reading: str, seen: str, line: Line | None
    ) -> tuple[Line, Topic] | None:
        """Write what was read in a frame; returns the line with its topic if there was something new."""
        with self._database.write() as db:
            written = db.execute(
                update(frames).where(frames.c.stream == stream, frames.c.seq == seq).values(reading=reading, seen=seen)
            )
            if line is None or written.rowcount == 0:
                return None
            return self._add_line(db, line, line.text)

    def retitle(self, stream: str, seq: int, title: str, notes: tuple[str, ...]) -> Topic | None:
        """Give a topic a better heading, made from `notes`; None if nothing changed, or they were not all kept."""
        with self._database.write() as db:
            kept = db.execute(_texts(stream, seq)).scalars().all()
            if not set(notes) <= set(kept):
                return None
            changed = db.execute(
                update(topics)
                .where(and_(topics.c.stream == stream, topics.c.seq == seq, topics.c.title != title))
                .values(title=title)
            )
            return _topic(db, stream, seq) if changed.rowcount else None

    def topic_texts(self, stream: str, seq: int) -> tuple[str, ...]:
        """The notes of a topic, oldest first."""
        with self._database.read() as db:
            return tuple(db.execute(_texts(stream, seq)).scalars())

    def _add_line(self, db: Connection, line: Line, searched: str) -> tuple[Line, Topic]:
        seq = self._topic_of(db, line)
        if seq == line.seq:
            first = {"title": first_title(line.text), "started_at": line.captured_at}
            db.execute(upsert(topics).values(stream=line.stream, seq=seq, **first).on_conflict_do_nothing())
        values = {
            "kind": line.kind,
            "topic": seq,
            "captured_at": line.captured_at,
            "end_at": line.end_at,
            "text": line.text,
            "heard": line.heard,
            "speaker": line.speaker,
            "todo": int(line.todo),
            "frame": line.frame,
        }
        db.execute(
            upsert(lines)
            .values(stream=line.stream, seq=line.seq, **values)
            .on_conflict_do_update(index_elements=["stream", "seq"], set_=values)
        )
        index(db, line.stream, line.seq, searched)
        row = db.execute(select(lines).where(lines.c.stream == line.stream, lines.c.seq == line.seq)).one()
        return line_of(row), _topic(db, line.stream, seq)

    def _topic_of(self, db: Connection, line: Line) -> int:
        before = db.execute(
            select(lines.c.topic)
            .where(
                lines.c.stream == line.stream,
                lines.c.captured_at <= line.captured_at,
                lines.c.seq != line.seq,
            )
            .order_by(lines.c.captured_at.desc())
            .limit(1)
        ).scalar_one_or_none()
        if before is None:
            return line.seq
        tail = db.execute(
            select(lines)
            .where(lines.c.stream == line.stream, lines.c.topic == before)
            .order_by(lines.c.captured_at.desc())
            .limit(_TOPIC_TAIL)
        ).all()
        current = [line_of(row) for row in reversed(tail)]
        new = begins_topic(line, current, self._rule.pause_s, self._rule.shift_pause_s)
        return line.seq if new else int(before)


def _texts(stream: str, seq: int) -> Select[Any]:
    return (
        select(lines.c.text)
        .where(lines.c.stream == stream, lines.c.topic == seq, lines.c.kind == "heard")
        .order_by(lines.c.captured_at)
        .limit(_TOPIC_TEXTS)
    )


def _end(db: Connection, job: Job) -> bool:
    """Take the job from the table; False if it is there no more: it has ended, or was forgotten."""
    return db.execute(delete(jobs).where(jobs.c.id == job.id)).rowcount > 0


def _exists(db: Connection, line_id: str) -> bool:
    stream, _, seq = line_id.partition("/")
    here = select(lines.c.seq).where(lines.c.stream == stream, lines.c.seq == int(seq))
    return db.execute(here).first() is not None


def index(db: Connection, stream: str, seq: int, body: str) -> None:
    """Make a line findable by `body`, in place of what it was found by before; an empty body removes it."""
    db.execute(text("DELETE FROM search WHERE stream = :stream AND seq = :seq"), {"stream": stream, "seq": seq})
    if body:
        values = {"stream": stream, "seq": seq, "body": body}
        db.execute(text("INSERT INTO search (stream, seq, body) VALUES (:stream, :seq, :body)"), values)


def compact_index(db: Connection) -> None:
    """Rewrite the search index without what was removed from it; until then it only passes over it."""
    db.execute(text("INSERT INTO search (search) VALUES ('optimize')"))


def line_of(row: "object") -> Line:
    """A row of `lines` as the core's Line."""
    r = row._mapping  # type: ignore[attr-defined]
    return Line(
        stream=r["stream"],
        seq=r["seq"],
        kind=r["kind"],
        captured_at=r["captured_at"],
        end_at=r["end_at"],
        text=r["text"],
        heard=r["heard"],
        speaker=r["speaker"],
        todo=bool(r["todo"]),
        frame=r["frame"],
        topic=r["topic"],
        audio=r["kind"] == "heard",
    )


def _topic(db: Connection, stream: str, seq: int) -> Topic:
    row = db.execute(
        select(topics, streams.c.device)
        .join(streams, streams.c.id == topics.c.stream)
        .where(topics.c.stream == stream, topics.c.seq == seq)
    ).one()
    return Topic(row.stream, row.seq, row.title, row.started_at, row.device)
