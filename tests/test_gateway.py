"""The capture WebSocket, over real sockets and a real store."""

from pathlib import Path

from fakes import Tape
from serving import on_a_loop, serving


@on_a_loop
async def test_a_record_is_acknowledged_when_it_is_stored(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        tape = Tape()
        async with server.device(tape) as device:
            utterance = tape.utterance()
            await device.send()
            await device.until_acked()
            clip = server.storage.library.clip(tape.stream, utterance)
            assert clip is not None and clip.is_file()
