"""The embedded engine: speech recognition, text in frames, extractive notes, quoted answers. Nothing is invented."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from agent.audio import Pcm, seconds
from inference_server.config import Engine as EngineConfig
from inference_server.engines.base import (
    Answered,
    Capabilities,
    Draft,
    EngineError,
    Noted,
    Passage,
    Summarised,
)
from inference_server.engines.cascade import cleaning, summary
from inference_server.engines.cascade.plausible import judge
from inference_server.engines.cascade.reader import Reader
from inference_server.engines.cascade.recogniser import Heard, Recogniser, opener
from inference_server.engines.cascade.recollection import Recollection
from inference_server.retrieval import supporting

NOTHING = "I have nothing on that."


class Cascade:
    """Implements `base.Engine`. Recognition runs on `parallel` threads, reading frames in a process of its own."""

    def __init__(self, config: EngineConfig) -> None:
        self._open = opener(config)
        self._local = threading.local()
        self._opening = threading.Lock()  # moonshine's library loads itself on first use, and not thread-safely
        self._threads = ThreadPoolExecutor(config.parallel, thread_name_prefix="recogniser")
        self._recollection = Recollection()
        self._reader = Reader() if config.read_frames else None
        self.capabilities = Capabilities(
            name=f"cascade/{config.recogniser}",
            languages=(config.language,),
            parallel=config.parallel,
            reads_frames=config.read_frames,
        )

    async def warm_up(self) -> None:
        """Load the recogniser in every thread; the frame reader loads beside the first frame. Raises EngineError."""
        loop = asyncio.get_running_loop()
        together = threading.Barrier(self.capabilities.parallel)
        await asyncio.gather(
            *(loop.run_in_executor(self._threads, self._load, together) for _ in range(self.capabilities.parallel))
        )

    def _load(self, together: threading.Barrier) -> None:
        together.wait()  # so that each thread takes one of these jobs
        self._recogniser()

    def _recogniser(self) -> Recogniser:
        if not hasattr(self._local, "recogniser"):
            with self._opening:
                self._local.recogniser = self._open()
        recogniser: Recogniser = self._local.recogniser
        return recogniser

    async def note(self, audio: Pcm, spoken: int | None) -> AsyncGenerator[Draft | Noted]:
        """Recognise all of `audio`; a note only of what can have been said."""
        heard = await self._hear(audio, len(audio) if spoken is None else spoken)
        words = cleaning.without_marks(heard.words)
        judgement = judge(words, heard.speech_s, seconds(len(audio)))
        note = cleaning.clean(words) if judgement.outcome == "noted" else ""
        if spoken is None:
            yield Draft(note.removesuffix("."))
        elif note:
            yield Noted("noted", heard=words, note=note, todo=cleaning.is_todo(note))
        elif judgement.outcome == "noted":
            yield Noted("unintelligible", reason="nothing but fillers")
        else:
            yield Noted(judgement.outcome, reason=judgement.reason)

    async def _hear(self, audio: Pcm, spoken: int) -> Heard:
        """Recognise `audio`, or recall it. What has begun is finished even if this call is cancelled."""
        known = await asyncio.to_thread(self._recollection.find, audio, spoken)
        if known is not None:
            with suppress(EngineError):
                return await asyncio.shield(asyncio.wrap_future(known))
        begun = self._threads.submit(self._recognise, audio)
        self._recollection.keep(audio, begun)
        return await asyncio.shield(asyncio.wrap_future(begun))

    def _recognise(self, audio: Pcm) -> Heard:
        return self._recogniser().hear(audio)

    async def answer(self, question: str, passages: tuple[Passage, ...]) -> AsyncGenerator[str | Answered]:
        """Quote the passages that support an answer, one piece each; say so if none does."""
        found = supporting(question, passages)
        if not found:
            yield NOTHING
        for index, support in enumerate(found):
            quote = support.passage.text.strip().replace("\n", " · ")
            yield f"{' ' if index else ''}“{quote}”"
        yield Answered(tuple(support.passage.id for support in found))

    async def summarise(self, notes: tuple[str, ...]) -> AsyncGenerator[Summarised]:
        """A heading from the words that matter most in the notes."""
        yield Summarised(summary.title(notes))

    async def read(self, jpeg: bytes) -> tuple[str, ...]:
        """Lines of text in the frame that are read with confidence. Raises EngineError."""
        if self._reader is None:
            raise EngineError("this engine was told not to read frames")
        return tuple(line.text for line in await self._reader.read(jpeg))

    async def aclose(self) -> None:
        """Stop the threads and the reading process."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        if self._reader is not None:
            await asyncio.to_thread(self._reader.close)
