"""Questions, typed or spoken, answered from the store: the engine answers, never without evidence."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from inference_server import views
from inference_server.engines.base import Answered, Engine, Passage
from inference_server.notes import Line
from inference_server.store.library import Library
from inference_server.words import content

_CANDIDATES = 200  # lines that the engine chooses from


class Answering:
    """Answers from what `library` holds. Lines that begin with the wake phrase are questions, and no evidence."""

    def __init__(self, engine: Engine, library: Library, wake_phrase: str) -> None:
        self._engine = engine
        self._library = library
        self._wake_phrase = wake_phrase

    async def evidence(self, lines: Sequence[Line]) -> list[views.Json]:
        """Lines that an answer stands on, as viewers see them."""
        devices = await asyncio.to_thread(self._library.device_names)
        return [views.evidence(line, devices.get(line.stream, "")) for line in lines]

    def question_in(self, heard: str) -> str:
        """The question that an utterance asks of us; "" if it asks none."""
        return question_in(heard, self._wake_phrase)

    async def answer(self, question: str, before_ns: int = 2**63 - 1) -> AsyncGenerator[str | list[Line]]:
        """Answer from what was captured before `before_ns` (UTC ns): pieces of text, then the lines behind it."""
        found = await asyncio.to_thread(self._library.candidates, content(question), _CANDIDATES)
        lines = {line.id: line for line in found if line.captured_at < before_ns and not self.question_in(line.text)}
        passages = tuple(Passage(line.id, line.text, line.captured_at) for line in lines.values())
        async with aclosing(self._engine.answer(question, passages)) as pieces:
            async for piece in pieces:
                match piece:
                    case str():
                        yield piece
                    case Answered(evidence):
                        yield [lines[id_] for id_ in evidence]


def question_in(text: str, wake_phrase: str) -> str:
    """The question behind the wake phrase at the beginning of `text`; "" if it does not begin with it.

    Recognisers waver on a short phrase, so each word may differ by one letter and end marks between do not count.
    """
    wake = re.findall(r"\w+", wake_phrase.casefold())
    words = list(re.finditer(r"\w+", text))
    if not wake or len(words) <= len(wake):
        return ""
    for word, expected in zip(words, wake, strict=False):
        if not _nearly(word.group().casefold(), expected):
            return ""
    return text[words[len(wake)].start() :].strip()


def _nearly(word: str, expected: str) -> bool:
    """Equal, or one letter changed, added or left out, the first letter apart."""
    if word == expected:
        return True
    if abs(len(word) - len(expected)) > 1 or len(expected) < 4 or word[:1] != expected[:1]:
        return False
    shorter, longer = sorted((word, expected), key=len)
    if len(shorter) == len(longer):
        return sum(a != b for a, b in zip(shorter, longer, strict=True)) == 1
    return any(longer[:at] + longer[at + 1 :] == shorter for at in range(len(longer)))
