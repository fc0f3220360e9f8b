"""Recordings as a source: an audio file, a video with its frames, a folder of images; in real time or faster.

Time is the media's own: sample n was captured n/16000 s after the start, whatever the speed.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np
import soundfile

from agent.audio import SAMPLE_RATE, Pcm, Rechunker, n_samples, to_mono_int16
from agent.sources import DeviceError, Event, Image, Picture, Samples

BLOCK = n_samples(0.1)
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
_READ_SAMPLES = 1 << 16


@dataclass(frozen=True, slots=True)
class TimedImage:
    """A picture at a media time, in samples from the start."""

    sample: int
    image: Image


class FileSource:
    """An audio (or video) file, with the pictures of a folder or a video beside it. `fast`: no waiting."""

    def __init__(self, audio: Path, frames: Path | None, fast: bool, frames_hz: float) -> None:
        check_media(audio)
        if frames is not None:
            check_media(frames)
        self._audio = audio
        self._frames = frames
        self._fast = fast
        self._frames_hz = frames_hz
        self.start_utc_ns = time.time_ns()  # when the recording began
        self._closed = threading.Event()

    def events(self) -> Iterator[Event]:
        """Blocks of 100 ms, each followed by the pictures that were seen before its end."""
        pictures = read_images(self._frames, self._frames_hz) if self._frames is not None else iter(())
        upcoming = next(pictures, None)
        begun_ns, position = time.monotonic_ns(), 0
        for pcm in read_audio(self._audio):
            position += len(pcm)
            media_ns = position * 1_000_000_000 // SAMPLE_RATE
            wait_s = 0.0 if self._fast else (begun_ns + media_ns - time.monotonic_ns()) / 1e9
            if self._closed.wait(max(0.0, wait_s)):
                return
            yield Samples(pcm, self.start_utc_ns + media_ns, begun_ns + media_ns)
            while upcoming is not None and upcoming.sample < position:
                yield Picture(upcoming.image)
                upcoming = next(pictures, None)

    def close(self) -> None:
        """End `events` at the next block."""
        self._closed.set()


def check_media(path: Path) -> None:
    """Raises DeviceError if there is nothing to read at `path`."""
    if not path.exists():
        raise DeviceError(f"{path}: no such file or folder; check the path")
    if path.is_dir():
        if not _image_files(path):
            raise DeviceError(f"{path}: no images in this folder ({', '.join(sorted(IMAGE_SUFFIXES))})")
    elif path.stat().st_size == 0:
        raise DeviceError(f"{path}: the file is empty (0 bytes)")


def duration_s(path: Path) -> float:
    """Length of a media file in seconds; 0 if its header does not say. Raises DeviceError if it cannot be read."""
    if (file := _sound_file(path)) is not None:
        with file:
            return float(file.frames / file.samplerate)
    with _open(path) as container:
        return (container.duration or 0) / av.time_base


def read_audio(path: Path) -> Iterator[Pcm]:
    """The file's audio as blocks of (BLOCK,) int16 at 16 kHz mono, the last one shorter. Raises DeviceError."""
    blocks = Rechunker(BLOCK)
    try:
        for pcm in _resampled(path):
            yield from blocks.push(pcm)
    except (av.FFmpegError, soundfile.SoundFileError, ValueError) as exc:  # ValueError: the format changes midway
        raise DeviceError(f"{path}: damaged: {exc}") from exc
    if len(blocks):
        yield blocks.flush()


def _resampled(path: Path) -> Iterator[Pcm]:
    resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE)
    for frame in _audio_frames(path):
        yield from (out.to_ndarray()[0] for out in resampler.resample(frame))
    yield from (out.to_ndarray()[0] for out in resampler.resample(None))


def _audio_frames(path: Path) -> Iterator[av.AudioFrame]:
    """Decoded frames: libsndfile for what it knows (exact lengths), FFmpeg for the rest."""
    if (file := _sound_file(path)) is None:
        yield from _container_audio(path)
        return
    with file:
        while len(block := file.read(_READ_SAMPLES, dtype="float32")):
            mono = to_mono_int16(block)
            frame = av.AudioFrame.from_ndarray(mono.reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate = file.samplerate
            yield frame


def _sound_file(path: Path) -> soundfile.SoundFile | None:
    """The file as libsndfile sees it; None if it does not know the format. It knows .raw only with a sample rate."""
    if path.suffix.lower() == ".raw":
        return None
    try:
        return soundfile.SoundFile(str(path))
    except soundfile.SoundFileError:
        return None


def _container_audio(path: Path) -> Iterator[av.AudioFrame]:
    with _open(path) as container:
        if not container.streams.audio:
            raise DeviceError(f"{path}: no sound track in this file")
        for frame in container.decode(container.streams.audio[0]):
            frame.pts = None  # holes in a file's own clock are not ours to keep
            yield frame


def read_images(path: Path, hz: float) -> Iterator[TimedImage]:
    """The pictures of a video, at most `hz` a second, or of a folder in name order. Raises DeviceError."""
    yield from _folder_images(path, hz) if path.is_dir() else _video_images(path, hz)


def _video_images(path: Path, hz: float) -> Iterator[TimedImage]:
    step, due = round(SAMPLE_RATE / hz), 0
    with _open(path) as container:
        if not container.streams.video:
            raise DeviceError(f"{path}: no pictures in this file")
        try:
            for frame in container.decode(container.streams.video[0]):
                sample = n_samples(frame.time or 0.0)
                if sample >= due:
                    due = sample + step
                    yield TimedImage(sample, frame.to_ndarray(format="bgr24").astype(np.uint8, copy=False))
        except av.FFmpegError as exc:
            raise DeviceError(f"{path}: damaged: {exc.strerror}") from exc


def _folder_images(path: Path, hz: float) -> Iterator[TimedImage]:
    import cv2

    for index, name in enumerate(_image_files(path)):
        image = cv2.imread(str(name), cv2.IMREAD_COLOR)
        if image is None:
            raise DeviceError(f"{name}: not an image that can be read; remove it from the folder")
        yield TimedImage(round(index * SAMPLE_RATE / hz), image.astype(np.uint8, copy=False))


def _image_files(path: Path) -> list[Path]:
    return sorted(islice((p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), 1_000_000))


def _open(path: Path) -> "av.container.InputContainer":
    try:
        return av.open(str(path))
    except av.FFmpegError as exc:
        raise DeviceError(f"{path}: cannot be read as audio or video: {exc.strerror}") from exc
