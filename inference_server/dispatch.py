"""Which job next: answers before notes before drafts before summaries; fair between streams; bounded. Pure.

Notes are never shed: what has no room here stays in the jobs table and is offered again. Summaries have a
bound, and the oldest gives way. Of one stream one note is made at a time, so that they are folded in order. A
draft is only worth its newest state, so each utterance has at most one.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["answer", "note", "ahead", "draft", "summary"]
_ORDER: tuple[Kind, ...] = ("answer", "note", "ahead", "draft", "summary")


@dataclass(frozen=True, slots=True)
class Job:
    """A unit of engine work. `id` is the row in the jobs table, 0 for drafts and summaries, which are not durable."""

    kind: Kind
    stream: str
    seq: int  # the utterance's, or for a summary the topic's
    id: int = 0
    attempts: int = 0


@dataclass(slots=True)
class Dispatch:
    """Queues by kind and stream. `shed` counts what gave way."""

    notes_limit: int  # of each stream
    answers_limit: int
    summaries_limit: int
    shed_summaries: int = 0
    _queues: dict[Kind, dict[str, deque[Job]]] = field(default_factory=lambda: {kind: {} for kind in _ORDER})
    _served: dict[str, int] = field(default_factory=dict)  # stream -> turn at which it was last served
    _turn: int = 0
    _busy: set[tuple[str, str]] = field(
        default_factory=set
    )  # what may run once a stream: a note, a draft of either kind

    def offer(self, job: Job) -> bool:
        """Queue a job; False if there is no room for it now."""
        queues = self._queues[job.kind]
        queue = queues.setdefault(job.stream, deque())
        if job in queue:
            return True
        match job.kind:
            case "note" if len(queue) >= self.notes_limit:
                return False
            case "answer" if self.waiting("answer") >= self.answers_limit:
                return False
            case "summary" if self.waiting("summary") >= self.summaries_limit:
                self._drop_oldest_summary()
            case _:
                pass
        queue.append(job)
        return True

    def _drop_oldest_summary(self) -> None:
        longest = max(self._queues["summary"].values(), key=len)
        longest.popleft()
        self.shed_summaries += 1

    def waiting(self, kind: Kind) -> int:
        """Jobs of this kind in the queue."""
        return sum(len(queue) for queue in self._queues[kind].values())

    def clear(self, kind: Kind) -> int:
        """Drop all jobs of this kind; returns how many."""
        n = self.waiting(kind)
        self._queues[kind].clear()
        return n

    def next(self, drafts: bool = True) -> Job | None:
        """The next job, and it counts as served; None if there is none. `drafts` False: leave drafts waiting."""
        for kind in _ORDER:
            if kind == "draft" and not drafts:
                continue
            waiting = [
                (self._served.get(stream, 0), stream)
                for stream, queue in self._queues[kind].items()
                if queue and (_once(kind), stream) not in self._busy
            ]
            if waiting:
                _, stream = min(waiting)
                self._turn += 1
                self._served[stream] = self._turn
                if kind in ("note", "draft", "ahead"):
                    self._busy.add((_once(kind), stream))
                return self._queues[kind][stream].popleft()
        return None

    def done(self, job: Job) -> None:
        """A job that `next` gave has ended."""
        self._busy.discard((_once(job.kind), job.stream))


def _once(kind: Kind) -> str:
    """Drafts and looks ahead are the same work: side by side they would only slow each other down."""
    return "draft" if kind == "ahead" else kind


def shedding(notes_waiting: int, shed_summaries_at: int, shed_frames_at: int) -> Literal["", "summaries", "frames"]:
    """What gives way at this many waiting notes: first summaries, then the reading of frames; never speech."""
    if notes_waiting >= shed_frames_at:
        return "frames"
    return "summaries" if notes_waiting >= shed_summaries_at else ""
