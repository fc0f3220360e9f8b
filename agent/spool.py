"""The durable queue of records between capture and network: SQLite, write-ahead log, one file a device.

Two threads use it: capture appends, the link reads and forgets. A record is on disk (fsync) when `append` returns. One
process at a time: a second one is refused while the first lives.
"""

import sqlite3
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.protocol import (
    Audio,
    Frame,
    Gap,
    Record,
    Silence,
    UtteranceEnd,
    UtteranceStart,
    decode_from_agent,
    encode,
)

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE records (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, size INTEGER NOT NULL, wire BLOB NOT NULL);
"""
_TRIM_TO = 0.9  # a full spool is emptied to this share of its cap, so that it does not trim at every append


class SpoolError(Exception):
    """The spool cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Where the stream goes on. `open_utterance`: the last process died inside one, or was killed while listening."""

    next_seq: int
    position: int
    open_utterance: int  # its seq, 0: none
    clean: bool  # the last process accounted for everything before it ended


class Spool:
    """Open with `Spool(directory, cap_bytes)`; `close()` when capture and link have both ended. Raises SpoolError."""

    def __init__(self, directory: Path, cap_bytes: int) -> None:
        self._cap_bytes = cap_bytes
        self._lock = threading.Lock()
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._guard = _claim(directory)
            self._db = sqlite3.connect(
                directory / "spool.db", isolation_level=None, check_same_thread=False, timeout=10
            )
            self._open_schema(directory)
        except (OSError, sqlite3.Error) as exc:
            raise SpoolError(
                f"{directory}: the spool cannot be opened ({exc}); free disk space or choose another --spool DIR"
            ) from exc
        self.stream = str(self._meta("stream"))
        self._size_bytes = int(self._db.execute("SELECT coalesce(sum(size), 0) FROM records").fetchone()[0])

    def _open_schema(self, directory: Path) -> None:
        db = self._db
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # a record counts as kept once it survives a power cut
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise SpoolError(f"{directory}: written by a newer Fieldnote (spool version {version}); upgrade this one")
        if version == 0:
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
            start = {
                "stream": uuid.uuid4().hex,
                "next_seq": 1,
                "position": 0,
                "open_utterance": 0,
                "clean": 1,
            }
            db.executemany("INSERT INTO meta VALUES (?, ?)", start.items())

    def _meta(self, key: str) -> str | int:
        value: str | int = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0]
        return value

    def resume(self) -> Resume:
        """Where the last process left off; from now on the stream counts as running."""
        with self._lock:
            resume = Resume(
                int(self._meta("next_seq")),
                int(self._meta("position")),
                int(self._meta("open_utterance")),
                bool(self._meta("clean")),
            )
            self._db.execute("UPDATE meta SET value = 0 WHERE key = 'clean'")
            return resume

    def append(self, records: list[tuple[Record, bytes]]) -> None:
        """Keep numbered records; durable on return. A full spool gives up its oldest frames, then audio, as gaps.

        Raises SpoolError if the disk does not take them: nothing of this call was kept.
        """
        if not records:
            return
        rows = [(record.seq, _kind(record), encode(record, payload)) for record, payload in records]
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany(
                    "INSERT INTO records VALUES (?, ?, ?, ?)",
                    [(s, k, len(wire), wire) for s, k, wire in rows],
                )
                self._remember([record for record, _ in records])
                self._size_bytes += sum(len(wire) for _, _, wire in rows)
                if self._size_bytes > self._cap_bytes:
                    self._trim()
                self._db.execute("COMMIT")
            except sqlite3.Error as exc:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                self._size_bytes = self._stored_bytes()
                raise SpoolError(f"the disk does not take records ({exc}): free some space") from exc

    def _stored_bytes(self) -> int:
        return int(self._db.execute("SELECT coalesce(sum(size), 0) FROM records").fetchone()[0])

    def _remember(self, records: list[Record]) -> None:
        self._set("next_seq", records[-1].seq + 1)
        for record in records:
            match record:
                case UtteranceStart():
                    self._set("open_utterance", record.seq)
                    self._set("position", record.first_sample)
                case UtteranceEnd():
                    self._set("open_utterance", 0)
                    self._set("position", record.end_sample)
                case Audio() | Silence() | Gap():
                    self._set("position", record.first_sample + record.n_samples)
                case _:
                    pass

    def _set(self, key: str, value: int) -> None:
        self._db.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))

    def _trim(self) -> None:
        """Replace the oldest frames, then the oldest audio, by gap records of the same seq. Runs in append's
        transaction."""
        target = int(self._cap_bytes * _TRIM_TO)
        for kind in ("frame", "audio"):
            for seq, size in self._db.execute(
                "SELECT seq, size FROM records WHERE kind = ? ORDER BY seq", (kind,)
            ).fetchall():
                if self._size_bytes <= target:
                    return
                wire = encode(_as_gap(self._wire(seq)))
                self._db.execute(
                    "UPDATE records SET kind = 'gap', size = ?, wire = ? WHERE seq = ?",
                    (len(wire), wire, seq),
                )
                self._size_bytes += len(wire) - size

    def _wire(self, seq: int) -> bytes:
        wire: bytes = self._db.execute("SELECT wire FROM records WHERE seq = ?", (seq,)).fetchone()[0]
        return wire

    def read(self, after_seq: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` records behind `after_seq`, oldest first, as (seq, wire frame)."""
        with self._lock:
            return self._db.execute(
                "SELECT seq, wire FROM records WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, limit)
            ).fetchall()

    def drop_through(self, seq: int) -> None:
        """Forget the records up to `seq`: the server holds them."""
        with self._lock:
            gone = self._db.execute("SELECT coalesce(sum(size), 0) FROM records WHERE seq <= ?", (seq,)).fetchone()[0]
            self._db.execute("DELETE FROM records WHERE seq <= ?", (seq,))
            self._size_bytes -= int(gone)

    def backlog(self) -> int:
        """Records that the server has not acknowledged yet."""
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM records").fetchone()[0])

    def next_seq(self) -> int:
        """The number of the next record to be appended."""
        with self._lock:
            return int(self._meta("next_seq"))

    def finish(self) -> None:
        """Capture ended and accounted for everything."""
        with self._lock:
            self._set("clean", 1)

    def close(self) -> None:
        """Release the files. Safe to call twice."""
        with self._lock:
            self._db.close()
            self._guard.close()


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
    except sqlite3.OperationalError as exc:
        guard.close()
        raise SpoolError(
            f"{directory}: another agent is using this spool; stop it, or give this one its own --spool DIR"
        ) from exc
    return guard
