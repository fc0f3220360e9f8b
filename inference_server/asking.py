"""Questions from the command line, answered from the store as the server would."""

import asyncio
from contextlib import aclosing

from inference_server.app import open_engine, open_storage
from inference_server.config import ServerConfig
from inference_server.engines.base import Answered, Passage
from inference_server.retrieval import CANDIDATES
from inference_server.views import iso
from inference_server.words import content


def answer(config: ServerConfig, question: str) -> int:
    """Print the answer as it forms and its evidence; 1 if the notes hold nothing on it."""
    return asyncio.run(_answer(config, question))


async def _answer(config: ServerConfig, question: str) -> int:
    storage, engine = open_storage(config), open_engine(config)
    try:
        lines = {line.id: line for line in storage.library.candidates(content(question), CANDIDATES)}
        passages = tuple(Passage(line.id, line.text, line.captured_at) for line in lines.values())
        evidence: tuple[str, ...] = ()
        async with aclosing(engine.answer(question, passages)) as pieces:
            async for piece in pieces:
                match piece:
                    case str():
                        print(piece, end="", flush=True)
                    case Answered():
                        evidence = piece.evidence
        print()
        for id_ in evidence:
            line = lines[id_]
            clip = storage.library.clip(line.stream, line.seq) if line.audio else None
            frame = None if line.frame is None else storage.library.frame(line.stream, line.frame)
            print(f"  {iso(line.captured_at)}  {' '.join(str(path) for path in (clip, frame) if path)}")
        return 0 if evidence else 1
    finally:
        await engine.aclose()
        storage.database.close()
