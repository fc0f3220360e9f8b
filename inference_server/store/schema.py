"""Tables, schema version and the one way to open the database."""

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    text,
)
from sqlalchemy.exc import DatabaseError

logger = logging.getLogger(__name__)
SCHEMA_VERSION = 1
metadata = MetaData()

streams = Table(
    "streams",
    metadata,
    Column("id", Text, primary_key=True),
    Column("device", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),  # UTC ns, as all *_at
    Column("seen_at", BigInteger, nullable=False),
    Column("have_seq", BigInteger, nullable=False),  # session.Session, as it was after the last record
    Column("open_utterance", BigInteger, nullable=False),
    Column("audio_end", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
)
utterances = Table(
    "utterances",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("utterance", BigInteger, primary_key=True),
    Column("first_sample", BigInteger, nullable=False),
    Column("end_sample", BigInteger),  # null while it is being spoken
    Column("captured_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("received_at", BigInteger),  # when its end reached this server
    Column("reason", Text, nullable=False, server_default=""),
    Column("silent", BigInteger, nullable=False, server_default="0"),  # its last samples, without speech
    Column("codec", Text, nullable=False, server_default=""),
    Column("audio", Text),  # file below the media directory
    # The outcome, once there is one: noted, silence, unintelligible, failed or forgotten.
    Column("outcome", Text, nullable=False, server_default=""),
    Column("outcome_reason", Text, nullable=False, server_default=""),
    Column("heard", Text, nullable=False, server_default=""),
    Column("engine", Text, nullable=False, server_default=""),
    Column("latency_ms", Integer),
    Index("utterances_by_time", "stream", "captured_at"),
)
packets = Table(  # audio of utterances still open; deleted when the file is written
    "packets",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("first_sample", BigInteger, nullable=False),
    Column("n_samples", Integer, nullable=False),
    Column("codec", Text, nullable=False),  # opus, pcm, or lost
    Column("pre_skip", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)
spans = Table(  # silences and gaps
    "spans",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("first_sample", BigInteger, nullable=False),
    Column("n_samples", BigInteger, nullable=False),
    Column("captured_at", BigInteger, nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("reason", Text, nullable=False),
)
frames = Table(
    "frames",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("sample", BigInteger, nullable=False),
    Column("captured_at", BigInteger, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("image", Text, nullable=False),  # file below the media directory
    Column("reading", Text, nullable=False),  # pending, read, shed or failed
    Column("seen", Text, nullable=False, server_default=""),  # all text in it, a line a line
    Index("frames_by_sample", "stream", "sample"),
    Index("frames_by_reading", "reading"),
)
lines = Table(  # the running notes: what was heard and what was seen
    "lines",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),  # of the utterance's start, or of the frame
    Column("kind", Text, nullable=False),  # heard or seen
    Column("topic", BigInteger, nullable=False),  # seq of the topic's first line
    Column("captured_at", BigInteger, nullable=False),
    Column("end_at", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    Column("heard", Text, nullable=False),
    Column("speaker", Text, nullable=False),
    Column("todo", Integer, nullable=False),
    Column("frame", BigInteger),  # seq of the frame to show
    Column("corrected", Integer, nullable=False, server_default="0"),
    Index("lines_by_time", "captured_at"),
)
topics = Table(
    "topics",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("title", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
)
jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),  # note or answer
    Column("stream", Text, nullable=False),
    Column("utterance", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("error", Text, nullable=False, server_default=""),
)
answers = Table(  # to spoken questions
    "answers",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("utterance", BigInteger, primary_key=True),
    Column("captured_at", BigInteger, nullable=False),
    Column("question", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("evidence", Text, nullable=False),  # line ids, space between
    Column("answered", Integer, nullable=False),
    Column("took_s", Float, nullable=False),
)
# Trigrams, so that languages without spaces can be searched, too.
SEARCH_TABLE = "CREATE VIRTUAL TABLE search USING fts5(stream UNINDEXED, seq UNINDEXED, body, tokenize = 'trigram')"


class StoreError(Exception):
    """The store cannot be used; the message says why and what to do."""


class Database:
    """The SQLite file. Many may read at once; one writes at a time. Raises StoreError if it cannot be opened."""

    def __init__(self, directory: Path) -> None:
        self._lock = threading.Lock()
        path = directory / "fieldnote.db"
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 10})
            event.listen(self._engine, "connect", _set_up)
            self._open(path)
        except StoreError:
            self.close()
            raise
        except (OSError, DatabaseError, sqlite3.Error) as exc:
            reason = getattr(exc, "orig", exc)
            raise StoreError(
                f"{path}: the store cannot be opened ({reason}); check the disk, or choose another --data-dir"
            ) from exc

    def _open(self, path: Path) -> None:
        with self.write() as db:
            version = db.execute(text("PRAGMA user_version")).scalar_one()
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"{path}: written by a newer Fieldnote (store version {version}, this one knows "
                    f"{SCHEMA_VERSION}); upgrade, or choose another --data-dir"
                )
            if version == 0:
                metadata.create_all(db)
                db.execute(text(SEARCH_TABLE))
                db.execute(text(f"PRAGMA user_version = {SCHEMA_VERSION}"))

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, durable when the block ends; nothing of it stays if the block raises."""
        with self._lock, self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            try:
                yield connection
            finally:
                connection.exec_driver_sql("ROLLBACK")

    def scrub(self) -> None:
        """What was deleted is overwritten in the file; empty the log, too, which still shows it."""
        with self._lock, self._engine.connect() as connection:
            busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one()
        if busy:
            logger.warning("the store's log is in use; what was forgotten leaves it with the next forgetting")

    def close(self) -> None:
        """Release the file."""
        self._engine.dispose()


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by `write` and `read` alone
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # an acknowledged record survives a power cut
    connection.execute("PRAGMA secure_delete = ON")  # what is forgotten is overwritten
