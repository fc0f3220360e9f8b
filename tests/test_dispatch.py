"""Dispatch: order of kinds, fairness, bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.dispatch import Dispatch, Job, Kind, shedding

KINDS: tuple[Kind, ...] = ("answer", "note", "ahead", "draft", "summary")


def dispatch(notes: int = 100, answers: int = 100, summaries: int = 100) -> Dispatch:
    return Dispatch(notes, answers, summaries)


def drained(d: Dispatch) -> list[Job]:
    """Everything in the order of service, each done before the next."""
    jobs = []
    while (job := d.next()) is not None:
        d.done(job)
        jobs.append(job)
    return jobs


jobs = st.builds(
    lambda kind, stream, seq: Job(kind, stream, seq, id=seq),
    st.sampled_from(KINDS),
    st.sampled_from(["a", "b", "c"]),
    st.integers(1, 50),
)


@given(st.lists(jobs, unique=True))
def test_every_job_that_is_taken_is_served_once(offered: list[Job]) -> None:
    d = dispatch()
    assert all(d.offer(job) for job in offered)

    assert sorted(drained(d), key=repr) == sorted(offered, key=repr)


@given(st.lists(jobs, unique=True))
def test_of_one_stream_and_kind_jobs_keep_their_order(offered: list[Job]) -> None:
    d = dispatch()
    for job in offered:
        d.offer(job)

    served = drained(d)
    for kind in KINDS:
        for stream in "abc":
            mine = [job for job in offered if (job.kind, job.stream) == (kind, stream)]
            assert [job for job in served if (job.kind, job.stream) == (kind, stream)] == mine


@given(st.lists(jobs, unique=True))
def test_answers_go_before_notes_before_words_ahead_before_drafts_before_summaries(offered: list[Job]) -> None:
    d = dispatch()
    for job in offered:
        d.offer(job)

    ranks = [KINDS.index(job.kind) for job in drained(d)]
    assert ranks == sorted(ranks)


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40))
def test_a_stream_with_much_work_does_not_keep_the_others_waiting(streams: list[str]) -> None:
    d = dispatch()
    for seq, stream in enumerate(streams, 1):
        d.offer(Job("note", stream, seq, id=seq))

    served = [job.stream for job in drained(d)]
    first = {stream: served.index(stream) for stream in set(streams)}
    assert sorted(first.values()) == list(range(len(first)))


def test_two_notes_of_one_stream_are_never_made_at_once() -> None:
    d = dispatch()
    first, second, other = Job("note", "a", 1, id=1), Job("note", "a", 2, id=2), Job("note", "b", 3, id=3)
    for job in (first, second, other):
        d.offer(job)

    assert [d.next(), d.next(), d.next()] == [first, other, None]
    d.done(first)
    assert d.next() == second


def test_an_answer_passes_a_note_of_its_own_stream() -> None:
    d = dispatch()
    note, later, answer = Job("note", "a", 1, id=1), Job("note", "a", 2, id=2), Job("answer", "a", 1, id=3)
    d.offer(note)
    d.next()
    d.offer(later)
    d.offer(answer)

    assert d.next() == answer
    d.done(answer)
    assert d.next() is None


def test_drafts_wait_when_they_are_told_to() -> None:
    d = dispatch()
    draft, summary = Job("draft", "a", 1), Job("summary", "a", 1)
    d.offer(draft)
    d.offer(summary)

    assert d.next(drafts=False) == summary
    assert d.next(drafts=False) is None
    assert d.next() == draft


@pytest.mark.parametrize("kind", ["note", "answer"])
def test_a_durable_job_without_room_is_refused_and_not_lost(kind: Kind) -> None:
    d = dispatch(notes=1, answers=1)
    assert d.offer(Job(kind, "a", 1, id=1))
    assert not d.offer(Job(kind, "a", 2, id=2))
    assert d.waiting(kind) == 1

    d.next()
    assert d.offer(Job(kind, "b", 2, id=2))


def test_a_summary_too_many_drops_the_oldest_of_the_longest_queue_and_is_counted() -> None:
    d = dispatch(summaries=2)
    for seq in (1, 2):
        d.offer(Job("summary", "a", seq))

    assert d.offer(Job("summary", "b", 3))
    assert d.shed_summaries == 1
    assert {job.seq for job in drained(d)} == {2, 3}


def test_a_job_that_waits_already_is_not_queued_twice() -> None:
    d = dispatch()
    assert d.offer(Job("draft", "a", 1)) and d.offer(Job("draft", "a", 1))
    assert d.waiting("draft") == 1


def test_clearing_says_how_many_went() -> None:
    d = dispatch()
    for seq in (1, 2):
        d.offer(Job("summary", "a", seq))

    assert d.clear("summary") == 2 and d.waiting("summary") == 0 and d.next() is None


@given(st.integers(0, 30))
def test_summaries_give_way_before_frames_and_speech_never(waiting: int) -> None:
    assert shedding(waiting, 4, 12) == ("" if waiting < 4 else "summaries" if waiting < 12 else "frames")


def test_a_device_with_a_long_backlog_leaves_room_for_another() -> None:
    d = Dispatch(2, 2, 2)
    assert [d.offer(Job("note", "back from the hills", n, id=n)) for n in (1, 2, 3)] == [True, True, False]
    assert d.offer(Job("note", "live", 1, id=9))
    first, second = d.next(), d.next()
    assert first is not None and second is not None and {first.stream, second.stream} == {"back from the hills", "live"}
