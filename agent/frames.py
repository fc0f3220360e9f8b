"""Decides which camera frames are worth sending. Knows thumbnails and sample counts, no clock and no camera.

    gate = FrameGate(config.frames)
    if gate.due(at, speaking):                        # else do not even decode the frame
        seen = look(grey)
        if gate.judge(seen, at) is Verdict.KEEP:      # else do not encode it
            if gate.spend(seen, len(jpeg), at): ...   # send it

`at` is the frame's time as a sample index of the stream, and never goes back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from agent.audio import n_samples
from agent.config import Frames

Grey = npt.NDArray[np.uint8]

# Sizes are in pixels of the reduced frame. All were chosen on the photos of benchmarks/frames.py.
_SHARP_LONGEST = 320  # for sharpness: here a row of readable letters still stands out, and noise has averaged out
_SHARP_TILE = 16
_STRIP = 8  # a row of letters is at least this long
_NOISE = 1.3  # strip steps of pure sensor noise are at most this multiple of the noise around them
_LONGEST = 480  # for comparing: here words of 18 px on a frame of 1280 px still differ
_TILE = 24
_COARSE = 6
_COARSE_SHIFT = 4  # in coarse pixels: 5 % of the longest side, the shake that is looked through
_TILE_SHIFT = 4  # each tile may move this much more: turning by 1 degree, coming 2 % nearer
_SHORTEST = 64  # room for one tile at the largest shift; a frame smaller or narrower is filled up
_SLACK = 6  # grey levels that noise and an exposure matched by halves may add
_DARK, _BRIGHT = 4, 251  # beyond these the sensor clips, and a pixel says only "at least" or "at most"
_NARROWEST = 64.0  # grey levels that two exposures must have in common to be compared
_BURST_S = 600.0  # this long without frames saves up a full burst


@dataclass(frozen=True, slots=True)
class Look:
    """What the gate keeps of a frame.

    `sharpness`: grey levels by which the clearest line (an edge, a row of letters) stands out from the noise.
    """

    thumbnail: Grey  # (height, width); of an ordinary frame, 240 to 480 on the longest side
    mean: float  # grey level, 0-255
    sharpness: float


class Verdict(Enum):
    """What to do with a frame: KEEP it, or the reason why not."""

    KEEP = "keep"
    BLACK = "black"
    BLURRED = "blurred"
    DUPLICATE = "duplicate"


def look(grey: Grey) -> Look:
    """Sum up a (height, width) frame; neither side may be 0."""
    thumbnail = _reduced(grey, _LONGEST)
    return Look(thumbnail, float(thumbnail.mean()), _sharpness(_reduced(grey, _SHARP_LONGEST)))


def change(kept: Look, new: Look) -> float:
    """Grey levels by which the most changed spot differs, 0-255, looking through small shake and exposure.

    The whole may have shifted, then each tile a little more; what is left is measured outside the range of
    each pixel's neighbours, so that edges falling between pixels do not count.
    """
    if kept.thumbnail.shape != new.thumbnail.shape:
        return 255.0
    dy, dx = _shift(_shrink(kept.thumbnail, _COARSE), _shrink(new.thumbnail, _COARSE))
    exposed = _same_exposure(*_overlap(kept.thumbnail, new.thumbnail, _COARSE * dy, _COARSE * dx))
    return 255.0 if exposed is None else _most_changed_tile(*exposed)


class FrameGate:
    """Holds the rate, the last frame sent and the byte budget of one camera.

    The budget is a bucket that fills with sample time and holds ten minutes' worth. A frame may overdraw it,
    and the next waits until the debt is paid: otherwise only small, empty frames would pass, no full page.
    """

    def __init__(self, config: Frames) -> None:
        self._config = config
        self._looked_at: float | None = None
        self._kept: Look | None = None
        self._kept_at = 0
        self._bytes_per_sample = config.budget_mb_per_hour * 1e6 / n_samples(3600)
        self._burst_bytes = self._bytes_per_sample * n_samples(_BURST_S)
        self._purse_bytes = self._burst_bytes
        self._filled_at = 0

    def due(self, at: int, speaking: bool) -> bool:
        """Whether to look at the frame of `at`. True counts as looked at.

        Frames that come a little late do not lower the rate: the next is due as if this one had been on time.
        """
        interval = n_samples(1.0) / (self._config.speaking_hz if speaking else self._config.idle_hz)
        if self._looked_at is not None and at < self._looked_at + interval:
            return False
        on_time = at if self._looked_at is None else self._looked_at + interval
        self._looked_at = max(on_time, at - interval / 2)
        return True

    def judge(self, seen: Look, at: int) -> Verdict:
        """Whether the frame is worth sending. Changes nothing: only `spend` makes it the last kept."""
        if seen.sharpness < self._config.blurriest:
            return Verdict.BLACK if seen.mean < self._config.darkest else Verdict.BLURRED
        if self._kept is None or at - self._kept_at >= n_samples(self._config.repeat_s):
            return Verdict.KEEP
        same = change(self._kept, seen) < self._config.duplicate_distance
        return Verdict.DUPLICATE if same else Verdict.KEEP

    def spend(self, seen: Look, size_bytes: int, at: int) -> bool:
        """Pay for sending a frame. False: the budget is used up, so do not send it."""
        earned = (at - self._filled_at) * self._bytes_per_sample
        self._purse_bytes, self._filled_at = min(self._burst_bytes, self._purse_bytes + earned), at
        if self._purse_bytes <= 0:
            return False
        self._purse_bytes -= size_bytes
        self._kept, self._kept_at = seen, at
        return True


def _reduced(grey: Grey, longest: int) -> Grey:
    """Reduce to `longest` or less by a whole factor; fill up to _SHORTEST with the edge."""
    reduced = _shrink(grey, min(-(-max(grey.shape) // longest), *grey.shape))
    return np.pad(reduced, [(0, max(0, _SHORTEST - side)) for side in reduced.shape], mode="edge")


def _shrink(grey: Grey, factor: int) -> Grey:
    """Average squares of `factor` x `factor` pixels; an incomplete last row or column is left out."""
    height, width = (side // factor * factor for side in grey.shape)
    rows = np.zeros((height // factor, width), np.uint32)
    for i in range(factor):
        rows += grey[i:height:factor, :width]
    squares = np.zeros((height // factor, width // factor), np.uint32)
    for i in range(factor):
        squares += rows[:, i::factor]
    return (squares // factor**2).astype(np.uint8)


def _sharpness(reduced: Grey) -> float:
    """Step of the clearest strip across its direction, less what the noise of its tile explains."""
    grey = reduced.astype(np.int32)
    centre = grey[1:-1, 1:-1]
    laplacian = np.abs(4 * centre - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:])
    noise = _NOISE * _tiles(laplacian, _SHARP_TILE).mean(axis=(1, 3))
    steps = np.maximum(_strip_steps(grey), _strip_steps(grey.T).T)
    return float((steps - noise).max())


def _strip_steps(grey: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Largest second difference down the columns of horizontal strips: (tile rows, tile columns)."""
    tile = _SHARP_TILE
    height, width = ((side - 2) // tile * tile for side in grey.shape)
    strips = grey[: height + 2, 1 : width + 1].reshape(height + 2, width // _STRIP, _STRIP).sum(axis=2)
    steps = np.abs(2 * strips[1:-1] - strips[:-2] - strips[2:])
    steps = steps.reshape(height // tile, tile, width // tile, tile // _STRIP)
    largest: npt.NDArray[np.float64] = steps.max(axis=(1, 3)) / _STRIP
    return largest


def _tiles(values: npt.NDArray[np.signedinteger], tile: int) -> npt.NDArray[np.signedinteger]:
    """Cut (height, width) into (rows, tile, columns, tile); what fills no tile is left out."""
    rows, columns = (side // tile for side in values.shape)
    return values[: rows * tile, : columns * tile].reshape(rows, tile, columns, tile)


def _overlap(kept: Grey, new: Grey, dy: int, dx: int) -> tuple[Grey, Grey]:
    """The parts that show the same when what is at (y, x) in `new` was at (y + dy, x + dx) in `kept`."""
    height, width = kept.shape
    return (
        kept[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)],
        new[max(0, -dy) : height + min(0, -dy), max(0, -dx) : width + min(0, -dx)],
    )


def _shift(kept: Grey, new: Grey) -> tuple[int, int]:
    """The (dy, dx) at which `new` fits `kept` best, whatever their exposures."""
    reach = range(-_COARSE_SHIFT, _COARSE_SHIFT + 1)
    a, b = (((grey - grey.mean()) / (grey.std() + 1.0)).astype(np.float32) for grey in (kept, new))

    def misfit(shift: tuple[int, int]) -> tuple[float, int]:
        x, y = _overlap(a, b, *shift)
        return float(np.abs(x - y).mean()), abs(shift[0]) + abs(shift[1])  # a tie goes to the smaller shift

    return min(((dy, dx) for dy in reach for dx in reach), key=misfit)


def _same_exposure(kept: Grey, new: Grey) -> tuple[Grey, Grey] | None:
    """Bring `new` to the exposure of `kept`, both cut to what neither clips. None: too little is left."""
    lit = (np.minimum(kept, new) > _DARK) & (np.maximum(kept, new) < _BRIGHT)
    gain, offset = 1.0, 0.0
    if lit.any():
        a, b = kept[lit], new[lit]
        gain = float(np.clip((a.std() + 1.0) / (b.std() + 1.0), 0.5, 2.0))
        offset = float(a.mean() - gain * b.mean())
    darkest, brightest = max(_DARK, gain * _DARK + offset), min(_BRIGHT, gain * _BRIGHT + offset)
    if brightest - darkest < _NARROWEST:
        return None
    exposed = np.clip(gain * new.astype(np.float32) + offset, darkest, brightest)
    return np.clip(kept, np.uint8(darkest), np.uint8(brightest)), exposed.astype(np.uint8)


def _most_changed_tile(kept: Grey, new: Grey) -> float:
    """Mean difference of the tile that fits worst, each at the small shift where it fits best."""
    a, a_low, a_high = _with_range(kept)
    b, b_low, b_high = _with_range(new)
    reach = 2 * _TILE_SHIFT
    height, width = ((side - reach) // _TILE * _TILE for side in a.shape)
    fits = np.full((height // _TILE, width // _TILE), 255.0)
    home = np.s_[_TILE_SHIFT : _TILE_SHIFT + height, _TILE_SHIFT : _TILE_SHIFT + width]
    for y in range(reach + 1):
        for x in range(reach + 1):
            moved = np.s_[y : y + height, x : x + width]
            outside = np.maximum(a_low[home] - b[moved], b[moved] - a_high[home])
            np.maximum(outside, b_low[moved] - a[home], out=outside)
            np.maximum(outside, a[home] - b_high[moved], out=outside)
            np.minimum(fits, _tiles(np.maximum(outside, 0, out=outside), _TILE).mean(axis=(1, 3)), out=fits)
    return float(fits.max())


def _with_range(grey: Grey) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """Each pixel, and from what to what it may be when seen again: the 3 x 3 around it, and some slack."""

    def around(pick: Callable[[Grey, Grey], Grey]) -> npt.NDArray[np.int16]:
        padded = np.pad(grey, 1, mode="edge")
        rows = pick(pick(padded[:-2], padded[1:-1]), padded[2:])
        return pick(pick(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:]).astype(np.int16)

    return grey.astype(np.int16), around(np.minimum) - _SLACK, around(np.maximum) + _SLACK
