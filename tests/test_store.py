"""The store, on real SQLite and real files."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import soundfile
from fakes import NOON, Tape, jpeg
from hypothesis import given
from hypothesis import strategies as st
from serving import keep, settings

from inference_server.app import Storage, open_storage
from inference_server.dispatch import Job
from inference_server.ledger import account
from inference_server.notes import Line
from inference_server.session import Session
from inference_server.store.ingest import Superseded
from inference_server.store.jobs import JobGone, Outcome, UnreadFrame
from inference_server.store.library import Library
from inference_server.store.schema import SCHEMA_VERSION, StoreError
from inference_server.words import content

STREAM = "ab" * 16
DAY = "2026-11-20"
MIDNIGHT = 1_795_219_200_000_000_000


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = open_storage(settings(tmp_path))
    yield opened
    opened.database.close()


def note(storage: Storage, tape: Tape, utterance: int, text: str, question: bool = False) -> Line:
    """Finish the note of an utterance that waits for it."""
    (job,) = [job for job in storage.jobs.queued((), 100) if job.seq == utterance and job.kind == "note"]
    found = storage.jobs.utterance(tape.stream, utterance)
    assert found is not None
    line = Line(tape.stream, utterance, "heard", found.captured_at, found.ended_at, text, text, audio=True)
    line = Line(**{name: getattr(line, name) for name in line.__slots__} | {"frame": found.moment.shown_frame})
    written = storage.jobs.finish(job, Outcome("noted", "", text, "fake", 5, line, question))
    assert written is not None
    return written[0]


def see(storage: Storage, tape: Tape, frame: int, text: str) -> None:
    """Finish the reading of a frame."""
    at = next(record.captured_at for record, _ in tape.records if record.seq == frame)
    storage.jobs.frame_read(
        tape.stream, frame, "read", text, Line(tape.stream, frame, "seen", at, at, text, frame=frame)
    )


def bytes_on_disk(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


# Records


def test_what_was_stored_is_there_after_reopening(tmp_path: Path) -> None:
    tape = Tape()
    with closing((first := open_storage(settings(tmp_path))).database):
        tape.silence(1.0)
        utterance = tape.utterance(51)
        tape.start()
        tape.audio()
        session, _, _ = keep(first, tape)

    with closing((second := open_storage(settings(tmp_path))).database):
        assert second.ingest.greet(tape.hello()) == session
        assert [job.seq for job in second.jobs.queued((), 10)] == [utterance]
        assert second.ingest.audio_so_far(tape.stream, session.open_utterance).data
        clip = second.library.clip(tape.stream, utterance)
        assert clip is not None and soundfile.info(clip).frames == 16_000


def test_a_killed_process_loses_nothing_that_it_had_stored(tmp_path: Path) -> None:
    code = (
        "import os, sys; sys.path[:0] = ['tests']\n"
        "from pathlib import Path; from fakes import Tape; from serving import keep, settings\n"
        "from inference_server.app import open_storage\n"
        "tape = Tape(); tape.utterance(); keep(open_storage(settings(Path(sys.argv[1]))), tape); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=Path(__file__).parent.parent, check=False)

    with closing((storage := open_storage(settings(tmp_path))).database):
        session = storage.ingest.greet(Tape().hello())
        assert (session.have_seq, [job.seq for job in storage.jobs.queued((), 10)]) == (4, [1])


def test_an_utterance_becomes_a_playable_file_of_its_own_length(storage: Storage) -> None:
    for codec, suffix in (("opus", ".ogg"), ("pcm", ".flac")):
        tape = Tape(stream=codec[0] * 31 + "f" if codec == "opus" else "c" * 32, codec=codec)
        tape.stream = "e" * 32 if codec == "opus" else "c" * 32
        utterance = tape.utterance(76)
        keep(storage, tape)

        clip = storage.library.clip(tape.stream, utterance)
        assert clip is not None and clip.suffix == suffix
        assert (soundfile.info(clip).frames, soundfile.info(clip).samplerate) == (24_000, 16_000)


def test_an_utterance_with_lost_audio_keeps_its_length_and_the_ledger_knows(storage: Storage) -> None:
    for codec in ("opus", "pcm"):
        tape = Tape(stream="d" * 32 if codec == "opus" else "c" * 32, codec=codec)
        utterance = tape.start()
        tape.audio(10)
        tape.lose(25)
        tape.audio(16)
        tape.end()
        keep(storage, tape)

        clip = storage.library.clip(tape.stream, utterance)
        assert clip is not None and soundfile.info(clip).frames == 16_000
        total = account(storage.library.spans(tape.stream))
        assert (total.gap_s, total.pending_s, total.total_s) == (0.5, 0.5, 1.0)


def test_an_open_utterance_can_be_heard_so_far(storage: Storage, tmp_path: Path) -> None:
    tape = Tape()
    utterance = tape.start()
    keep(storage, tape)
    assert storage.ingest.audio_so_far(tape.stream, utterance).data == b""

    tape.audio(51)
    keep(storage, tape)
    so_far = storage.ingest.audio_so_far(tape.stream, utterance)
    (tmp_path / "so_far.ogg").write_bytes(so_far.data)
    assert so_far.captured_at == NOON
    assert soundfile.info(tmp_path / "so_far.ogg").frames == 51 * 320 - 104  # all but the encoder's delay

    tape.end()
    keep(storage, tape)
    assert storage.ingest.audio_so_far(tape.stream, utterance).data == b""


def test_the_ledger_counts_an_open_utterance_as_pending(storage: Storage) -> None:
    tape = Tape()
    tape.silence(1.0)
    tape.start()
    tape.audio(50)
    keep(storage, tape)

    total = account(storage.library.spans(tape.stream))
    assert (total.silence_s, total.pending_s) == (1.0, 1.0)


def test_records_that_were_stored_over_another_connection_change_nothing(storage: Storage) -> None:
    tape = Tape()
    tape.start()
    keep(storage, tape)
    stale = storage.ingest.greet(tape.hello())
    tape.audio()
    tape.end()
    keep(storage, tape)
    (audio, payload), _ = tape.records[1:]
    stale.receive(audio)

    with pytest.raises(Superseded):
        storage.ingest.store(tape.stream, stale, [(audio, payload)])

    assert storage.ingest.greet(tape.hello()) == Session(3, 0, 16 * 320, 15 * 320)


def test_a_frame_that_is_no_image_is_accounted_for_and_not_kept(storage: Storage) -> None:
    tape = Tape()
    good, bad = tape.frame(), tape.frame(b"GIF89a")
    _, _, frames = keep(storage, tape)

    assert frames == [good]
    assert storage.library.frame(tape.stream, bad) is None
    (span,) = storage.library.spans(tape.stream)
    assert (span.kind, span.start, span.end) == ("gap", 0, 0)


def test_nothing_of_a_batch_stays_when_a_part_of_it_cannot_be_stored(storage: Storage, tmp_path: Path) -> None:
    tape = Tape()
    tape.silence(1.0)
    keep(storage, tape)
    (tmp_path / "media").write_text("in the way")
    tape.silence(1.0)
    tape.frame()

    with pytest.raises(OSError):
        keep(storage, tape)

    session = storage.ingest.greet(tape.hello())
    assert (session.have_seq, account(storage.library.spans(tape.stream)).total_s) == (1, 1.0)
    (tmp_path / "media").unlink()
    tape._taken = 1
    assert keep(storage, tape)[0].have_seq == 3


# Opening


def test_a_newer_store_is_refused_in_one_clear_line(tmp_path: Path) -> None:
    open_storage(settings(tmp_path)).database.close()
    with closing(sqlite3.connect(tmp_path / "fieldnote.db")) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")

    with pytest.raises(StoreError, match=r"newer Fieldnote .*upgrade, or choose another --data-dir") as caught:
        open_storage(settings(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "fieldnote.db").write_bytes(b"something else " * 100)

    with pytest.raises(StoreError, match="cannot be opened"):
        open_storage(settings(tmp_path))
    assert (tmp_path / "fieldnote.db").read_bytes() == b"something else " * 100


def test_a_directory_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be opened"):
        open_storage(settings(tmp_path / "file"))


def test_a_power_cut_cannot_take_what_was_acknowledged(storage: Storage) -> None:
    with storage.database.read() as db:
        pragmas = {name: db.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")}
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}


# Outcomes


def test_an_outcome_is_written_once(storage: Storage) -> None:
    tape = Tape()
    utterance = tape.utterance()
    keep(storage, tape)
    (job,) = storage.jobs.queued((), 10)
    note(storage, tape, utterance, "First words.")

    with pytest.raises(JobGone):
        storage.jobs.finish(job, Outcome("failed", "late", "", "fake", 5))

    (moment,) = storage.library.moments()
    assert (moment.outcome, moment.note) == ("noted", "First words.")


def test_jobs_come_oldest_first_without_those_that_are_known(storage: Storage) -> None:
    tape = Tape()
    utterances = [tape.utterance(3) for _ in range(4)]
    keep(storage, tape)

    jobs = storage.jobs.queued((), 3)
    assert [job.seq for job in jobs] == utterances[:3]
    assert [job.seq for job in storage.jobs.queued({jobs[0].id, jobs[2].id}, 3)] == [utterances[1], utterances[3]]


def test_a_failed_attempt_is_counted_and_the_job_stays(storage: Storage) -> None:
    tape = Tape()
    tape.utterance()
    keep(storage, tape)
    (job,) = storage.jobs.queued((), 10)

    storage.jobs.failed_attempt(job, "x" * 10_000)

    assert [again.attempts for again in storage.jobs.queued((), 10)] == [1]


def test_the_oldest_frames_are_shed_first(storage: Storage) -> None:
    tape = Tape()
    frames = []
    for _ in range(5):
        frames.append(tape.frame())
        tape.silence(1.0)
    keep(storage, tape)

    unread, shed = storage.jobs.unread_frames(3)

    assert ([frame.seq for frame in unread], shed) == (frames[2:], 2)
    assert storage.jobs.unread_frames(3) == (unread, 0)
    assert isinstance(unread[0], UnreadFrame)


def test_a_heading_made_from_what_was_forgotten_meanwhile_is_not_taken(storage: Storage) -> None:
    tape = Tape()
    utterances = [tape.utterance(3) for _ in range(2)]
    keep(storage, tape)
    lines = [note(storage, tape, u, text) for u, text in zip(utterances, ["My secret.", "The rest."], strict=True)]
    texts_before = storage.jobs.topic_texts(tape.stream, lines[0].topic)

    storage.library.forget(tape.stream, utterances[0])

    assert storage.jobs.retitle(tape.stream, lines[0].topic, "Secret", texts_before) is None
    left = storage.jobs.topic_texts(tape.stream, lines[0].topic)
    topic = storage.jobs.retitle(tape.stream, lines[0].topic, "Rest", left)
    assert topic is not None and topic.title == "Rest"
    assert storage.jobs.retitle(tape.stream, lines[0].topic, "Rest", left) is None


def test_an_answer_that_quotes_what_was_forgotten_meanwhile_is_made_anew(storage: Storage) -> None:
    tape = Tape()
    fact, question = tape.utterance(3), tape.utterance(3)
    keep(storage, tape)
    quoted = note(storage, tape, fact, "The code is 1234.")
    note(storage, tape, question, "Hey notes what is the code?", question=True)
    (job,) = storage.jobs.queued((), 10)
    storage.library.forget(tape.stream, fact)

    assert not storage.jobs.finish_answer(job, NOON, "what is the code?", "1234", (quoted.id,), 0.1)
    assert [again.kind for again in storage.jobs.queued((), 10)] == ["answer"]
    assert storage.jobs.finish_answer(job, NOON, "what is the code?", "nothing", (), 0.1)
    assert [answer.text for answer in storage.library.answers(DAY)] == ["nothing"]


def test_the_answer_to_a_forgotten_question_is_not_kept(storage: Storage) -> None:
    tape = Tape()
    question = tape.utterance(3)
    keep(storage, tape)
    note(storage, tape, question, "Hey notes what is the code?", question=True)
    (job,) = storage.jobs.queued((), 10)
    storage.library.forget(tape.stream, question)

    assert not storage.jobs.finish_answer(job, NOON, "what is the code?", "nothing", (), 0.1)
    assert storage.jobs.queued((), 10) == [] and storage.library.answers(DAY) == []


# Forgetting


def test_a_forgotten_line_leaves_nothing_behind(storage: Storage, tmp_path: Path) -> None:
    tape = Tape()
    tape.silence(10.0)
    frame = tape.frame(jpeg("whiteboard"))
    tape.silence(0.5)
    secret = tape.utterance(51)
    after = tape.frame()
    tape.silence(20.0)
    rest, question = tape.utterance(3), tape.utterance(3)
    keep(storage, tape)
    see(storage, tape, frame, "XYLOPHONE PASSWORD")
    quoted = note(storage, tape, secret, "The zanzibar password is quetzalcoatl.")
    note(storage, tape, rest, "Something harmless about zanzibars.")
    note(storage, tape, question, "Hey notes what is the password?", question=True)
    (job,) = storage.jobs.queued((), 10)
    storage.jobs.finish_answer(job, NOON, "what is it?", "It is quetzalcoatl.", (quoted.id,), 0.1)
    topic = quoted.topic
    storage.jobs.retitle(tape.stream, topic, "Quetzalcoatl passwords", storage.jobs.topic_texts(tape.stream, topic))
    files = [
        storage.library.clip(tape.stream, secret),
        *(storage.library.frame(tape.stream, f) for f in (frame, after)),
    ]
    assert all(path is not None and path.is_file() for path in files)

    gone = storage.library.forget(tape.stream, secret)

    assert gone is not None and sorted(gone.lines) == sorted([f"{STREAM}/{frame}", f"{STREAM}/{secret}"])
    assert [topic.title for topic in gone.topics] == ["Something harmless about zanzibars"]
    assert not any(path.exists() for path in files if path)
    assert storage.library.clip(tape.stream, secret) is None
    assert storage.library.frame(tape.stream, frame) is storage.library.frame(tape.stream, after) is None
    assert texts(storage.library.search("password", 10)) == ["Hey notes what is the password?"]
    assert storage.library.search("quetzalcoatl", 10) == [] and storage.library.answers(DAY) == []
    assert account(storage.library.spans(tape.stream)).gap_s == 1.0
    assert storage.library.forget(tape.stream, secret) is None
    on_disk = bytes_on_disk(tmp_path).lower()
    assert b"quetzalcoatl" not in on_disk and b"xylophone" not in on_disk and b"harmless" in on_disk


def test_the_search_index_does_not_remember_what_was_forgotten(storage: Storage, tmp_path: Path) -> None:
    tape = Tape()
    secret, rest = tape.utterance(3), tape.utterance(3)
    keep(storage, tape)
    note(storage, tape, secret, "qzx")
    note(storage, tape, rest, "Something else.")
    with storage.database.read() as db:
        count = "SELECT count(*) FROM search WHERE search MATCH '\"qzx\"'"
        assert db.exec_driver_sql(count).scalar() == 1

    storage.library.forget(tape.stream, secret)

    with closing(sqlite3.connect(tmp_path / "fieldnote.db")) as db:
        blocks = b"".join(row[0] for row in db.execute("SELECT block FROM search_data"))
    assert b"qzx" not in blocks and b"qz" not in blocks


def test_forgetting_what_was_seen_takes_the_frame(storage: Storage) -> None:
    tape = Tape()
    tape.silence(10.0)
    frame = tape.frame()
    tape.silence(60.0)
    other = tape.frame()
    keep(storage, tape)
    for seq, text in ((frame, "EXIT"), (other, "ENTRANCE")):
        see(storage, tape, seq, text)

    gone = storage.library.forget(tape.stream, frame)

    assert gone is not None and gone.lines == [f"{STREAM}/{frame}"]
    assert storage.library.frame(tape.stream, frame) is None
    assert storage.library.frame(tape.stream, other) is not None
    assert texts(list(storage.library.topics(DAY)[0].lines)) == ["ENTRANCE"]


def test_a_line_that_showed_a_forgotten_frame_stays_without_it(storage: Storage) -> None:
    tape = Tape()
    tape.silence(10.0)
    first = tape.utterance(17)
    frame = tape.frame()
    second = tape.utterance(17)
    keep(storage, tape)
    assert note(storage, tape, first, "First.").frame == note(storage, tape, second, "Second.").frame == frame

    storage.library.forget(tape.stream, first)

    line = storage.library.line(tape.stream, second)
    assert line is not None and (line.text, line.frame) == ("Second.", None)


def test_a_file_that_cannot_be_removed_keeps_the_line_to_be_forgotten_again(storage: Storage) -> None:
    tape = Tape()
    utterance = tape.utterance()
    keep(storage, tape)
    note(storage, tape, utterance, "Words.")
    clip = storage.library.clip(tape.stream, utterance)
    assert clip is not None
    clip.unlink()
    clip.mkdir()

    with pytest.raises(OSError):
        storage.library.forget(tape.stream, utterance)
    assert storage.library.line(tape.stream, utterance) is not None

    clip.rmdir()
    assert storage.library.forget(tape.stream, utterance) is not None


# Reading back


@pytest.fixture
def noted(storage: Storage) -> Storage:
    tape = Tape()
    utterances = {text: tape.utterance(3) for text in NOTED}
    keep(storage, tape)
    for text, utterance in utterances.items():
        note(storage, tape, utterance, text)
    return storage


NOTED = (
    "We launch on Friday.",
    "The cities are Delft and Rome.",
    'He said "100%" and a_b.',
    "発売は金曜日です",
    "AI is ok.",
)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("launch friday", [NOTED[0]]),
        ("LAUNCH", [NOTED[0]]),
        ("launch rome", []),
        ("金曜日", [NOTED[3]]),
        ("発売", [NOTED[3]]),
        ("ai ok", [NOTED[4]]),
        ("ai friday", []),
        ("100%", [NOTED[2]]),
        ("0%", [NOTED[2]]),
        ("a_b", [NOTED[2]]),
        ("_b", [NOTED[2]]),
        ('"100', [NOTED[2]]),
        ("", []),
        ("  ", []),
        ("\0", []),
        ("fri\0day", [NOTED[0]]),
    ],
)
def test_search_finds_lines_that_hold_every_word(noted: Storage, query: str, found: list[str]) -> None:
    assert texts(noted.library.search(query, 10)) == found


LANGUAGE = """ " "" \""" * lau* NEAR( -launch body:launch search:launch {body} ^launch launch) '; DROP-- \\ %%% !!! """


@pytest.mark.parametrize("query", [*LANGUAGE.split(), "a AND", "OR OR OR", "NOT launch", "NEAR(launch friday, 2)"])
def test_the_search_language_of_the_database_is_only_text(noted: Storage, query: str) -> None:
    for line in noted.library.search(query, 10):
        assert all(word.casefold() in line.text.casefold() for word in query.split())
    assert len(noted.library.topics(DAY)[0].lines) == len(NOTED)


@given(st.text())
def test_no_query_makes_the_search_fail(query: str) -> None:
    _shared_library().search(query, 5)
    _shared_library().candidates(content(query), 5)


_shared: list[Storage] = []


def _shared_library() -> Library:
    return _shared[0].library


@pytest.fixture(autouse=True, scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    _shared.append(open_storage(settings(tmp_path_factory.mktemp("shared"))))
    yield
    _shared.pop().database.close()


def test_a_question_of_thousands_of_words_is_looked_up(noted: Storage) -> None:
    words = [f"word{n}" for n in range(5000)]
    assert texts(noted.library.candidates(["launch", *words], 5)) == [NOTED[0]]
    pairs = [chr(0x4E00 + n) + chr(0x4E01 + n) for n in range(5000)]
    assert texts(noted.library.candidates(["金曜", *pairs], 5)) == [NOTED[3]]


def test_a_stem_finds_its_other_forms(noted: Storage) -> None:
    assert texts(noted.library.candidates(["city"], 5)) == [NOTED[1]]


def test_a_correction_is_found_and_the_recognised_words_stay(noted: Storage) -> None:
    (line,) = noted.library.search("launch", 5)

    corrected = noted.library.correct(line.stream, line.seq, "We lunch on Friday.")

    assert corrected is not None and (corrected.text, corrected.heard) == ("We lunch on Friday.", NOTED[0])
    assert texts(noted.library.search("lunch", 5)) == texts(noted.library.search("launch", 5)) == [corrected.text]
    assert noted.library.correct(line.stream, 999, "x") is None


def test_a_day_is_a_day_to_its_last_nanosecond(storage: Storage) -> None:
    tape = Tape(began_at=MIDNIGHT - 1)
    utterance = tape.utterance(3)
    keep(storage, tape)
    note(storage, tape, utterance, "Late.")

    assert storage.library.days() == [DAY]
    assert [topic.title for topic in storage.library.topics(DAY)] == ["Late"]
    assert storage.library.topics("2026-11-21") == []


def test_a_gap_of_hours_across_midnight_is_counted_on_both_days(storage: Storage) -> None:
    tape = Tape(began_at=MIDNIGHT - 7_200_000_000_000)
    tape.gap(4 * 3600.0)
    tape.silence(60.0)
    keep(storage, tape)

    days = [account(storage.library.spans(STREAM, day), day) for day in (DAY, "2026-11-21", "2026-11-22")]

    assert [(day.gap_s, day.silence_s) for day in days] == [(7200.0, 0.0), (7200.0, 60.0), (0.0, 0.0)]


def test_topics_of_several_streams_come_in_order_of_time(storage: Storage) -> None:
    for index, stream in enumerate("cba"):
        tape = Tape(stream=stream * 32, device=stream, began_at=NOON + index * 1_000_000_000)
        utterance = tape.utterance(3)
        keep(storage, tape)
        note(storage, tape, utterance, f"From {stream}.")

    assert [topic.device for topic in storage.library.topics(DAY)] == ["c", "b", "a"]
    assert [topic.device for topic in storage.library.topics(DAY, "b" * 32)] == ["b"]


def test_moments_come_in_order_of_capture_with_what_was_around_them(storage: Storage) -> None:
    tape = Tape()
    frame = tape.frame()
    spoken, quiet, waiting = tape.utterance(3), tape.utterance(3), tape.utterance(3)
    keep(storage, tape)
    see(storage, tape, frame, "EXIT\nEXIT")
    note(storage, tape, spoken, "Words.")
    job = next(job for job in storage.jobs.queued((), 10) if job.seq == quiet)
    storage.jobs.finish(job, Outcome("silence", "nothing", "", "fake", 3))

    first, second = storage.library.moments()

    assert (first.utterance, first.note, first.seen, first.frames) == (
        spoken,
        "Words.",
        ("EXIT",),
        (f"media/{STREAM}/{DAY}/{frame}.jpg",),
    )
    assert (second.utterance, second.outcome, second.note) == (quiet, "silence", "")
    assert waiting not in (first.utterance, second.utterance)
    assert list(storage.library.moments("2026-11-19")) == list(storage.library.moments(stream="c" * 32)) == []
    assert len(list(storage.library.moments(DAY, STREAM))) == 2


def test_a_job_of_another_kind_of_the_same_utterance_is_left_alone(storage: Storage) -> None:
    tape = Tape()
    utterance = tape.utterance(3)
    keep(storage, tape)
    note(storage, tape, utterance, "Hey notes when?", question=True)
    assert storage.jobs.queued((), 10) == [Job("answer", STREAM, utterance, id=storage.jobs.queued((), 10)[0].id)]


def test_the_oldest_jobs_of_every_stream_are_offered_however_long_one_backlog_is(storage: Storage) -> None:
    offline, live = Tape(stream="aa" * 16), Tape(stream="bb" * 16)
    for _ in range(5):
        offline.utterance()
    live.utterance()
    keep(storage, offline)
    keep(storage, live)

    offered = storage.jobs.queued((), 2)

    assert sorted(job.stream[0] for job in offered) == ["a", "a", "b"]
    assert sorted(job.stream[0] for job in storage.jobs.queued([job.id for job in offered], 2)) == ["a", "a"]
