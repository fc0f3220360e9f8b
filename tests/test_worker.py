"""Jobs through an engine, with a real store."""

import asyncio
from contextlib import closing
from pathlib import Path

import pytest
from fakes import NOON, FakeEngine, Tape, jpeg
from serving import Working, keep, on_a_loop, settings, within, working

from inference_server.app import open_storage
from inference_server.config import Notes
from inference_server.engines.base import EngineError, Noted
from inference_server.ledger import account
from inference_server.moments import ExportedMoment

DAY = "2026-11-20"


def moment(parts: Working, utterance: int) -> ExportedMoment:
    """What the store holds of a finished utterance."""
    return next(moment for moment in parts.storage.library.moments() if moment.utterance == utterance)


def lines(parts: Working) -> list[str]:
    return [line.text for topic in parts.storage.library.topics(DAY) for line in topic.lines]


async def rename(parts: Working, table: str, name: str) -> None:
    """Break the store, or mend it."""

    def work() -> None:
        with parts.storage.database.write() as db:
            db.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")

    await asyncio.to_thread(work)


# Outcomes


@on_a_loop
async def test_what_was_said_becomes_a_line_with_its_evidence(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        tape = Tape()
        frame = tape.frame()
        utterance = tape.utterance(26)
        parts.engine.say(26, Noted("noted", heard="um we launch", note="We launch.", speaker="Mia", todo=True))
        await parts.take(tape)

        assert await parts.outcome(utterance) == "noted"
        (told,) = parts.named("line")
        assert (told["line"]["text"], told["line"]["heard"], told["line"]["todo"]) == (
            "We launch.",
            "um we launch",
            True,
        )
        assert told["line"]["frame"] == f"/api/media/{tape.stream}/{frame}.jpg"
        assert told["line"]["captured_at"] == "2026-11-20T12:00:00.000Z"
        assert told["topic"]["title"] == "We launch"
        assert lines(parts) == ["We launch."]
        assert parts.storage.jobs.queued((), 10) == []


@pytest.mark.parametrize("outcome", ["silence", "unintelligible"])
def test_what_is_no_speech_never_becomes_a_line(tmp_path: Path, outcome: str) -> None:
    @on_a_loop
    async def story() -> None:
        async with working(tmp_path) as parts:
            tape = Tape()
            utterance = tape.utterance()
            parts.engine.say(17, Noted(outcome, reason="because"))
            await parts.take(tape)

            assert await parts.outcome(utterance) == outcome
            assert lines(parts) == [] and parts.named("line") == []
            assert (moment(parts, utterance).outcome_reason, moment(parts, utterance).engine) == ("because", "fake")

    story()


@on_a_loop
async def test_an_engine_that_fails_once_is_asked_again(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        tape = Tape()
        utterance = tape.utterance()
        parts.engine.say(17, EngineError("hiccup"), RuntimeError("a bug"), Noted("noted", heard="Yes.", note="Yes."))
        await parts.take(tape)

        assert await parts.outcome(utterance) == "noted"
        assert parts.engine.finals == [17, 17, 17]


@on_a_loop
async def test_what_fails_every_time_ends_as_failed_with_its_reason_and_holds_nothing_up(tmp_path: Path) -> None:
    async with working(tmp_path, config=settings(tmp_path, job_attempts=2)) as parts:
        tape = Tape()
        bad, good = tape.utterance(17), tape.utterance(18)
        parts.engine.say(17, EngineError("out of words"))
        parts.engine.say(18, "Fine.")
        await parts.take(tape)

        assert await parts.outcome(bad) == "failed"
        assert await parts.outcome(good) == "noted"
        assert parts.engine.finals.count(17) == 2
        assert moment(parts, bad).outcome_reason == "out of words"
        assert account(parts.storage.library.spans(tape.stream)).gap_s == pytest.approx(0.32)


@on_a_loop
async def test_an_engine_without_an_end_is_given_up(tmp_path: Path) -> None:
    async with working(tmp_path, config=settings(tmp_path, job_attempts=1, job_timeout_s=0.05)) as parts:
        parts.engine.working.clear()
        tape = Tape()
        utterance = tape.utterance()
        await parts.take(tape)

        assert await parts.outcome(utterance) == "failed"
        assert "no result within" in moment(parts, utterance).outcome_reason
        assert parts.engine.running == 0


@on_a_loop
async def test_audio_that_is_no_opus_is_stored_and_then_fails_at_once(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        tape = Tape()
        utterance = tape.start()
        tape.audio(2, b"\x00\x03abc\x00\x03def")
        tape.end()
        await parts.take(tape)

        outcome = await parts.outcome(utterance)
        assert outcome in ("failed", "silence")  # a lenient decoder makes noise of it, in which nothing is heard
        assert parts.storage.library.clip(tape.stream, utterance) is not None
        assert lines(parts) == []


@on_a_loop
async def test_a_clip_that_is_gone_fails_with_its_reason(tmp_path: Path) -> None:
    tape = Tape()
    utterance = tape.utterance()
    with closing((storage := open_storage(settings(tmp_path))).database):
        keep(storage, tape)
        clip = storage.library.clip(tape.stream, utterance)
        assert clip is not None
        clip.write_bytes(b"no audio at all")
    async with working(tmp_path) as parts:
        await parts.until(lambda: parts.storage.jobs.queued((), 1) == [] or bool(parts.named("ended")))
        assert moment(parts, utterance).outcome == "failed"
        assert "cannot be decoded" in moment(parts, utterance).outcome_reason
        assert parts.engine.finals == []


# Order and fairness


@on_a_loop
async def test_notes_of_one_stream_are_made_one_after_the_other_and_of_two_side_by_side(tmp_path: Path) -> None:
    engine = FakeEngine(parallel=3)
    async with working(tmp_path, engine) as parts:
        one, other = Tape(), Tape(stream="c" * 32)
        numbers = [10, 11, 12]
        for n in numbers:
            parts.engine.say(n, f"Part {n}.")
            parts.engine.say(n + 10, f"Part {n + 10}.")
            one.utterance(n)
            other.utterance(n + 10)
        engine.working.clear()
        await parts.take(one)
        await parts.take(other)
        engine.working.set()
        await parts.until(lambda: len(parts.named("line")) == 6)

        assert engine.most_running <= 2
        assert [n for n in engine.finals if n in numbers] == numbers
        assert [n for n in engine.finals if n not in numbers] == [20, 21, 22]


@on_a_loop
async def test_jobs_of_an_earlier_run_are_done(tmp_path: Path) -> None:
    tape = Tape()
    utterances = [tape.utterance(n) for n in (17, 18, 19)]
    with closing((storage := open_storage(settings(tmp_path))).database):
        keep(storage, tape)
    engine = FakeEngine()
    engine.say(18, "Second.")
    async with working(tmp_path, engine) as parts:
        await parts.until(lambda: not parts.storage.jobs.queued((), 1))
        assert [moment(parts, utterance).outcome for utterance in utterances] == ["silence", "noted", "silence"]


@on_a_loop
async def test_a_worker_that_is_stopped_in_the_middle_leaves_the_job_for_the_next_run(tmp_path: Path) -> None:
    engine, tape = FakeEngine(), Tape()
    utterance = tape.utterance()
    async with working(tmp_path, engine) as parts:
        engine.working.clear()
        await parts.take(tape)
        await within(engine.busy.wait())
    assert engine.running == 0
    again = FakeEngine()
    again.say(17, "Still here.")
    async with working(tmp_path, again) as parts:
        await parts.until(lambda: not parts.storage.jobs.queued((), 1))
        assert moment(parts, utterance).note == "Still here."


@on_a_loop
async def test_more_jobs_than_fit_the_queue_are_all_done(tmp_path: Path) -> None:
    tape = Tape()
    for _ in range(300):
        tape.utterance(2)
    with closing((storage := open_storage(settings(tmp_path))).database):
        keep(storage, tape)
    async with working(tmp_path) as parts:
        await parts.until(lambda: len(parts.named("ended")) == 300)
        assert parts.storage.jobs.queued((), 1) == []


# Drafts


@on_a_loop
async def test_words_are_shown_while_the_person_speaks_and_never_after_the_note(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        tape = Tape()
        parts.engine.say(65, "All of it.")
        utterance = tape.start()
        tape.audio(16)
        await parts.take(tape)
        await parts.until(lambda: bool(parts.named("draft")))
        assert parts.services.worker.drafts()[0]["utterance"] == utterance
        for _ in range(3):
            tape.audio(16)
            await parts.take(tape)
        tape.audio(1)
        tape.end()
        await parts.take(tape)
        await parts.services.worker.speech_arrived(tape.stream, utterance)
        assert await parts.outcome(utterance) == "noted"
        await parts.take(_nudge(tape))

        names = [
            event.name for event in parts.events if event.data.get("utterance") == utterance or event.name == "line"
        ]
        assert names.count("line") == 1 and "draft" not in names[names.index("line") :]
        assert parts.services.worker.drafts() == []


def _nudge(tape: Tape) -> Tape:
    tape.silence(1.0)
    return tape


@on_a_loop
async def test_without_drafts_nothing_is_recognised_before_the_end(tmp_path: Path) -> None:
    async with working(tmp_path, config=settings(tmp_path, notes=Notes(drafts=False))) as parts:
        tape = Tape()
        utterance = tape.start()
        tape.audio(16)
        await parts.take(tape)
        tape.end()
        await parts.take(tape)

        await parts.outcome(utterance)
        assert parts.engine.drafted == [] and parts.named("draft") == []


@on_a_loop
async def test_a_draft_of_audio_that_cannot_be_decoded_yet_harms_nothing(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        tape = Tape(codec="pcm")
        utterance = tape.start()
        tape.audio(16)
        await parts.take(tape)
        tape.end()
        await parts.take(tape)
        assert await parts.outcome(utterance) == "silence"
        await parts.services.worker.speech_arrived(tape.stream, 999)


# Load


@on_a_loop
async def test_shedding_is_said_out_loud_and_ends_when_the_work_is_done(tmp_path: Path) -> None:
    engine = FakeEngine(parallel=1)
    async with working(tmp_path, engine, settings(tmp_path, shed_summaries_at=2, shed_frames_at=4)) as parts:
        engine.working.clear()
        tape = Tape()
        for _ in range(8):
            tape.utterance(3)
        tape.frame(jpeg("EXIT"))
        await parts.take(tape)
        await parts.until(lambda: {"shedding": "frames"} in parts.named("load"))
        assert parts.services.worker.shedding == "frames"

        engine.working.set()
        await parts.until(lambda: len(parts.named("ended")) == 8 and bool(parts.named("line")))

        assert [data["shedding"] for data in parts.named("load")][-2:] == ["summaries", ""]
        assert lines(parts) == ["EXIT"]  # frames wait, and are read when there is time


@on_a_loop
async def test_a_topic_gets_a_better_heading(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        parts.engine.headings = ["A heading"]
        parts.engine.say(17, "First words of it all.")
        tape = Tape()
        tape.utterance()
        await parts.take(tape)

        await parts.until(lambda: bool(parts.named("topic")))
        assert parts.named("topic")[0]["title"] == "A heading"
        assert [topic.title for topic in parts.storage.library.topics(DAY)] == ["A heading"]


# Trouble with the store


@on_a_loop
async def test_a_store_that_fails_stops_no_work_for_good_and_costs_no_attempt(tmp_path: Path) -> None:
    async with working(tmp_path, config=settings(tmp_path, store_retry_s=0.01, job_attempts=1)) as parts:
        parts.engine.say(17, "Kept.")
        tape = Tape()
        utterance = tape.utterance()
        tape.frame(jpeg("EXIT"))
        for table in ("topics", "jobs", "frames"):
            await rename(parts, table, f"{table}_away")
        await parts.services.worker.wake()
        parts.services.reading.frame_arrived()
        await rename(parts, "jobs_away", "jobs")
        await rename(parts, "frames_away", "frames")
        await parts.take(tape)
        for _ in range(2):  # it is made again and again; nothing of it can be written
            await within(parts.engine.busy.wait())
            parts.engine.busy.clear()
        await rename(parts, "topics_away", "topics")

        assert await parts.outcome(utterance) == "noted"
        await parts.until(lambda: "EXIT" in lines(parts))
        assert parts.storage.jobs.queued((), 1) == []


# Spoken questions


@on_a_loop
async def test_a_spoken_question_is_answered_with_its_evidence(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        tape = Tape()
        parts.engine.say(17, "We launch the website on Friday.")
        parts.engine.say(18, "Hey notes, when do we launch the website?")
        fact = tape.utterance(17)
        tape.silence(1.0)
        question = tape.utterance(18)
        await parts.take(tape)

        await parts.until(lambda: any(data["done"] for data in parts.named("answer")))
        answer = parts.named("answer")[-1]
        assert answer["question"] == "when do we launch the website?"
        assert answer["text"] == "“We launch the website on Friday.”" and answer["answered"]
        assert [item["id"] for item in answer["evidence"]] == [f"{tape.stream}/{fact}"]
        (stored,) = parts.storage.library.answers(DAY)
        assert (stored.utterance, stored.evidence) == (question, (f"{tape.stream}/{fact}",))


@on_a_loop
async def test_a_spoken_question_without_support_is_said_to_have_none(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        tape = Tape()
        parts.engine.say(17, "We launch the website on Friday.")
        parts.engine.say(18, "Hey notes, who is the president of France?")
        parts.engine.say(19, "Hey notes, who is the president of France this year?")
        for n in (17, 18, 19):
            tape.utterance(n)
        await parts.take(tape)

        await parts.until(lambda: sum(data["done"] for data in parts.named("answer")) == 2)
        for answer in parts.named("answer"):
            assert not answer["answered"] and answer["evidence"] == []  # nor does one question answer another


@on_a_loop
async def test_a_question_is_not_answered_from_what_was_said_after_it(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        parts.engine.say(17, "We launch the website on Friday.")
        parts.engine.say(18, "Hey notes, when do we launch the website?")
        early, late = Tape(stream="c" * 32), Tape(began_at=NOON + 60_000_000_000)
        fact = late.utterance(17)
        await parts.take(late)
        await parts.outcome(fact)
        early.utterance(18)
        await parts.take(early)

        await parts.until(lambda: any(data["done"] for data in parts.named("answer")))
        assert not parts.named("answer")[-1]["answered"]


@on_a_loop
async def test_an_answer_that_fails_says_so_at_the_time_of_the_question(tmp_path: Path) -> None:
    async with working(tmp_path, config=settings(tmp_path, job_attempts=2)) as parts:
        tape = Tape()
        parts.engine.answer_fails = EngineError("out of memory")
        parts.engine.say(18, "Hey notes, when do we launch?")
        question = tape.utterance(18)
        await parts.take(tape)

        await parts.until(lambda: bool(parts.named("answer")))
        (answer,) = parts.named("answer")
        assert (answer["done"], answer["answered"]) == (True, False)
        assert "out of memory" in answer["text"] and answer["question"] == "when do we launch?"
        (stored,) = parts.storage.library.answers(DAY)
        assert (stored.utterance, stored.captured_at) == (question, tape.began_at)
        assert parts.storage.jobs.queued((), 1) == []


@on_a_loop
async def test_a_question_that_is_forgotten_while_it_is_answered_leaves_no_answer(tmp_path: Path) -> None:
    async with working(tmp_path) as parts:
        tape = Tape()
        parts.engine.say(17, "The code is 1234 and nothing else.")
        parts.engine.say(18, "Hey notes, what is the code?")
        fact = tape.utterance(17)
        await parts.take(tape)
        await parts.outcome(fact)
        asked = asyncio.Event()
        answer = parts.engine.answer

        def slow(question: str, passages):  # type: ignore[no-untyped-def]
            parts.engine.working.clear()
            asked.set()
            return answer(question, passages)

        parts.engine.answer = slow  # type: ignore[method-assign]
        tape.utterance(18)
        await parts.take(tape)
        await within(asked.wait())
        parts.engine.answer = answer  # type: ignore[method-assign]
        await asyncio.to_thread(parts.storage.library.forget, tape.stream, fact)
        parts.engine.working.set()

        await parts.until(lambda: any(data["done"] for data in parts.named("answer")))
        assert not parts.named("answer")[-1]["answered"]
        (stored,) = parts.storage.library.answers(DAY)
        assert "1234" not in stored.text
