"""Samples: the one audio format inside Fieldnote, conversions to it, and cutting into windows.

Everything is 16 kHz mono int16 once it has passed `Resampler`. A time is a sample index from the start of the stream.
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000

Pcm = npt.NDArray[np.int16]


def to_mono_int16(samples: npt.NDArray[np.int16] | npt.NDArray[np.float32]) -> Pcm:
    """Mix (n_samples,) or (n_samples, n_channels) to (n_samples,) int16; floats have full scale at 1.0."""
    mono = samples.astype(np.float32) if samples.ndim == 1 else samples.astype(np.float32).mean(axis=1)
    full_scale = 1.0 if samples.dtype == np.int16 else 32767.0
    pcm: Pcm = np.clip(np.rint(mono * full_scale), -32768, 32767).astype(np.int16)
    return pcm


def to_float32(pcm: Pcm) -> npt.NDArray[np.float32]:
    """(n_samples,) int16 to float32 with full scale at 1.0."""
    return pcm.astype(np.float32) / np.float32(32768.0)


def seconds(n_samples: int) -> float:
    """Length of `n_samples` at the one sample rate, in seconds."""
    return n_samples / SAMPLE_RATE


def n_samples(duration_s: float) -> int:
    """Samples in `duration_s` seconds, to the nearest."""
    return round(duration_s * SAMPLE_RATE)


def level(pcm: Pcm) -> float:
    """Loudness from 0 (at or below -60 dBFS) to 1 (full scale): RMS on a decibel scale."""
    if len(pcm) == 0:
        return 0.0
    rms = float(np.sqrt(np.mean(np.square(pcm.astype(np.float64))))) / 32768.0
    return min(1.0, max(0.0, 1.0 + 20.0 * math.log10(max(rms, 1e-6)) / 60.0))


class Rechunker:
    """Cuts whatever arrives into windows of exactly `size` samples; the remainder waits for the next push."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rest: Pcm = np.empty(0, np.int16)

    def push(self, pcm: Pcm) -> Iterator[Pcm]:
        """Yield the complete windows that `pcm` (n_samples,) brings. Consume fully before the next push."""
        held = np.concatenate([self._rest, pcm]) if len(self._rest) else pcm
        whole = len(held) - len(held) % self._size
        self._rest = held[whole:].copy()
        for start in range(0, whole, self._size):
            yield held[start : start + self._size]

    def __len__(self) -> int:
        """Samples that wait."""
        return len(self._rest)

    def flush(self) -> Pcm:
        """Hand over the remainder, shorter than one window, and start anew."""
        rest, self._rest = self._rest, np.empty(0, np.int16)
        return rest


class Ring:
    """The newest `capacity` samples of a stream, addressed by stream position: pre-roll and re-cuts read from it."""

    def __init__(self, capacity: int, position: int = 0) -> None:
        self._samples: Pcm = np.zeros(capacity, np.int16)
        self._filled = 0
        self.end = position

    @property
    def start(self) -> int:
        """Oldest position still held."""
        return self.end - self._filled

    def push(self, pcm: Pcm) -> None:
        """Append `pcm` at position `end`."""
        capacity = len(self._samples)
        kept = pcm[-capacity:]
        first = (self.end + len(pcm) - len(kept)) % capacity
        head = min(len(kept), capacity - first)
        self._samples[first : first + head] = kept[:head]
        self._samples[: len(kept) - head] = kept[head:]
        self.end += len(pcm)
        self._filled = min(capacity, self._filled + len(pcm))

    def read(self, start: int, end: int) -> Pcm:
        """Copy positions [start, end). They must be held: ValueError otherwise."""
        if not self.start <= start <= end <= self.end:
            raise ValueError(f"samples {start}..{end} are not held ({self.start}..{self.end} are)")
        index = np.arange(start, end) % len(self._samples)
        return self._samples[index]

    def restart(self, position: int) -> None:
        """Forget everything and go on at `position` (after a gap)."""
        self._filled, self.end = 0, position
