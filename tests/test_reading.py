"""Reading frames beside the speech."""

from contextlib import closing
from pathlib import Path

from fakes import FakeEngine, Tape, jpeg
from serving import keep, on_a_loop, settings, working

from inference_server.app import open_storage


@on_a_loop
async def test_text_in_a_frame_becomes_a_line_once(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        tape = Tape()
        first = tape.frame(jpeg("PLATFORM 12\nDeparts 10:45"))
        tape.silence(5.0)
        tape.frame(jpeg("PLATFORM 12\nDeparts 10:45"))
        tape.silence(5.0)
        third = tape.frame(jpeg("PLATFORM 12\nChange at Delft"))
        await parts.take(tape)

        await parts.until(lambda: len(parts.named("line")) == 2)
        told = [(data["line"]["id"], data["line"]["kind"], data["line"]["text"]) for data in parts.named("line")]
        assert told == [
            (f"{tape.stream}/{first}", "seen", "PLATFORM 12 · Departs 10:45"),
            (f"{tape.stream}/{third}", "seen", "Change at Delft"),
        ]


@on_a_loop
async def test_text_that_was_seen_long_ago_is_new_again(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        tape = Tape()
        tape.frame(jpeg("EXIT"))
        tape.silence(601.0)
        tape.frame(jpeg("EXIT"))
        await parts.take(tape)

        await parts.until(lambda: len(parts.named("line")) == 2)


@on_a_loop
async def test_a_frame_that_cannot_be_read_keeps_no_other_waiting(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        tape = Tape()
        for text in ("unreadable", "upsetting", "EXIT"):
            tape.frame(jpeg(text))
            tape.silence(1.0)
        await parts.take(tape)

        await parts.until(lambda: bool(parts.named("line")))
        assert [data["line"]["text"] for data in parts.named("line")] == ["EXIT"]
        assert parts.storage.jobs.unread_frames(10) == ([], 0)


@on_a_loop
async def test_a_frame_whose_file_is_gone_keeps_no_other_waiting(tmp_path: Path) -> None:
    tape = Tape()
    gone, there = tape.frame(jpeg("GONE")), tape.frame(jpeg("THERE"))
    with closing((storage := open_storage(settings(tmp_path))).database):
        keep(storage, tape)
        path = storage.library.frame(tape.stream, gone)
        assert path is not None
        path.unlink()
    async with working(tmp_path) as parts:
        await parts.until(lambda: bool(parts.named("line")))
        assert parts.named("line")[0]["line"]["id"] == f"{tape.stream}/{there}"


@on_a_loop
async def test_when_too_many_frames_wait_the_oldest_are_shed(tmp_path: Path) -> None:
    engine, tape = FakeEngine(), Tape()
    for n in range(6):
        tape.frame(jpeg(f"NUMBER {n}"))
        tape.silence(1.0)
    with closing((storage := open_storage(settings(tmp_path))).database):
        keep(storage, tape)
    async with working(tmp_path, engine, settings(tmp_path, read_frames=2)) as parts:
        await parts.until(lambda: len(parts.named("line")) == 2)
        assert [data["line"]["text"] for data in parts.named("line")] == ["NUMBER 4", "NUMBER 5"]
        assert parts.services.metrics.shed.labels("frame")._value.get() == 4


@on_a_loop
async def test_an_engine_without_eyes_is_shown_nothing(tmp_path: Path) -> None:
    engine, tape = FakeEngine(reads_frames=False), Tape()
    engine.say(17, "Words.")
    tape.frame(jpeg("EXIT"))
    utterance = tape.utterance()
    async with working(tmp_path, engine) as parts:
        await parts.take(tape)
        await parts.outcome(utterance)
        assert engine.read_frames == []
