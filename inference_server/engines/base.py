"""The engine seam: three tasks, each streaming its output. Implementations: `cascade` (CPU, embedded); more to come.

A caller closes what it opens: `async with aclosing(engine.note(moment)) as pieces: ...`. Closing stops the work.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from agent.audio import Pcm


class EngineError(Exception):
    """This job failed; the next one may still succeed."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The words heard so far; replaces the draft before it."""

    text: str


@dataclass(frozen=True, slots=True)
class Noted:
    """The end of a `note` task. `outcome`: noted, silence or unintelligible; only `noted` has text."""

    outcome: str
    heard: str = ""  # verbatim, as recognised
    note: str = ""  # cleaned of fillers and false starts
    reason: str = ""  # why it is not noted
    speaker: str = ""
    todo: bool = False  # somebody took or gave a task


@dataclass(frozen=True, slots=True)
class Passage:
    """Stored evidence that an answer may quote: what was heard or seen, and where it stands."""

    id: str  # the line's id
    text: str
    captured_at: int  # UTC nanoseconds


@dataclass(frozen=True, slots=True)
class Answered:
    """The end of an `answer` task: which passages it stands on. None: nothing supports an answer."""

    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summarised:
    """The end of a `summarise` task: a heading of a few words for a topic."""

    title: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the engine offers; the worker plans with it."""

    name: str
    languages: tuple[str, ...]
    parallel: int  # jobs that it runs at once without slowing each other down
    reads_frames: bool


class Engine(Protocol):
    """Answers jobs. Every method may raise EngineError when this job failed and the next may still succeed."""

    capabilities: Capabilities

    def note(self, audio: Pcm, spoken: int | None) -> AsyncGenerator[Draft | Noted]:
        """What is heard in `audio`, (n_samples,) int16 at 16 kHz: one utterance.

        `spoken` None: the person is still speaking; drafts only. Else it is complete and nothing is said behind its
        first `spoken` samples; ends with `Noted`.
        """
        ...

    def answer(self, question: str, passages: tuple[Passage, ...]) -> AsyncGenerator[str | Answered]:
        """Answer from the passages alone, in pieces of text; ends with `Answered`."""
        ...

    def summarise(self, notes: tuple[str, ...]) -> AsyncGenerator[Summarised]:
        """A heading for these notes, oldest first."""
        ...

    async def read(self, jpeg: bytes) -> tuple[str, ...]:
        """The lines of text in a frame, in reading order."""
        ...

    async def warm_up(self) -> None:
        """Load what the first job would otherwise wait for."""
        ...

    async def aclose(self) -> None:
        """Stop everything and free it."""
        ...
