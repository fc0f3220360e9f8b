"""The embedded engine: speech recognition, text in frames, extractive notes and quoted answers. Small models, no
invention."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from agent.audio import Pcm, Rechunker, seconds
from agent.config import Vad as VadConfig
from agent.vad import WINDOW, Vad
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
from inference_server.engines.cascade.pieces import Pieces
from inference_server.engines.cascade.plausible import LEAST_SPEECH_S, judge, loops
from inference_server.engines.cascade.reader import Reader
from inference_server.engines.cascade.recogniser import Heard, Recogniser, opener
from inference_server.retrieval import supporting
from inference_server.words import tokens

NOTHING = "I have nothing on that."
_REMEMBERED = 64  # utterances whose complete pieces are kept


@dataclass(frozen=True, slots=True)
class _Piece:
    """What was heard in samples [start, end) of an utterance."""

    start: int
    end: int
    heard: Heard


class Cascade:
    """Implements `base.Engine`. Recognition runs on `parallel` threads, reading frames in a process of its own."""

    def __init__(self, config: EngineConfig) -> None:
        self._open = opener(config)
        self._local = threading.local()
        self._opening = threading.Lock()  # moonshine's library loads itself on first use, and not thread-safely
        self._threads = ThreadPoolExecutor(config.parallel, thread_name_prefix="recogniser")
        self._reader = Reader() if config.read_frames else None
        self._pieces: OrderedDict[str, list[_Piece]] = OrderedDict()
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

    async def note(self, key: str, audio: Pcm, final: bool) -> AsyncGenerator[Draft | Noted]:
        """Recognise what is new since the last call for this `key`; words of complete pieces are kept between calls."""
        loop = asyncio.get_running_loop()
        pieces = await loop.run_in_executor(self._threads, self._hear, key, audio)
        heard = [piece for piece in pieces if piece.heard.speech_s >= LEAST_SPEECH_S]
        words = " ".join(
            filter(None, (cleaning.without_marks(piece.heard.words) for piece in heard if not _looped(piece)))
        )
        if not final:
            yield Draft(cleaning.clean(words).removesuffix(".") if words else "")
            return
        self._pieces.pop(key, None)
        judgement = judge(words, sum(piece.heard.speech_s for piece in heard), seconds(len(audio)))
        note = cleaning.clean(words) if judgement.outcome == "noted" else ""
        if judgement.outcome == "noted" and not note:
            yield Noted("unintelligible", reason="nothing but fillers")
        elif judgement.outcome == "noted":
            yield Noted("noted", heard=words, note=note, todo=cleaning.is_todo(note))
        else:
            yield Noted(judgement.outcome, reason=judgement.reason)

    def _hear(self, key: str, audio: Pcm) -> list[_Piece]:
        """All pieces of `audio`, the last one open. Runs on a recogniser thread."""
        recogniser, known = self._recogniser(), list(self._pieces.get(key, ()))
        cuts, vad = Pieces(), Vad(VadConfig())
        for window in Rechunker(WINDOW).push(audio):
            cuts.push(vad.push(window), len(window))
        ends = [cut for cut in cuts.cuts if cut < len(audio)]
        for end in ends[len(known) :]:
            known.append(_recognise(recogniser, audio, known[-1].end if known else 0, end))
        self._remember(key, known)
        return [*known, _recognise(recogniser, audio, known[-1].end if known else 0, len(audio))]

    def _remember(self, key: str, pieces: list[_Piece]) -> None:
        self._pieces[key] = pieces
        self._pieces.move_to_end(key)
        while len(self._pieces) > _REMEMBERED:
            self._pieces.popitem(last=False)

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


def _recognise(recogniser: Recogniser, audio: Pcm, start: int, end: int) -> _Piece:
    return _Piece(start, end, recogniser.hear(audio[start:end]))


def _looped(piece: _Piece) -> bool:
    return loops(tokens(piece.heard.words))
