"""The microphone: any device, any native rate, resampled to 16 kHz mono.

PortAudio's callback only stamps and queues. The queue is bounded: when capture falls behind by more than it holds, the
oldest blocks become one `Lost`; the callback itself never waits.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from agent.audio import SAMPLE_RATE, to_mono_int16
from agent.sources import DeviceError, Event, Lost, Samples

_BLOCK_S = 0.1
_SILENT_DEVICE_S = 5.0  # no callback for this long: the device is gone


def portaudio() -> Any:
    """The sounddevice module. Raises DeviceError saying which package to install if PortAudio is missing."""
    try:
        import sounddevice
    except OSError as exc:
        raise DeviceError(f"no PortAudio library for the microphone; {_install_hint()}") from exc
    return sounddevice


def _install_hint() -> str:
    match sys.platform:
        case "linux":
            return "install it with: sudo apt install libportaudio2 (Fedora: sudo dnf install portaudio)"
        case "darwin":
            return "install it with: brew install portaudio"
        case _:
            return "reinstall it with: python -m pip install --force-reinstall sounddevice"


class Microphone:
    """One input device, by name, number or default (""). Opens the device at once; raises DeviceError if it cannot."""

    def __init__(self, device: str, buffer_s: float) -> None:
        sounddevice = portaudio()
        self._blocks: deque[tuple[npt.NDArray[np.float32], int, int]] = deque()
        self._held = 0  # native samples waiting
        self._dropped = 0  # native samples that found no room
        self._ready = threading.Condition()
        self._closed = False
        try:
            info = sounddevice.query_devices(int(device) if device.isdigit() else device or None, "input")
            self._rate = round(info["default_samplerate"])
            self._capacity = round(buffer_s * self._rate)
            self._stream = sounddevice.InputStream(
                device=info["index"],
                samplerate=self._rate,
                channels=min(2, int(info["max_input_channels"])),
                dtype="float32",
                blocksize=round(self._rate * _BLOCK_S),
                callback=self._received,
            )
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as exc:
            raise DeviceError(
                f"microphone {device or '(default)'} cannot be opened: {exc}; "
                "`fieldnote-agent devices` lists what there is"
            ) from exc

    def _received(self, block: npt.NDArray[np.float32], n: int, _times: object, status: Any) -> None:
        with self._ready:
            if status.input_overflow:
                self._dropped += n  # PortAudio does not say how much; one block is its granularity
            self._blocks.append((block.copy(), time.time_ns(), time.monotonic_ns()))
            self._held += n
            while self._held > self._capacity:
                oldest = len(self._blocks.popleft()[0])
                self._held -= oldest
                self._dropped += oldest
            self._ready.notify()

    def events(self) -> Iterator[Event]:
        """Blocks as they arrive. Raises DeviceError when the device stops delivering."""
        resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE)
        while (block := self._next_block()) is not None:
            samples, utc_ns, monotonic_ns, dropped = block
            if dropped:
                yield Lost(round(dropped * SAMPLE_RATE / self._rate), "capture fell behind")
            frame = av.AudioFrame.from_ndarray(to_mono_int16(samples).reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate = self._rate
            for out in resampler.resample(frame):
                yield Samples(out.to_ndarray()[0], utc_ns, monotonic_ns)

    def _next_block(self) -> tuple[npt.NDArray[np.float32], int, int, int] | None:
        with self._ready:
            if not self._ready.wait_for(lambda: self._blocks or self._closed, _SILENT_DEVICE_S):
                raise DeviceError(f"the microphone delivers nothing for {_SILENT_DEVICE_S:.0f} s: unplugged?")
            if not self._blocks:
                return None
            samples, utc_ns, monotonic_ns = self._blocks.popleft()
            self._held -= len(samples)
            dropped, self._dropped = self._dropped, 0
            return samples, utc_ns, monotonic_ns, dropped

    def close(self) -> None:
        """Stop the device; `events` ends."""
        self._stream.close()
        with self._ready:
            self._closed = True
            self._ready.notify()


def input_devices() -> list[str]:
    """One line for each microphone. Raises DeviceError without PortAudio."""
    sounddevice = portaudio()
    return [
        f"mic:{device['index']}  {device['name']} ({device['default_samplerate']:.0f} Hz)"
        for device in sounddevice.query_devices()
        if device["max_input_channels"] > 0
    ]
