"""The camera: an OpenCV device index, or an RTSP/MJPEG URL of a glasses or IP camera.

One thread grabs every picture, so that the newest is never a stale one from the driver's buffer, and decodes
only those that are asked for. Only the newest decoded picture is kept. A camera that goes away is reopened; its
absence loses pictures, never sound.
"""

import logging
import threading
from contextlib import suppress

import cv2
import numpy as np

from agent.sources import DeviceError, Image, Picture

logger = logging.getLogger(__name__)
_REOPEN_S = 5.0


class Camera:
    """Call `wanted()` when a picture is due, `take()` to have it once it is there, `close()` at the end."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._newest: Image | None = None
        self.present = False
        capture = self._open()
        if not capture.isOpened():
            raise DeviceError(
                f"camera {device} cannot be opened: check that it is plugged in, that no other program uses it, "
                "and (for a URL) that it plays in a browser or VLC"
            )
        self._thread = threading.Thread(target=self._run, args=(capture,), name="camera", daemon=True)
        self._thread.start()

    def _open(self) -> cv2.VideoCapture:
        return cv2.VideoCapture(int(self._device)) if self._device.isdigit() else cv2.VideoCapture(self._device)

    def _run(self, capture: cv2.VideoCapture) -> None:
        while not self._closed.is_set():
            self.present = capture.isOpened() and capture.grab()
            if not self.present:
                logger.warning("camera gone; trying again every %.0f s", _REOPEN_S)
                capture.release()
                self._closed.wait(_REOPEN_S)
                capture = self._open()
            elif self._wanted.is_set():
                got, image = capture.retrieve()
                if got:
                    self._wanted.clear()
                    with self._lock:
                        self._newest = image.astype(np.uint8, copy=False)
        capture.release()

    def wanted(self) -> None:
        """Decode the next picture."""
        self._wanted.set()

    def take(self) -> Picture | None:
        """The picture that was wanted, once, if it is there."""
        with self._lock:
            image, self._newest = self._newest, None
        return None if image is None else Picture(image)

    def close(self) -> None:
        """Stop the thread and release the device."""
        self._closed.set()
        with suppress(RuntimeError):
            self._thread.join(timeout=2.0)
