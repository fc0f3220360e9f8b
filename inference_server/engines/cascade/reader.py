"""Reads the text in frames with RapidOCR, in a process of its own: lowest priority, one thread, no network.

    reader = Reader()
    lines = await reader.read(jpeg)
    reader.close()

So neither the interpreter's lock nor the cores are taken from speech. The child holds nothing worth saving:
it is killed when it takes too long, and the next frame starts another.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from inference_server.engines.base import EngineError

LOAD_LIMIT_S = 120.0  # takes 2 s on an idle machine
FRAME_LIMIT_S = 60.0  # takes 1 s on an idle machine; a busy one gives the lowest priority many times less
LEAST_SCORE = 0.8  # of a line that is kept
LEAST_SCORE_SINGLE = 0.98  # ... when it is a single character: beams and cups read as N and 8 (measured)
LONGEST_SIDE_PX = 2000  # a larger frame is reduced first
MOST_PIXELS = 50_000_000  # a frame of more is refused before it is decoded

# No model is named: the defaults lie in the wheel, and any other would be downloaded at run time.
# The rest was chosen with benchmarks/text.py.
ENGINE_PARAMS = {
    "Global.log_level": "critical",
    "Global.text_score": 0.0,  # `worth_keeping` decides
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    "Det.limit_type": "max",  # the default scales small frames up: slower, and no more words found in frames
    "Det.limit_side_len": 1600,
    "Rec.rec_batch_num": 1,  # a batch fills every line up to its longest: fewer words found, and no faster
}

logger = logging.getLogger(__name__)

T = TypeVar("T")
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ReadLine:
    """One line of text in a frame."""

    text: str
    score: float  # the reader's confidence, 0-1
    box: tuple[int, int, int, int]  # left, top, right, bottom in pixels of the frame


class Reader:
    """Reads frames one at a time, in the order of the calls; a cancelled one is still read to its end."""

    def __init__(self, frame_limit_s: float = FRAME_LIMIT_S) -> None:
        self._frame_limit_s = frame_limit_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")  # waits for the child
        self._child: _Child | None = None
        self._closed = False

    async def warm_up(self) -> None:
        """Start the child and load the models, so that the first frame need not wait. Raises EngineError."""
        await self._in_thread(self._started)

    async def read(self, jpeg: bytes) -> tuple[ReadLine, ...]:
        """The lines of text in a frame, in reading order.

        Raises EngineError when the frame cannot be decoded, takes too long or the child dies.
        """
        return await self._in_thread(partial(self._read, jpeg))

    def close(self) -> None:
        """End the child; a frame in progress fails with EngineError, as does every later one."""
        self._closed = True
        if self._child is not None:
            self._child.kill()  # wakes the thread
        self._thread.shutdown()
        self._discard()

    async def _in_thread(self, call: Callable[[], T]) -> T:
        if self._closed:  # the thread is gone
            raise EngineError("the text reader is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _read(self, jpeg: bytes) -> tuple[ReadLine, ...]:
        child = self._started()
        try:
            answer = child.ask(jpeg, self._frame_limit_s)
        except EngineError:
            self._discard()
            raise
        if isinstance(answer, EngineError):
            raise answer
        return answer

    def _started(self) -> "_Child":
        if self._child is None:
            self._child = _Child()
            if not self._closed:  # else close() came before there was a child to kill
                try:
                    self._child.answer(LOAD_LIMIT_S)
                except EngineError:
                    self._discard()
                    raise
                logger.info("text reader loaded")
        if self._closed:
            raise EngineError("the text reader is closed")
        return self._child

    def _discard(self) -> None:
        if self._child is not None:
            self._child.discard()
            self._child = None


Answer = tuple[ReadLine, ...] | EngineError


class _Child:
    """The process, and our end of the pipe to it. Its first answer, an empty one, says that it has loaded."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy our threads' locks
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), name="fieldnote-reader", daemon=True)
        self._process.start()
        theirs.close()  # so that we see the end when the child dies

    def ask(self, jpeg: bytes, limit_s: float) -> Answer:
        """Have one frame read. Raises EngineError when there is no answer; then discard the child."""
        try:
            self._pipe.send_bytes(jpeg)
        except OSError as exc:
            raise EngineError("the text reader's process had died") from exc
        return self.answer(limit_s)

    def answer(self, limit_s: float) -> Answer:
        try:
            if not self._pipe.poll(limit_s):
                raise EngineError(f"the text reader took longer than {limit_s:g} s")
            answer: Answer = self._pipe.recv()
        except (EOFError, OSError) as exc:
            raise EngineError("the text reader's process died") from exc
        return answer

    def kill(self) -> None:
        self._process.kill()

    def discard(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()


# From here on: what the child runs.


def _serve(pipe: Connection) -> None:
    """Load, say so, then answer frame after frame until the parent closes its end or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent ends us
    _take_lowest_priority()
    sys.addaudithook(refuse_network)
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MOST_PIXELS)
    engine = _load()
    answer: Answer = ()
    try:
        while True:
            pipe.send(answer)
            try:
                answer = _lines_of(engine, _decoded(pipe.recv_bytes()))
            except EngineError as exc:
                answer = exc
    except (EOFError, OSError):
        return


def refuse_network(event: str, args: tuple[Any, ...]) -> None:
    """Audit hook: a missing model must be an error, never a download."""
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise PermissionError(f"the text reader may not use the network ({event})")


def _take_lowest_priority() -> None:
    if sys.platform == "win32":
        import ctypes

        kernel32 = ctypes.windll.kernel32
        kernel32.SetPriorityClass(kernel32.GetCurrentProcess(), 0x4000)  # BELOW_NORMAL_PRIORITY_CLASS
    else:
        os.nice(19)


Engine = Callable[[Image, bool], list[ReadLine]]


def _load() -> Engine:
    """Load the models; give a function from (image, whether lines may be upside down) to every line found."""
    import cv2
    from rapidocr import RapidOCR

    cv2.setNumThreads(1)
    ocr = RapidOCR(params=ENGINE_PARAMS)

    def run(image: Image, turned: bool) -> list[ReadLine]:
        found: Any = ocr(image, use_cls=turned)
        if found.boxes is None:
            return []
        corners = np.asarray(found.boxes).astype(int)  # (n_lines, 4, 2)
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).tolist()
        lines = zip(found.txts, found.scores, boxes, strict=True)
        return [ReadLine(text, float(score), tuple(box)) for text, score, box in lines]

    return run


def _decoded(jpeg: bytes) -> Image:
    """(height, width, 3) BGR. Raises EngineError."""
    import cv2

    try:
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as exc:
        raise EngineError(f"the frame cannot be decoded: {exc.err}") from exc
    if image is None:
        raise EngineError("the frame cannot be decoded: it is no image")
    return image.astype(np.uint8, copy=False)


def _lines_of(engine: Engine, image: Image) -> tuple[ReadLine, ...]:
    """Read an image of any size, either way up."""
    import cv2

    scale = min(1.0, LONGEST_SIDE_PX / max(image.shape))
    if scale < 1.0:
        reduced = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        image = reduced.astype(np.uint8, copy=False)
    found = engine(image, False)
    kept = [line for line in found if worth_keeping(line)]
    if 2 * len(kept) < len(found):  # worn the other way up? Asking at once costs words when it is not
        turned = [line for line in engine(image, True) if worth_keeping(line)]
        kept = max(kept, turned, key=_n_characters)
    return in_reading_order(kept if scale == 1.0 else map(partial(_enlarged, scale=1.0 / scale), kept))


def worth_keeping(line: ReadLine) -> bool:
    """Whether a line is certain enough to be called text. Without a letter or digit it is an icon or rule."""
    n_meaningful = sum(map(str.isalnum, line.text))
    return n_meaningful > 0 and line.score > (LEAST_SCORE if n_meaningful > 1 else LEAST_SCORE_SINGLE)


def in_reading_order(lines: Iterable[ReadLine]) -> tuple[ReadLine, ...]:
    """Sort by rows from the top, each from the left. A row: all that is level with its first line."""
    rows: list[list[ReadLine]] = []
    for line in sorted(lines, key=lambda line: (line.box[1], line.box[0])):
        if rows and _level(rows[-1][0], line):
            rows[-1].append(line)
        else:
            rows.append([line])
    return tuple(line for row in rows for line in sorted(row, key=lambda line: line.box[0]))


def _level(a: ReadLine, b: ReadLine) -> bool:
    """Whether the middle of each lies within the height of the other."""
    _, a_top, _, a_bottom = a.box
    _, b_top, _, b_bottom = b.box
    return a_top <= (b_top + b_bottom) / 2 <= a_bottom and b_top <= (a_top + a_bottom) / 2 <= b_bottom


def _n_characters(lines: list[ReadLine]) -> int:
    return sum(len(line.text) for line in lines)


def _enlarged(line: ReadLine, scale: float) -> ReadLine:
    left, top, right, bottom = (round(side * scale) for side in line.box)
    return ReadLine(line.text, line.score, (left, top, right, bottom))
