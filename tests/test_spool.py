"""The spool on real files: durable, exclusive, bounded, and plain about what is wrong."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.protocol import (
    Audio,
    Frame,
    Gap,
    Record,
    Silence,
    UtteranceEnd,
    UtteranceStart,
    decode_from_agent,
)
from agent.spool import Resume, Spool, SpoolError

ROOM = 10_000_000
UTC = 1_700_000_000_000_000_000
SECOND = 16_000
Numbered = tuple[Record, bytes]


def silence(seq: int) -> Numbered:
    """A second of silence; record `seq` begins at second `seq`."""
    return Silence(seq=seq, first_sample=seq * SECOND, n_samples=SECOND, captured_at=UTC), b""


def audio(seq: int, first_sample: int = 0) -> Numbered:
    """320 ms of sound, 10 kB of it."""
    record = Audio(seq=seq, first_sample=first_sample, n_samples=5120, captured_at=UTC, codec="pcm")
    return record, bytes(10_240)


def frame(seq: int) -> Numbered:
    """A picture of 10 kB."""
    return Frame(seq=seq, sample=0, captured_at=UTC, width=4, height=3), bytes(10_000)


def held(spool: Spool, after_seq: int = 0) -> list[Numbered]:
    """Everything behind `after_seq`, decoded."""
    found = [decode_from_agent(wire) for _, wire in spool.read(after_seq, 1_000_000)]
    records = [(record, payload) for record, payload in found if not isinstance(record, str)]
    return records  # type: ignore[return-value]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with closing(Spool(tmp_path / "spool", ROOM)) as opened:
        yield opened


def test_a_new_spool_begins_an_empty_stream(spool: Spool) -> None:
    assert spool.resume() == Resume(next_seq=1, position=0, captured_at=0, open_utterance=0, clean=True)
    assert (spool.backlog(), spool.span(), spool.read(0, 10)) == (0, (1, 1), [])
    assert len(spool.stream) == 32


def test_what_was_appended_is_there_after_a_reopen(tmp_path: Path) -> None:
    with closing(Spool(tmp_path, ROOM)) as before:
        stream = before.stream
        before.append([silence(1), frame(2)])
        before.append([silence(3)])
    with closing(Spool(tmp_path, ROOM)) as after:
        assert held(after) == [silence(1), frame(2), silence(3)]
        assert (after.stream, after.span(), after.backlog()) == (stream, (1, 4), 3)
        assert after.resume().position == 4 * SECOND


def test_two_spools_are_two_streams(tmp_path: Path) -> None:
    with closing(Spool(tmp_path / "one", ROOM)) as one, closing(Spool(tmp_path / "two", ROOM)) as two:
        assert one.stream != two.stream


def test_what_the_server_holds_is_forgotten_and_the_numbers_go_on(spool: Spool) -> None:
    spool.append([silence(seq) for seq in range(1, 11)])
    spool.drop_through(7)
    assert [seq for seq, _ in spool.read(0, 100)] == [8, 9, 10]
    assert (spool.backlog(), spool.span()) == (3, (8, 11))
    spool.drop_through(10)
    assert (spool.backlog(), spool.span()) == (0, (11, 11))


def test_reading_gives_the_oldest_first_and_no_more_than_asked_for(spool: Spool) -> None:
    spool.append([silence(seq) for seq in range(1, 11)])
    assert [seq for seq, _ in spool.read(3, 4)] == [4, 5, 6, 7]


def test_appending_nothing_changes_nothing(spool: Spool) -> None:
    spool.append([])
    assert spool.span() == (1, 1)


def test_a_process_that_did_not_finish_leaves_an_unclean_stream(tmp_path: Path) -> None:
    with closing(Spool(tmp_path, ROOM)) as killed:
        killed.resume()
        killed.append([(UtteranceStart(seq=1, first_sample=0, captured_at=UTC), b""), audio(2)])
    with closing(Spool(tmp_path, ROOM)) as after:
        heard_until = UTC + 320_000_000
        assert after.resume() == Resume(
            next_seq=3, position=5120, captured_at=heard_until, open_utterance=1, clean=False
        )


def test_a_process_that_finished_leaves_a_clean_stream(tmp_path: Path) -> None:
    with closing(Spool(tmp_path, ROOM)) as before:
        before.resume()
        before.append(
            [
                (UtteranceStart(seq=1, first_sample=0, captured_at=UTC), b""),
                audio(2),
                (UtteranceEnd(seq=3, end_sample=5000, captured_at=UTC + 7, reason="pause"), b""),
            ]
        )
        before.finish()
    with closing(Spool(tmp_path, ROOM)) as after:
        assert after.resume() == Resume(next_seq=4, position=5000, captured_at=UTC + 7, open_utterance=0, clean=True)


HOLDER = """
import sys
from pathlib import Path
from agent.protocol import Silence
from agent.spool import Spool
spool = Spool(Path(sys.argv[1]), 10_000_000)
seq = 0
while True:
    seq += 1
    spool.append([(Silence(seq=seq, first_sample=seq, n_samples=1, captured_at=0), b"")])
    print(seq, flush=True)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that appends record after record and says each number once it is durable."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_while_the_first_lives(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(SpoolError, match="another agent is using this spool"):
        Spool(tmp_path, ROOM)


def test_a_killed_process_frees_the_spool_and_loses_nothing_that_it_appended(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    assert holder.stdout is not None
    while holder.stdout.readline() != "20\n":
        pass
    holder.send_signal(signal.SIGKILL)
    last = max([20, *map(int, holder.stdout.read().split())])
    holder.wait()
    with closing(Spool(tmp_path, ROOM)) as after:
        seqs = [seq for seq, _ in after.read(0, 1_000_000)]
        assert seqs == list(range(1, len(seqs) + 1))
        assert len(seqs) >= last
        assert after.span()[1] == len(seqs) + 1


def test_a_process_killed_while_it_made_the_spool_leaves_one_that_works(tmp_path: Path) -> None:
    """Given only the files and an empty database, as after a kill before the first commit."""
    sqlite3.connect(tmp_path / "spool.db").close()
    (tmp_path / "lock.db").touch()
    with closing(Spool(tmp_path, ROOM)) as spool:
        spool.append([silence(1)])
        assert spool.backlog() == 1


def test_a_full_spool_gives_up_its_oldest_frames_first_each_as_a_gap(tmp_path: Path) -> None:
    with closing(Spool(tmp_path, 100_000)) as spool:
        spool.append([(UtteranceStart(seq=1, first_sample=0, captured_at=UTC), b"")])
        numbers = count(2)
        for at in range(4):
            spool.append([audio(next(numbers), at * 5120)])
            spool.append([frame(next(numbers))])
        spool.append([frame(next(numbers)), frame(next(numbers))])

        kinds = [type(record).__name__ for record, _ in held(spool)]
        assert kinds == [
            "UtteranceStart", "Audio", "Gap", "Audio", "Gap", "Audio", "Frame", "Audio", "Frame", "Frame", "Frame",
        ]  # fmt: skip
        gap, payload = held(spool)[2]
        assert gap == Gap(seq=3, first_sample=0, n_samples=0, captured_at=UTC, reason="spool full")
        assert payload == b""


def test_a_full_spool_without_frames_gives_up_its_oldest_audio_and_says_which_span_is_lost(tmp_path: Path) -> None:
    with closing(Spool(tmp_path, 100_000)) as spool:
        for at in range(12):
            spool.append([audio(at + 1, at * 5120)])
        records = [record for record, _ in held(spool)]
        assert [record.seq for record in records] == list(range(1, 13))
        assert [type(record).__name__ for record in records] == ["Gap"] * 4 + ["Audio"] * 8
        assert all(isinstance(r, Gap | Audio) and r.first_sample == i * 5120 for i, r in enumerate(records))
        assert all(isinstance(r, Gap | Audio) and r.n_samples == 5120 for r in records)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.one_of(st.sampled_from([silence, audio, frame]), st.integers(1, 9)), max_size=60))
def test_however_full_the_numbers_stay_whole_and_the_size_stays_under_the_cap(
    tmp_path_factory: pytest.TempPathFactory, steps: list[object]
) -> None:
    """A step appends a record, or forgets so many of those that are held."""
    directory = tmp_path_factory.mktemp("spool")
    with closing(Spool(directory, 60_000)) as spool:
        next_seq, dropped = 1, 0
        for step in steps:
            if isinstance(step, int):
                dropped = min(dropped + step, next_seq - 1)
                spool.drop_through(dropped)
            else:
                assert callable(step)
                spool.append([step(next_seq)])
                next_seq += 1
            wires = spool.read(0, 1000)
            assert [seq for seq, _ in wires] == list(range(dropped + 1, next_seq))
            assert spool.backlog() == len(wires)
            assert sum(len(wire) for _, wire in wires) <= 60_000
    shutil.rmtree(directory)


def test_a_spool_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "spool.db")) as db:
        db.execute("PRAGMA user_version = 99")
    for _ in range(2):  # the second time shows that the first has let go of the lock
        with pytest.raises(SpoolError, match="newer Fieldnote"):
            Spool(tmp_path, ROOM)


@pytest.mark.parametrize("name", ["spool.db", "lock.db"])
def test_a_file_that_is_no_database_is_one_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"This is not a database. " * 500)
    for _ in range(2):
        with pytest.raises(SpoolError, match="not a database"):
            Spool(tmp_path, ROOM)


def test_a_spool_whose_memory_is_damaged_is_one_clear_error(tmp_path: Path) -> None:
    Spool(tmp_path, ROOM).close()
    with closing(sqlite3.connect(tmp_path / "spool.db")) as db, db:
        db.execute("DELETE FROM meta WHERE key = 'stream'")
    with pytest.raises(SpoolError, match=r"damaged.*move this directory away"):
        Spool(tmp_path, ROOM)


def test_pages_overwritten_on_disk_are_one_clear_error_wherever_they_are_met(tmp_path: Path) -> None:
    with closing(Spool(tmp_path, ROOM)) as spool:
        for seq in range(1, 40):
            spool.append([audio(seq)])
    path = tmp_path / "spool.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    with pytest.raises(SpoolError, match="damaged"), closing(Spool(tmp_path, ROOM)) as spool:
        spool.read(0, 100)


def test_a_path_that_cannot_be_a_directory_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match=r"cannot be opened.*choose another --spool DIR"):
        Spool(tmp_path / "file", ROOM)


def test_a_full_disk_refuses_a_whole_append_and_takes_records_again_when_there_is_room(tmp_path: Path) -> None:
    with closing(Spool(tmp_path, ROOM)) as spool:
        spool.append([silence(1)])
        pages = spool._db.execute("PRAGMA page_count").fetchone()[0]
        spool._db.execute(f"PRAGMA max_page_count = {pages + 4}")
        with pytest.raises(SpoolError, match="free some space"):
            spool.append([silence(2), audio(3), audio(4)])
        assert (held(spool), spool.span(), spool.backlog()) == ([silence(1)], (1, 2), 1)
        spool._db.execute("PRAGMA max_page_count = 100000")
        spool.append([silence(2), audio(3), audio(4)])
        assert spool.backlog() == 4


def test_closing_twice_is_harmless_and_later_use_is_one_clear_error(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ROOM)
    spool.close()
    spool.close()
    with pytest.raises(SpoolError):
        spool.read(0, 1)
