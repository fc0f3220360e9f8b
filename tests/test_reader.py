import asyncio
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.engines.base import EngineError
from inference_server.engines.cascade.reader import (
    Reader,
    ReadLine,
    in_reading_order,
    refuse_network,
    worth_keeping,
)


def slip(*lines: str, height: int = 400, width: int = 640) -> npt.NDArray[np.uint8]:
    image = np.full((height, width, 3), 235, np.uint8)
    for i, line in enumerate(lines):
        cv2.putText(image, line, (40, 80 + 70 * i), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (20, 20, 20), 2, cv2.LINE_AA)
    return image


def jpeg(image: npt.NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", image)[1].tobytes()


def the_child() -> BaseProcess:
    (child,) = multiprocessing.active_children()
    return child


def texts(lines: tuple[ReadLine, ...]) -> list[str]:
    return [line.text for line in lines]


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.close()


def test_text_is_read_with_its_place_and_in_reading_order(reader: Reader) -> None:
    lines = asyncio.run(reader.read(jpeg(slip("PLATFORM 12", "Departs 10:45", "Change at Delft"))))

    assert texts(lines) == ["PLATFORM 12", "Departs 10:45", "Change at Delft"]
    left, top, right, bottom = lines[1].box
    assert 20 <= left <= 60 and 90 <= top <= 130 and 250 <= right <= 400 and 145 <= bottom <= 190
    assert all(0.8 < line.score <= 1.0 for line in lines)


def test_a_frame_worn_upside_down_is_read(reader: Reader) -> None:
    upside_down = slip("PLATFORM TWELVE", "Departs 10:45")[::-1, ::-1]

    assert set(texts(asyncio.run(reader.read(jpeg(upside_down))))) == {"PLATFORM TWELVE", "Departs 10:45"}


def test_boxes_in_a_frame_that_was_reduced_are_in_its_own_pixels(reader: Reader) -> None:
    small = slip("PLATFORM 12")
    large = small.repeat(5, axis=0).repeat(5, axis=1)

    (line,) = asyncio.run(reader.read(jpeg(large)))

    assert line.text == "PLATFORM 12"
    assert 2 * small.shape[1] < line.box[2] < large.shape[1]


def test_a_frame_without_text_has_no_lines(reader: Reader) -> None:
    assert asyncio.run(reader.read(jpeg(slip()))) == ()


@pytest.mark.parametrize("data", [b"", b"not an image", jpeg(slip("cut"))[:100]], ids=["empty", "text", "cut"])
def test_what_is_no_image_is_an_error_and_the_next_frame_is_read(reader: Reader, data: bytes) -> None:
    with pytest.raises(EngineError, match="cannot be decoded"):
        asyncio.run(reader.read(data))

    assert texts(asyncio.run(reader.read(jpeg(slip("PLATFORM 12"))))) == ["PLATFORM 12"]


def test_an_image_too_large_to_decode_is_an_error(reader: Reader) -> None:
    huge = cv2.imencode(".png", np.zeros((8000, 8000), np.uint8))[1].tobytes()

    with pytest.raises(EngineError, match="cannot be decoded"):
        asyncio.run(reader.read(huge))


def test_when_the_child_dies_the_frame_fails_and_the_next_is_read(reader: Reader) -> None:
    async def kill_midway() -> object:
        await reader.warm_up()

        async def kill() -> None:
            the_child().kill()

        page = jpeg(slip(*["many words on a long line"] * 5))
        outcome, _ = await asyncio.gather(reader.read(page), kill(), return_exceptions=True)
        return outcome

    assert isinstance(asyncio.run(kill_midway()), EngineError)
    assert texts(asyncio.run(reader.read(jpeg(slip("PLATFORM 12"))))) == ["PLATFORM 12"]


def test_a_frame_that_takes_too_long_fails_and_its_child_is_gone() -> None:
    reader = Reader(frame_limit_s=0.001)
    try:
        with pytest.raises(EngineError, match="took longer"):
            asyncio.run(reader.read(jpeg(slip("PLATFORM 12"))))

        assert multiprocessing.active_children() == []
    finally:
        reader.close()


def test_close_leaves_no_process_and_no_thread(reader: Reader) -> None:
    asyncio.run(reader.warm_up())

    reader.close()

    assert multiprocessing.active_children() == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("reader")] == []
    with pytest.raises(EngineError, match="closed"):
        asyncio.run(reader.read(jpeg(slip("PLATFORM 12"))))


def test_close_fails_the_frame_in_progress_and_those_that_wait(reader: Reader) -> None:
    async def close_midway() -> Sequence[object]:
        await reader.warm_up()

        async def close() -> None:
            reader.close()

        page = jpeg(slip(*["many words on a long line"] * 5))
        return await asyncio.gather(reader.read(page), reader.read(page), close(), return_exceptions=True)

    first, second, closed = asyncio.run(close_midway())

    assert isinstance(first, EngineError) and isinstance(second, EngineError) and closed is None
    assert multiprocessing.active_children() == []


def test_close_before_the_first_frame_starts_nothing() -> None:
    Reader().close()

    assert multiprocessing.active_children() == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and priorities")
def test_the_child_has_the_lowest_priority_and_leaves_ctrl_c_to_its_parent(reader: Reader) -> None:
    asyncio.run(reader.warm_up())
    pid = the_child().pid
    assert pid is not None

    os.kill(pid, signal.SIGINT)

    assert texts(asyncio.run(reader.read(jpeg(slip("PLATFORM 12"))))) == ["PLATFORM 12"]
    assert os.getpriority(os.PRIO_PROCESS, pid) == 19
    assert the_child().pid == pid


@pytest.mark.parametrize("event", ["socket.connect", "socket.getaddrinfo"])
def test_the_child_cannot_use_the_network(event: str) -> None:
    with pytest.raises(PermissionError, match=event):
        refuse_network(event, ())


# what is kept, and in which order


@pytest.mark.parametrize(
    ("text", "score", "kept"),
    [("Exit", 0.81, True), ("Exit", 0.8, False), ("8", 0.97, False), ("8", 0.99, True), ("-->", 1.0, False)],
)
def test_a_line_is_kept_when_it_is_certain_enough_to_be_text(text: str, score: float, kept: bool) -> None:
    assert worth_keeping(ReadLine(text, score, (0, 0, 1, 1))) is kept


@given(st.permutations([(row, column) for row in range(4) for column in range(3)]), st.integers(-4, 4))
def test_a_slightly_slanted_table_is_read_row_by_row(cells: list[tuple[int, int]], slant: int) -> None:
    lines = [
        ReadLine(f"{row}{column}", 1.0, (left, top, left + 80, top + 20))
        for row, column in cells
        for left, top in [(column * 100, 20 + row * 30 + column * slant)]
    ]

    assert texts(in_reading_order(lines)) == [f"{row}{column}" for row in range(4) for column in range(3)]


def test_a_tall_sign_beside_small_lines_does_not_swallow_them() -> None:
    tall = ReadLine("STOP", 1.0, (0, 0, 100, 300))
    small = [ReadLine(str(i), 1.0, (120, 20 + 60 * i, 200, 40 + 60 * i)) for i in range(4)]

    assert texts(in_reading_order([*small[::-1], tall])) == ["STOP", "0", "1", "2", "3"]
