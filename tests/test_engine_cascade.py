"""The embedded engine with its real models."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import av
import numpy as np
import pytest
from moonshine_voice import get_assets_path

from agent.audio import SAMPLE_RATE, Pcm
from inference_server.config import Engine
from inference_server.engines.base import Answered, Draft, EngineError, Noted, Passage, Summarised
from inference_server.engines.cascade.engine import NOTHING, Cascade
from inference_server.words import tokens

OPENING = "it was the best of times it was the worst of times it was the age of wisdom"
BEST_OF_TIMES = tokens(OPENING)


@pytest.fixture(scope="module")
def engine() -> Iterator[Cascade]:
    cascade = Cascade(Engine(parallel=1, read_frames=False))
    asyncio.run(cascade.warm_up())
    yield cascade
    asyncio.run(cascade.aclose())


@pytest.fixture(scope="module")
def reading() -> Pcm:
    """The first nine seconds of A Tale of Two Cities, read by a human."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    with av.open(Path(str(get_assets_path())) / "two_cities.wav") as file:
        parts = [part.to_ndarray()[0] for frame in file.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate(parts)[: 9 * SAMPLE_RATE]


def pieces(engine: Cascade, audio: Pcm, final: bool = True) -> list[Draft | Noted]:
    async def listening() -> list[Draft | Noted]:
        async with aclosing(engine.note(audio, len(audio) if final else None)) as noting:
            return [piece async for piece in noting]

    return asyncio.run(listening())


def noted(engine: Cascade, audio: Pcm) -> Noted:
    end = pieces(engine, audio)[-1]
    assert isinstance(end, Noted)
    return end


def in_order(words: list[str], said: list[str]) -> int:
    """How many of `words` come in `said`, in order."""
    found, rest = 0, iter(said)
    for word in words:
        kept = list(rest)
        if word in kept:
            found += 1
            kept = kept[kept.index(word) + 1 :]
        rest = iter(kept)
    return found


def test_a_human_reading_is_noted_in_its_words(engine: Cascade, reading: Pcm) -> None:
    note = noted(engine, reading)
    assert note.outcome == "noted"
    assert in_order(BEST_OF_TIMES, tokens(note.heard)) >= len(BEST_OF_TIMES) - 2
    assert note.note[0].isupper() and note.note[-1] in ".!?…"


def noise(kind: str) -> Pcm:
    """Ten seconds in which nobody speaks."""
    n = 10 * SAMPLE_RATE
    dice, t = np.random.default_rng(1), np.arange(n) / SAMPLE_RATE
    sound = {
        "digital silence": np.zeros(n),
        "quiet noise": dice.normal(0, 30, n),
        "white noise": dice.normal(0, 3000, n),
        "a tone": 8000 * np.sin(2 * np.pi * 440 * t),
        "a hum": 3000 * np.sign(np.sin(2 * np.pi * 50 * t)),
        "clicks": 20_000 * (np.arange(n) % 8000 < 20),
    }[kind]
    return np.clip(sound, -32768, 32767).astype(np.int16)


@pytest.mark.parametrize("kind", ["digital silence", "quiet noise", "white noise", "a tone", "a hum", "clicks"])
def test_where_nobody_speaks_nothing_is_noted(engine: Cascade, kind: str) -> None:
    note = noted(engine, noise(kind))
    assert note.outcome in ("silence", "unintelligible")
    assert note.heard == note.note == "" and note.reason
    assert pieces(engine, noise(kind), final=False) in ([Draft("")], [])


@pytest.mark.parametrize("n", [0, 1, 100, 1600])
def test_hardly_any_audio_is_silence(engine: Cascade, n: int) -> None:
    assert noted(engine, np.zeros(n, np.int16)).outcome == "silence"


def test_drafts_before_the_end_change_nothing_of_the_note(engine: Cascade, reading: Pcm) -> None:
    fresh = Cascade(Engine(parallel=1, read_frames=False))  # it remembers what it heard a moment ago
    try:
        alone = noted(fresh, reading)
    finally:
        asyncio.run(fresh.aclose())

    for end_s in (2, 4, 6):
        (draft,) = pieces(engine, reading[: end_s * SAMPLE_RATE], final=False)
        assert isinstance(draft, Draft) and in_order(tokens(draft.text)[:4], BEST_OF_TIMES) >= 3

    assert noted(engine, reading) == alone


def test_words_heard_in_a_pause_are_the_note_when_it_was_the_end(engine: Cascade, reading: Pcm) -> None:
    pause = reading[: round(2.6 * SAMPLE_RATE)]
    ahead = np.concatenate([pause, np.zeros(SAMPLE_RATE // 2, np.int16)])
    ended = np.concatenate([ahead, np.zeros(SAMPLE_RATE // 2, np.int16)])

    (draft,) = pieces(engine, ahead, final=False)
    note = noted(engine, ended)

    assert isinstance(draft, Draft) and draft.text and note.note.removesuffix(".") == draft.text


def test_an_answer_quotes_its_evidence_or_says_that_there_is_none(engine: Cascade) -> None:
    async def answer(question: str, *texts: str) -> list[str | Answered]:
        passages = tuple(Passage(f"s/{n}", text, n) for n, text in enumerate(texts, 1))
        async with aclosing(engine.answer(question, passages)) as answering:
            return [piece async for piece in answering]

    found = asyncio.run(answer("When is the launch?", "The launch is on Friday.", "It rains.\nA lot."))
    assert found == ["“The launch is on Friday.”", Answered(("s/1",))]
    two = asyncio.run(answer("When is the launch?", "The launch is Monday.", "No,\nthe launch is Friday."))
    assert two == ["“No, · the launch is Friday.”", " “The launch is Monday.”", Answered(("s/2", "s/1"))]
    assert asyncio.run(answer("Who is the president of France?", "The launch is on Friday.")) == [
        NOTHING,
        Answered(()),
    ]


def test_a_topic_is_summarised_in_words_that_were_said(engine: Cascade) -> None:
    async def heading(*notes: str) -> list[Summarised]:
        async with aclosing(engine.summarise(notes)) as summing:
            return [piece async for piece in summing]

    assert asyncio.run(heading("The launch.", "A launch.", "Launch it.", "No launch.")) == [Summarised("Launch")]


def test_an_engine_without_a_reader_says_so(engine: Cascade) -> None:
    with pytest.raises(EngineError, match="not to read frames"):
        asyncio.run(engine.read(b""))
    assert not engine.capabilities.reads_frames
