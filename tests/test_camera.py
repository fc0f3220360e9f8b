"""The camera, with a film in the place of a lens."""

import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import blocks, silence

from agent.sources import DeviceError, Event, Picture, Samples
from agent.sources.camera import Camera
from agent.sources.live import LiveSource

DEADLINE_S = 10.0


@pytest.fixture
def film(tmp_path: Path) -> str:
    """Ten seconds of grey."""
    path = str(tmp_path / "film.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 30, (64, 48))
    for _ in range(300):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    return path


def taken(camera: Camera) -> Picture:
    """The picture that was wanted."""
    pause = threading.Event()
    for _ in range(round(DEADLINE_S / 0.01)):
        if (picture := camera.take()) is not None:
            return picture
        pause.wait(0.01)
    raise AssertionError("no picture came")


def test_a_picture_comes_when_it_is_wanted_and_only_once(film: str) -> None:
    camera = Camera(film)
    assert camera.take() is None
    camera.wanted()
    assert abs(float(taken(camera).image.mean()) - 90) < 5
    assert camera.take() is None
    camera.close()
    camera.close()


def test_a_camera_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cannot be opened"):
        Camera(str(tmp_path / "nothing.avi"))


def test_a_camera_that_has_gone_keeps_nobody_from_ending(film: str) -> None:
    camera = Camera(film)  # the film ends within a moment
    pause = threading.Event()
    for _ in range(round(DEADLINE_S / 0.01)):
        if not camera.present:
            break
        pause.wait(0.01)
    camera.close()
    assert "camera" not in [thread.name for thread in threading.enumerate()]


class Microphone:
    """Gives a second of silence for each picture that is to be had, then waits to be closed."""

    def __init__(self, camera: "Still") -> None:
        self._camera = camera

    def events(self) -> Iterator[Event]:
        yield from blocks(silence(3))

    def close(self) -> None:
        self._camera.closed += 1


class Still:
    """A camera that always has a picture when one is wanted."""

    def __init__(self) -> None:
        self.asked = 0
        self.closed = 0
        self._due = False

    def wanted(self) -> None:
        self.asked += 1
        self._due = True

    def take(self) -> Picture | None:
        due, self._due = self._due, False
        return Picture(np.zeros((48, 64, 3), np.uint8)) if due else None

    def close(self) -> None:
        self.closed += 1


def test_pictures_are_asked_for_at_the_rate_that_is_set_and_come_between_the_samples() -> None:
    camera = Still()
    source = LiveSource(lambda: Microphone(camera), camera, pictures_hz=2.0)  # type: ignore[arg-type,return-value]
    events = source.events()
    heard = [next(events) for _ in range(30 + 6)]
    source.close()
    assert [type(event) for event in heard[:2]] == [Samples, Picture]
    assert sum(isinstance(event, Picture) for event in heard) == camera.asked == 6
    assert camera.closed == 2  # with its microphone
