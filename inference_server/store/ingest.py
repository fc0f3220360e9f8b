"""Records into the store: durable when `store` returns, so that the gateway may acknowledge them."""

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from agent.audio import SAMPLE_RATE, Pcm
from agent.protocol import Audio, Frame, Gap, Hello, Record, Silence, UtteranceEnd, UtteranceStart, unpack
from inference_server import ogg
from inference_server.session import Session
from inference_server.store.media import Media
from inference_server.store.schema import Database, frames, jobs, packets, spans, streams, utterances

_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True)
class Stored:
    """What a batch of records brought about."""

    utterances_ended: tuple[int, ...] = ()
    frames: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SoFar:
    """An open utterance: when it began, and what there is of it as a playable file."""

    captured_at: int
    data: bytes


class Superseded(Exception):
    """The stream went on over another connection; this one's records are not the next ones any more."""


class Ingest:
    """The only writer of records."""

    def __init__(self, database: Database, media: Media) -> None:
        self._database = database
        self._media = media

    def greet(self, hello: Hello) -> Session:
        """Begin or go on with a stream; returns where it stands."""
        now = time.time_ns()
        with self._database.write() as db:
            db.execute(
                upsert(streams)
                .values(
                    id=hello.stream,
                    device=hello.device,
                    created_at=now,
                    seen_at=now,
                    have_seq=0,
                    open_utterance=0,
                    audio_end=0,
                    end=0,
                )
                .on_conflict_do_update(index_elements=["id"], set_={"device": hello.device, "seen_at": now})
            )
            row = db.execute(select(streams).where(streams.c.id == hello.stream)).one()
        return Session(row.have_seq, row.open_utterance, row.audio_end, row.end)

    def store(self, stream: str, session: Session, records: Sequence[tuple[Record, bytes]]) -> Stored:
        """Keep fresh records, in order; `session` is how the stream stands after them.

        Raises OSError and DatabaseError, and Superseded if the stream does not stand where the first record follows.
        """
        ended: list[int] = []
        seen: list[int] = []
        with self._database.write() as db:
            held = db.execute(select(streams.c.have_seq).where(streams.c.id == stream)).scalar_one()
            if records[0][0].seq != held + 1:
                raise Superseded(f"record {records[0][0].seq} came where {held + 1} was next")
            for record, payload in records:
                match record:
                    case UtteranceStart():
                        _open(db, stream, record)
                    case Audio():
                        _audio(db, stream, record, payload)
                    case UtteranceEnd():
                        ended.append(self._close(db, stream, record))
                    case Frame():
                        seen += self._frame(db, stream, record, payload)
                    case Silence():
                        _span(db, stream, record, "silence", "")
                    case Gap():
                        _gap(db, stream, record)
            db.execute(
                update(streams)
                .where(streams.c.id == stream)
                .values(
                    seen_at=time.time_ns(),
                    have_seq=session.have_seq,
                    open_utterance=session.open_utterance,
                    audio_end=session.audio_end,
                    end=session.end,
                )
            )
        return Stored(tuple(ended), tuple(seen))

    def _close(self, db: Connection, stream: str, end: UtteranceEnd) -> int:
        """Write the utterance's file, queue its note and drop its packets."""
        row = db.execute(
            select(utterances).where(utterances.c.stream == stream, utterances.c.end_sample.is_(None))
        ).one()
        n = end.end_sample - row.first_sample
        codec, suffix, data = _clip(_packets(db, stream), n, row.utterance)
        name = self._media.write(stream, row.utterance, row.captured_at, suffix, data)
        db.execute(
            update(utterances)
            .where(utterances.c.stream == stream, utterances.c.utterance == row.utterance)
            .values(
                end_sample=end.end_sample,
                ended_at=end.captured_at,
                received_at=time.time_ns(),
                reason=end.reason,
                silent=end.silent,
                codec=codec,
                audio=name,
            )
        )
        db.execute(delete(packets).where(packets.c.stream == stream))
        db.execute(insert(jobs).values(kind="note", stream=stream, utterance=row.utterance))
        return int(row.utterance)

    def _frame(self, db: Connection, stream: str, frame: Frame, jpeg: bytes) -> list[int]:
        if not jpeg.startswith(_JPEG):  # the record is accounted for; what is no image cannot be kept as one
            _span(db, stream, _no_image(frame), "gap", "a frame that is not a JPEG image")
            return []
        name = self._media.write(stream, frame.seq, frame.captured_at, "jpg", jpeg)
        db.execute(
            insert(frames).values(
                stream=stream,
                seq=frame.seq,
                sample=frame.sample,
                captured_at=frame.captured_at,
                width=frame.width,
                height=frame.height,
                image=name,
                reading="pending",
            )
        )
        return [frame.seq]

    def audio_so_far(self, stream: str, utterance: int) -> SoFar:
        """The open utterance as a playable file, up to what has come; no data if it is not open."""
        with self._database.read() as db:
            row = db.execute(
                select(utterances.c.captured_at).where(
                    utterances.c.stream == stream,
                    utterances.c.utterance == utterance,
                    utterances.c.end_sample.is_(None),
                )
            ).one_or_none()
            parts = _packets(db, stream) if row is not None else []
        if row is None or not parts:
            return SoFar(0, b"")
        n = sum(part.n_samples for part in parts) - ogg.samples_of(max(part.pre_skip for part in parts))
        return SoFar(row.captured_at, _clip(parts, n, utterance)[2] if n > 0 else b"")


@dataclass(frozen=True, slots=True)
class _Part:
    codec: str
    pre_skip: int
    n_samples: int
    payload: bytes


def _open(db: Connection, stream: str, start: UtteranceStart) -> None:
    db.execute(
        insert(utterances).values(
            stream=stream,
            utterance=start.seq,
            first_sample=start.first_sample,
            captured_at=start.captured_at,
        )
    )


def _audio(db: Connection, stream: str, audio: Audio, payload: bytes) -> None:
    db.execute(
        insert(packets).values(
            stream=stream,
            seq=audio.seq,
            first_sample=audio.first_sample,
            n_samples=audio.n_samples,
            codec=audio.codec,
            pre_skip=audio.pre_skip,
            payload=payload,
        )
    )


def _gap(db: Connection, stream: str, gap: Gap) -> None:
    """A gap inside an utterance also stands in for the packets that it lost."""
    _span(db, stream, gap, "gap", gap.reason)
    inside = db.execute(
        select(utterances.c.utterance).where(utterances.c.stream == stream, utterances.c.end_sample.is_(None))
    ).first()
    if inside is not None and gap.n_samples:
        db.execute(
            insert(packets).values(
                stream=stream,
                seq=gap.seq,
                first_sample=gap.first_sample,
                n_samples=gap.n_samples,
                codec="lost",
                pre_skip=0,
                payload=b"",
            )
        )


def _no_image(frame: Frame) -> Gap:
    return Gap(
        seq=frame.seq,
        first_sample=frame.sample,
        n_samples=0,
        captured_at=frame.captured_at,
        reason="no image",
    )


def _span(db: Connection, stream: str, span: Silence | Gap, kind: str, reason: str) -> None:
    db.execute(
        insert(spans).values(
            stream=stream,
            seq=span.seq,
            first_sample=span.first_sample,
            n_samples=span.n_samples,
            captured_at=span.captured_at,
            kind=kind,
            reason=reason,
        )
    )


def _packets(db: Connection, stream: str) -> list[_Part]:
    rows = db.execute(select(packets).where(packets.c.stream == stream).order_by(packets.c.seq))
    return [_Part(row.codec, row.pre_skip, row.n_samples, row.payload) for row in rows]


def _clip(parts: list[_Part], n_samples: int, serial: int) -> tuple[str, str, bytes]:
    """(codec, file suffix, file) of an utterance: its own Opus packets in Ogg, or FLAC where PCM came."""
    if any(part.codec == "pcm" for part in parts):
        pcm = np.concatenate([_pcm(part) for part in parts])
        return "pcm", "flac", _flac(pcm[:n_samples])
    pre_skip = next((part.pre_skip for part in parts if part.codec == "opus"), 0)
    opus = [packet for part in parts for packet in _opus(part)]
    return "opus", "ogg", ogg.write(opus, pre_skip, n_samples, serial & 0xFFFFFFFF)


def _opus(part: _Part) -> list[bytes]:
    return ogg.lost_packets(part.n_samples) if part.codec == "lost" else unpack(part.payload)


def _pcm(part: _Part) -> Pcm:
    """(n_samples,) int16; zeros for what was lost."""
    if part.codec == "pcm":
        return np.frombuffer(part.payload, "<i2").astype(np.int16)
    return np.zeros(part.n_samples, np.int16)


def _flac(pcm: Pcm) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, pcm, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()
