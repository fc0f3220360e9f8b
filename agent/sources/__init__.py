"""Where samples and pictures come from: a live device or a file, as events that one thread reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from agent.audio import Pcm

Image = npt.NDArray[np.uint8]


class DeviceError(Exception):
    """A device or media file cannot be used; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Samples:
    """(n_samples,) int16 mono at 16 kHz; the last one was captured at these times."""

    pcm: Pcm
    utc_ns: int
    monotonic_ns: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A camera picture, (height, width, 3) uint8 BGR, seen between the samples around it."""

    image: Image


@dataclass(frozen=True, slots=True)
class Lost:
    """The device ran and nothing could be kept for `n_samples`."""

    n_samples: int
    reason: str


Event = Samples | Picture | Lost


class Source(Protocol):
    """Yields events in capture order until the media end or another thread calls `close`. Raises DeviceError."""

    def events(self) -> Iterator[Event]:
        """The events, once."""
        ...

    def close(self) -> None:
        """End `events` soon, from any thread."""
        ...
