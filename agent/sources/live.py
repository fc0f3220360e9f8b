"""The live source: a microphone, with a camera beside it. A microphone that is gone is reopened; that time is lost."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from agent.audio import SAMPLE_RATE, n_samples
from agent.sources import DeviceError, Event, Lost, Samples
from agent.sources.camera import Camera
from agent.sources.microphone import Microphone

logger = logging.getLogger(__name__)
_REOPEN_S = 2.0


class LiveSource:
    """Opens both devices at once, so that a wrong setting is an error at the start. Raises DeviceError."""

    def __init__(
        self,
        open_microphone: Callable[[], Microphone],
        camera: Camera | None,
        pictures_hz: float,
        reopen_s: float = _REOPEN_S,
    ) -> None:
        self._reopen_s = reopen_s
        self._heard_ns = time.monotonic_ns()  # everything until then is accounted for
        self._open_microphone = open_microphone
        self._microphone = open_microphone()
        self._camera = camera
        self._picture_every = round(SAMPLE_RATE / pictures_hz)
        self._closed = threading.Event()

    def events(self) -> Iterator[Event]:
        """Samples as they arrive, pictures between them, until `close`."""
        while not self._closed.is_set():
            try:
                yield from self._with_pictures(self._microphone.events())
            except DeviceError as exc:
                logger.warning("%s; trying again", exc)
                yield from self._reopen()

    def _with_pictures(self, events: Iterator[Event]) -> Iterator[Event]:
        since_picture = self._picture_every
        for event in events:
            if isinstance(event, Samples):
                self._heard_ns = event.monotonic_ns
            yield event
            if self._camera is None or not isinstance(event, Samples):
                continue
            since_picture += len(event.pcm)
            if since_picture >= self._picture_every:
                since_picture = 0
                self._camera.wanted()
            if (picture := self._camera.take()) is not None:
                yield picture

    def _reopen(self) -> Iterator[Event]:
        """Account for the absence, from the last sample to the first that can come again, while trying."""
        back = False
        while not back and not self._closed.wait(self._reopen_s):
            self._microphone.close()
            with suppress(DeviceError):
                self._microphone = self._open_microphone()
                back = True
            now_ns = time.monotonic_ns()
            yield Lost(n_samples((now_ns - self._heard_ns) / 1e9), "microphone gone")
            self._heard_ns = now_ns
        if self._closed.is_set():  # perhaps while it was being opened
            self._microphone.close()

    def close(self) -> None:
        """Release both devices; `events` ends."""
        self._closed.set()
        self._microphone.close()
        if self._camera is not None:
            self._camera.close()
