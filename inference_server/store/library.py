"""Reading back: a day's running notes, search, the ledger's spans, exports, media; and forgetting."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, delete, func, or_, select, text, tuple_, update

from agent.audio import SAMPLE_RATE
from inference_server.ledger import Span, day_bounds_ns, utterance_kind
from inference_server.moments import ExportedMoment
from inference_server.notes import Line, Topic, first_title
from inference_server.session import LONGEST
from inference_server.store.jobs import compact_index, index, line_of
from inference_server.store.media import Media
from inference_server.store.schema import (
    Database,
    answers,
    frames,
    jobs,
    lines,
    spans,
    streams,
    topics,
    utterances,
)

_NS_A_SAMPLE = 1_000_000_000 // SAMPLE_RATE
_MOST_WORDS = 500  # of a question; SQLite takes expressions of up to 1000 terms
_LONGEST_SPAN_NS = 7 * 86_400_000_000_000  # devices tell of a silence or a gap every few seconds
_TRIGRAM = 3  # shorter words cannot be looked up in a trigram index


@dataclass(frozen=True, slots=True)
class Device:
    """A stream and the device that it comes from."""

    stream: str
    device: str
    seen_at: int
    end_sample: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A spoken question and what was answered; `evidence` are line ids."""

    stream: str
    utterance: int
    captured_at: int
    question: str
    text: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a forgetting took: ids of the lines that went, and the topics that got a new heading for it."""

    lines: list[str]
    topics: list[Topic]


class Library:
    """Everything that is read from the store, and the one way to take something out of it."""

    def __init__(self, database: Database, media: Media, before_samples: int, after_samples: int) -> None:
        self._database = database
        self._media = media
        self._before, self._after = before_samples, after_samples

    def devices(self) -> list[Device]:
        """Every stream, the one heard from last first."""
        with self._database.read() as db:
            rows = db.execute(select(streams).order_by(streams.c.seen_at.desc()))
            return [Device(row.id, row.device, row.seen_at, row.end) for row in rows]

    def device_names(self) -> dict[str, str]:
        """The device of each stream."""
        return {device.stream: device.device for device in self.devices()}

    def days(self) -> list[str]:
        """UTC days that have lines, oldest first."""
        with self._database.read() as db:
            day = func.date(lines.c.captured_at // 1_000_000_000, "unixepoch").label("day")
            return [str(row.day) for row in db.execute(select(day).distinct().order_by("day")) if row.day]

    def topics(self, day: str, stream: str = "") -> list[Topic]:
        """A day's running notes of all streams, or of one. Raises ValueError on a bad day."""
        start, end = day_bounds_ns(day)
        wanted = and_(lines.c.captured_at >= start, lines.c.captured_at < end)
        if stream:
            wanted = and_(wanted, lines.c.stream == stream)
        with self._database.read() as db:
            rows = db.execute(select(lines).where(wanted).order_by(lines.c.captured_at, lines.c.seq)).all()
            headings = self._headings(db, {(row.stream, row.topic) for row in rows})
        found = sorted((line_of(row) for row in rows), key=lambda line: (line.stream, line.topic, line.captured_at))
        days_topics = []
        for key, group in groupby(found, key=lambda line: (line.stream, line.topic)):
            head, members = headings[key], tuple(group)
            days_topics.append(Topic(head.stream, head.seq, head.title, head.started_at, head.device, members))
        return sorted(days_topics, key=lambda topic: topic.lines[0].captured_at)

    def _headings(self, db: Connection, keys: set[tuple[str, int]]) -> dict[tuple[str, int], Topic]:
        rows = db.execute(
            select(topics, streams.c.device)
            .join(streams, streams.c.id == topics.c.stream)
            .where(tuple_(topics.c.stream, topics.c.seq).in_(keys))
        )
        return {(r.stream, r.seq): Topic(r.stream, r.seq, r.title, r.started_at, r.device) for r in rows}

    def line(self, stream: str, seq: int) -> Line | None:
        """One line; None if there is none."""
        with self._database.read() as db:
            row = db.execute(select(lines).where(lines.c.stream == stream, lines.c.seq == seq)).one_or_none()
        return None if row is None else line_of(row)

    def heading(self, stream: str, seq: int) -> Topic:
        """A topic without its lines. Raises KeyError if there is none."""
        with self._database.read() as db:
            return self._headings(db, {(stream, seq)})[stream, seq]

    def search(self, query: str, limit: int) -> list[Line]:
        """Lines that hold every word of `query`, newest first."""
        return self._matching(query.replace("\0", " ").split(), "AND", "lines.captured_at DESC", limit)

    def candidates(self, stems: Sequence[str], limit: int) -> list[Line]:
        """Lines that hold a form of any of these stems, those with the rarest first."""
        words = [stem[:-1] if stem.endswith("y") and len(stem) > _TRIGRAM else stem for stem in stems]  # cities, city
        return self._matching(list(dict.fromkeys(words))[:_MOST_WORDS], "OR", "bm25(search)", limit)

    def _matching(self, words: list[str], joint: str, order: str, limit: int) -> list[Line]:
        """Long words by the trigram index; short ones by reading through, if there is no long one to start from."""
        terms = ['"' + word.replace('"', '""') + '"' for word in words if len(word) >= _TRIGRAM]
        short = [word for word in words if len(word) < _TRIGRAM]
        parameters: dict[str, str | int] = {"limit": limit, "query": f" {joint} ".join(terms)}
        where = ["search MATCH :query"] if terms else []
        if short and (joint == "AND" or not terms):
            like = [f"body LIKE :short{n} ESCAPE '!'" for n in range(len(short))]
            where.append("(" + f" {joint} ".join(like) + ")")
            parameters |= {f"short{n}": f"%{_like(word)}%" for n, word in enumerate(short)}
        if not where:
            return []
        statement = text(
            "SELECT lines.* FROM search JOIN lines ON lines.stream = search.stream AND lines.seq = search.seq "
            f"WHERE {' AND '.join(where)} ORDER BY {order if terms else 'lines.captured_at DESC'} LIMIT :limit"
        )
        with self._database.read() as db:
            return [line_of(row) for row in db.execute(statement, parameters)]

    def answers(self, day: str) -> list[Answer]:
        """Spoken questions of a day with their answers."""
        start, end = day_bounds_ns(day)
        with self._database.read() as db:
            rows = db.execute(
                select(answers)
                .where(answers.c.captured_at >= start, answers.c.captured_at < end)
                .order_by(answers.c.captured_at)
            )
            return [
                Answer(r.stream, r.utterance, r.captured_at, r.question, r.text, tuple(r.evidence.split()))
                for r in rows
            ]

    def spans(self, stream: str, day: str | None = None) -> list[Span]:
        """What is known of a stream's time, for the ledger; of one UTC day with its neighbours, or of all time."""
        found = []
        with self._database.read() as db:
            stretch = select(spans).where(spans.c.stream == stream)
            speech = select(utterances).where(utterances.c.stream == stream)
            if day is not None:
                start, end = day_bounds_ns(day)
                ends_at = spans.c.captured_at + spans.c.n_samples * _NS_A_SAMPLE
                stretch = stretch.where(spans.c.captured_at.between(start - _LONGEST_SPAN_NS, end), ends_at > start)
                slack = LONGEST * _NS_A_SAMPLE
                speech = speech.where(utterances.c.captured_at.between(start - slack, end))
            for row in db.execute(stretch):
                end_sample = row.first_sample + row.n_samples
                found.append(Span(row.first_sample, end_sample, row.captured_at, row.kind, row.reason))
            audio_end = db.execute(select(streams.c.audio_end).where(streams.c.id == stream)).scalar_one_or_none()
            for row in db.execute(speech):
                kind, reason = utterance_kind(row.outcome, row.outcome_reason)
                end_sample = row.end_sample if row.end_sample is not None else (audio_end or row.first_sample)
                found.append(Span(row.first_sample, end_sample, row.captured_at, kind, reason))
        return found

    def moments(self, day: str | None = None, stream: str = "") -> Iterator[ExportedMoment]:
        """Every finished utterance in capture order, read in portions so that a year fits in memory."""
        last: tuple[int, str, int] = (0, "", 0)
        while rows := self._moment_rows(last, day, stream):
            yield from (self._exported(row) for row in rows)
            last = (rows[-1].captured_at, rows[-1].stream, rows[-1].utterance)

    def _moment_rows(self, after: tuple[int, str, int], day: str | None, stream: str) -> Sequence[Row[Any]]:
        u = utterances.c
        wanted = select(utterances, lines.c.text.label("note")).outerjoin(
            lines, and_(lines.c.stream == u.stream, lines.c.seq == u.utterance)
        )
        wanted = wanted.where(u.outcome != "", tuple_(u.captured_at, u.stream, u.utterance) > after)
        if day is not None:
            start, end = day_bounds_ns(day)
            wanted = wanted.where(u.captured_at >= start, u.captured_at < end)
        if stream:
            wanted = wanted.where(u.stream == stream)
        with self._database.read() as db:
            return db.execute(wanted.order_by(u.captured_at, u.stream, u.utterance).limit(500)).all()

    def _exported(self, row: Row[Any]) -> ExportedMoment:
        with self._database.read() as db:
            around = db.execute(
                select(frames.c.image, frames.c.seen)
                .where(
                    frames.c.stream == row.stream,
                    frames.c.sample.between(row.first_sample - self._before, row.end_sample + self._after),
                )
                .order_by(frames.c.sample)
            ).all()
        seen = dict.fromkeys(line for frame in around for line in frame.seen.split("\n") if line)
        return ExportedMoment(
            stream=row.stream,
            utterance=row.utterance,
            captured_at=row.captured_at,
            first_sample=row.first_sample,
            end_sample=row.end_sample,
            outcome=row.outcome,
            outcome_reason=row.outcome_reason,
            heard=row.heard,
            note=row.note or "",
            seen=tuple(seen),
            frames=tuple(f"media/{frame.image}" for frame in around),
            audio=f"media/{row.audio}" if row.audio else "",
            engine=row.engine,
            latency_ms=row.latency_ms,
        )

    def clip(self, stream: str, utterance: int) -> Path | None:
        """The file of an utterance's audio; None if there is none."""
        return self._file(
            select(utterances.c.audio).where(utterances.c.stream == stream, utterances.c.utterance == utterance)
        )

    def frame(self, stream: str, seq: int) -> Path | None:
        """The file of a frame; None if there is none."""
        return self._file(select(frames.c.image).where(frames.c.stream == stream, frames.c.seq == seq))

    def _file(self, query: Select[Any]) -> Path | None:
        with self._database.read() as db:
            name = db.execute(query).scalar_one_or_none()
        return None if name is None else self._media.path(name)

    def correct(self, stream: str, seq: int, corrected: str) -> Line | None:
        """Replace a note's text by a person's; the recognised words stay as they are. None if there is no such line."""
        with self._database.write() as db:
            changed = db.execute(
                update(lines).where(lines.c.stream == stream, lines.c.seq == seq).values(text=corrected, corrected=1)
            )
            if changed.rowcount == 0:
                return None
            row = db.execute(select(lines).where(lines.c.stream == stream, lines.c.seq == seq)).one()
            index(db, stream, seq, f"{corrected}\n{row.heard}")
        return line_of(row)

    def forget(self, stream: str, seq: int) -> Forgotten | None:
        """Remove a line with its clip, its frames, their text and the answers that quote it.

        The time stays in the ledger as a gap. None if there is no such line. Raises OSError if a file cannot be
        removed; then the line stays, to be forgotten again.
        """
        with self._database.write() as db:
            line = db.execute(select(lines).where(lines.c.stream == stream, lines.c.seq == seq)).one_or_none()
            if line is None:
                return None
            clip = self._forget_speech(db, stream, seq)
            images = self._forget_frames(db, stream, seq)
            went = and_(lines.c.stream == stream, lines.c.seq.in_([seq, *images]))
            rows = db.execute(select(lines.c.seq, lines.c.topic).where(went).order_by(lines.c.captured_at)).all()
            db.execute(delete(lines).where(went))
            db.execute(update(lines).where(lines.c.stream == stream, lines.c.frame.in_([*images])).values(frame=None))
            for gone in {seq, *images}:
                db.execute(
                    delete(answers).where(
                        or_(
                            and_(answers.c.stream == stream, answers.c.utterance == gone),
                            (" " + answers.c.evidence + " ").contains(f" {stream}/{gone} "),
                        )
                    )
                )
                index(db, stream, gone, "")
            compact_index(db)
            topics_left = {row.topic for row in rows if self._retitle_forgotten(db, stream, row.topic)}
            headings = self._headings(db, {(stream, topic) for topic in topics_left})
            for name in filter(None, (clip, *images.values())):
                self._media.remove(name)
        self._database.scrub()
        return Forgotten([f"{stream}/{row.seq}" for row in rows], list(headings.values()))

    def _forget_speech(self, db: Connection, stream: str, seq: int) -> str | None:
        here = and_(utterances.c.stream == stream, utterances.c.utterance == seq)
        name = db.execute(select(utterances.c.audio).where(here)).scalar_one_or_none()
        db.execute(update(utterances).where(here).values(audio=None, heard="", outcome="forgotten", outcome_reason=""))
        db.execute(delete(jobs).where(jobs.c.stream == stream, jobs.c.utterance == seq))
        return name

    def _forget_frames(self, db: Connection, stream: str, seq: int) -> dict[int, str]:
        """The frames around the utterance or frame of that number, by stream position: clocks may step."""
        spoken = select(utterances.c.first_sample.label("first"), utterances.c.end_sample.label("last")).where(
            utterances.c.stream == stream, utterances.c.utterance == seq
        )
        seen = select(frames.c.sample.label("first"), frames.c.sample.label("last")).where(
            frames.c.stream == stream, frames.c.seq == seq
        )
        span = db.execute(spoken.union_all(seen)).one()
        around = frames.c.sample.between(span.first - self._before, span.last + self._after)
        gone = and_(frames.c.stream == stream, around)
        found = {row.seq: row.image for row in db.execute(select(frames.c.seq, frames.c.image).where(gone))}
        db.execute(delete(frames).where(gone))
        return found

    def _retitle_forgotten(self, db: Connection, stream: str, topic: int) -> bool:
        """A heading may have quoted what is gone: begin it anew from the first line that is left. False if none is."""
        here = and_(topics.c.stream == stream, topics.c.seq == topic)
        first = db.execute(
            select(lines.c.text)
            .where(lines.c.stream == stream, lines.c.topic == topic)
            .order_by(lines.c.captured_at)
            .limit(1)
        ).scalar_one_or_none()
        if first is None:
            db.execute(delete(topics).where(here))
        else:
            db.execute(update(topics).where(here).values(title=first_title(first)))
        return first is not None


def _like(word: str) -> str:
    """`word` as it stands inside a LIKE pattern."""
    return word.replace("!", "!!").replace("%", "!%").replace("_", "!_")
