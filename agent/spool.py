"""The durable queue of records between capture and network: SQLite, write-ahead log, one file a device.

Two threads use it: capture appends, the link reads and forgets. A record is on disk (fsync) when `append` returns. One
process at a time: a second one is refused while the first lives.
"""

import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.audio import SAMPLE_RATE
from agent.protocol import (
    Audio,
    Frame,
    Gap,
    ProtocolError,
    Record,
    Silence,
    UtteranceEnd,
    UtteranceStart,
    decode_from_agent,
    encode,
)

SCHEMA_VERSION = 1
_SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE records (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, size INTEGER NOT NULL, wire BLOB NOT NULL)",
    # Adding up and finding the oldest frame must not read gigabytes of media while the microphone waits.
    "CREATE INDEX records_by_kind ON records (kind, seq, size)",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
# A full spool gives up this much more than it must, so that it does not trim at every append; never so much that
# the microphone's buffer would run over meanwhile.
_TRIM_SHARE = 0.1
_TRIM_MOST_BYTES = 4_000_000


class SpoolError(Exception):
    """The spool cannot be used; the message says why and what to do."""


class DiskFull(SpoolError):
    """The disk takes nothing now; the same call may succeed once there is room."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Where the stream goes on. `open_utterance`: the last process died inside one, or was killed while listening."""

    next_seq: int
    position: int
    captured_at: int  # UTC ns of `position`; 0 for a new stream
    open_utterance: int  # its seq, 0: none
    clean: bool  # the last process accounted for everything before it ended


class Spool:
    """Open with `Spool(directory, cap_bytes)`; `close()` when capture and link have both ended. Raises SpoolError."""

    def __init__(self, directory: Path, cap_bytes: int) -> None:
        self._directory = directory
        self._cap_bytes = cap_bytes
        self._lock = threading.Lock()
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._guard = _claim(directory)
        except (OSError, sqlite3.Error) as exc:
            raise SpoolError(f"{directory}: the spool cannot be opened ({exc}); choose another --spool DIR") from exc
        try:
            self._db = sqlite3.connect(
                directory / "spool.db", isolation_level=None, check_same_thread=False, timeout=10
            )
        except sqlite3.Error as exc:
            self._guard.close()
            raise self._trouble(exc) from exc
        try:
            self._open_schema()
            with self._transaction():
                self.stream = str(self._meta("stream"))
                self._count, self._size_bytes = self._added_up("1")
        except BaseException:
            self.close()
            raise

    def _open_schema(self) -> None:
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")  # a record counts as kept once it survives a power cut
        except sqlite3.Error as exc:
            raise self._trouble(exc) from exc
        with self._transaction():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise SpoolError(
                    f"{self._directory}: written by a newer Fieldnote (spool version {version}); upgrade this one"
                )
            if version == 0:
                for statement in _SCHEMA:
                    self._db.execute(statement)
                start = {
                    "stream": uuid.uuid4().hex,
                    "next_seq": 1,
                    "position": 0,
                    "captured_at": 0,
                    "open_utterance": 0,
                    "clean": 1,
                }
                self._db.executemany("INSERT INTO meta VALUES (?, ?)", start.items())

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it or nothing. What SQLite cannot do is a SpoolError."""
        try:
            with self._db:
                self._db.execute("BEGIN")
                yield
        except (sqlite3.Error, ProtocolError) as exc:
            raise self._trouble(exc) from exc

    def _trouble(self, exc: Exception) -> SpoolError:
        if isinstance(exc, sqlite3.OperationalError):
            full = exc.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
            kind = DiskFull if full else SpoolError
            return kind(f"{self._directory}: the disk does not take or give records ({exc}): free some space")
        return SpoolError(
            f"{self._directory}: the spool is damaged ({exc}); move this directory away to begin a new stream"
        )

    def _meta(self, key: str) -> str | int:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise sqlite3.DatabaseError(f"no {key}")
        value: str | int = row[0]
        return value

    def resume(self) -> Resume:
        """Where the last process left off; from now on the stream counts as running."""
        with self._lock, self._transaction():
            resume = Resume(
                int(self._meta("next_seq")),
                int(self._meta("position")),
                int(self._meta("captured_at")),
                int(self._meta("open_utterance")),
                bool(self._meta("clean")),
            )
            self._set("clean", 0)
            return resume

    def append(self, records: list[tuple[Record, bytes]]) -> None:
        """Keep numbered records; durable on return. A full spool gives up its oldest frames, then audio, as gaps.

        Raises SpoolError if the disk does not take them, DiskFull if it may later: nothing of this call was kept.
        """
        if not records:
            return
        wires = [encode(record, payload) for record, payload in records]
        rows = [(record.seq, _kind(record), len(wire), wire) for (record, _), wire in zip(records, wires, strict=True)]
        with self._lock:
            with self._transaction():
                self._db.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows)
                self._remember([record for record, _ in records])
                size_bytes = self._size_bytes + sum(map(len, wires))
                if size_bytes > self._cap_bytes:
                    size_bytes = self._trim(size_bytes)
            self._count += len(rows)
            self._size_bytes = size_bytes

    def _added_up(self, condition: str, *values: int) -> tuple[int, int]:
        """How many records there are, and their bytes."""
        sums = f"SELECT count(*), coalesce(sum(size), 0) FROM records WHERE {condition}"
        count, size_bytes = self._db.execute(sums, values).fetchone()
        return int(count), int(size_bytes)

    def _remember(self, records: list[Record]) -> None:
        self._set("next_seq", records[-1].seq + 1)
        for record in records:
            match record:
                case UtteranceStart(first_sample=position, captured_at=captured_at):
                    self._set("open_utterance", record.seq)
                case UtteranceEnd(end_sample=position, captured_at=captured_at):
                    self._set("open_utterance", 0)
                case Audio(first_sample=first, n_samples=n) | Silence(first_sample=first, n_samples=n):
                    position, captured_at = first + n, record.captured_at + _ns(n)
                case Gap(first_sample=first, n_samples=n):
                    position, captured_at = first + n, record.captured_at + _ns(n)
                case Frame():
                    continue
            self._set("position", position)
            self._set("captured_at", captured_at)

    def _set(self, key: str, value: int) -> None:
        self._db.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))

    def _trim(self, size_bytes: int) -> int:
        """Replace the oldest frames, then the oldest audio, by gap records of the same seq, until `size_bytes` is
        low enough; returns what it is then. Runs in append's transaction."""
        target = self._cap_bytes - min(_TRIM_MOST_BYTES, int(self._cap_bytes * _TRIM_SHARE))
        oldest = "SELECT seq, size, wire FROM records WHERE kind = ? ORDER BY seq LIMIT 1"
        for kind in ("frame", "audio"):
            while size_bytes > target and (row := self._db.execute(oldest, (kind,)).fetchone()):
                seq, size, wire = row
                gap = encode(_as_gap(wire))
                self._db.execute(
                    "UPDATE records SET kind = 'gap', size = ?, wire = ? WHERE seq = ?", (len(gap), gap, seq)
                )
                size_bytes += len(gap) - size
        return size_bytes

    def read(self, after_seq: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` records behind `after_seq`, oldest first, as (seq, wire frame)."""
        with self._lock, self._transaction():
            return self._db.execute(
                "SELECT seq, wire FROM records WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, limit)
            ).fetchall()

    def drop_through(self, seq: int) -> None:
        """Forget the records up to `seq`: the server holds them."""
        with self._lock:
            with self._transaction():
                count, size_bytes = self._added_up("seq <= ?", seq)
                self._db.execute("DELETE FROM records WHERE seq <= ?", (seq,))
            self._count -= count
            self._size_bytes -= size_bytes

    def backlog(self) -> int:
        """Records that the server has not acknowledged yet."""
        return self._count  # without the lock: the event loop asks, and must not wait for the disk

    def span(self) -> tuple[int, int]:
        """The numbers of the oldest record held (or of the next, if none is), and of the next to be appended."""
        with self._lock, self._transaction():
            next_seq = int(self._meta("next_seq"))
            oldest = self._db.execute("SELECT min(seq) FROM records").fetchone()[0]
            return next_seq if oldest is None else int(oldest), next_seq

    def finish(self) -> None:
        """Capture ended and accounted for everything."""
        with self._lock, self._transaction():
            self._set("clean", 1)

    def close(self) -> None:
        """Release the files. Safe to call twice."""
        with self._lock:
            self._db.close()
            self._guard.close()


def _ns(n_samples: int) -> int:
    return n_samples * 1_000_000_000 // SAMPLE_RATE


def _kind(record: Record) -> str:
    return str(record.__struct_config__.tag)


def _as_gap(wire: bytes) -> Gap:
    """What a dropped record leaves behind: the span of an audio record, or none for a frame."""
    record, _ = decode_from_agent(wire)
    match record:
        case Audio(first_sample=first_sample, n_samples=n_samples):
            pass
        case Frame(sample=first_sample):
            n_samples = 0
        case _:
            raise AssertionError("only audio and frames are ever dropped")
    return Gap(
        seq=record.seq,
        first_sample=first_sample,
        n_samples=n_samples,
        captured_at=record.captured_at,
        reason="spool full",
    )


def _claim(directory: Path) -> sqlite3.Connection:
    """Hold an exclusive lock for as long as this process lives; the system frees it however the process ends."""
    guard = sqlite3.connect(directory / "lock.db", isolation_level=None, check_same_thread=False, timeout=0)
    try:
        guard.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as exc:
        guard.close()
        if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        raise SpoolError(
            f"{directory}: another agent is using this spool; stop it, or give this one its own --spool DIR"
        ) from exc
    return guard
