"""Questions from the command line, answered from the store as the server would."""

import asyncio
from contextlib import aclosing

from inference_server.answering import Answering
from inference_server.app import open_engine, open_storage
from inference_server.config import ServerConfig
from inference_server.notes import Line
from inference_server.views import iso


def answer(config: ServerConfig, question: str) -> int:
    """Print the answer as it forms and its evidence; 1 if the notes hold nothing on it."""
    return asyncio.run(_answer(config, question))


async def _answer(config: ServerConfig, question: str) -> int:
    storage, engine = open_storage(config), open_engine(config)
    answering = Answering(engine, storage.library, config.notes.wake_phrase)
    evidence: list[Line] = []
    try:
        async with aclosing(answering.answer(question)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    print(piece, end="", flush=True)
                else:
                    evidence = piece
        print()
        for line in evidence:
            clip = storage.library.clip(line.stream, line.seq) if line.audio else None
            frame = None if line.frame is None else storage.library.frame(line.stream, line.frame)
            print(f"  {iso(line.captured_at)}  {' '.join(str(path) for path in (clip, frame) if path)}")
    finally:
        await engine.aclose()
        storage.database.close()
    return 0 if evidence else 1
