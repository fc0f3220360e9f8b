"""A few frames of our own drawing for the demo: a lecture's slides, as a camera would see them once a second."""

from pathlib import Path

import cv2
import numpy as np

_SIZE = (720, 1280)  # height, width in pixels
_SECONDS_EACH = 11
_SLIDES = (
    ("A TALE OF TWO CITIES", "Charles Dickens, 1859"),
    ("BOOK THE FIRST", "Recalled to Life"),
    ("CHAPTER 1", "The Period: it was 1775"),
    ("READING GROUP", "Room 204, Thursday 3 PM"),
)


def draw(directory: Path) -> Path:
    """Write the slides as numbered images, one for each second; returns the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for index, (title, subtitle) in enumerate(_SLIDES):
        _, encoded = cv2.imencode(".jpg", _slide(title, subtitle, index), [cv2.IMWRITE_JPEG_QUALITY, 90])
        for second in range(_SECONDS_EACH):
            (directory / f"{index * _SECONDS_EACH + second:04}.jpg").write_bytes(encoded.tobytes())
    return directory


def _slide(title: str, subtitle: str, index: int) -> "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]":
    """(height, width, 3) uint8 BGR: a lit screen in a dark room."""
    height, width = _SIZE
    room = np.linspace(28, 52, height, dtype=np.uint8)[:, None, None]
    image = np.broadcast_to(room, (height, width, 3)).copy()
    cv2.rectangle(image, (150, 90), (1130, 600), (236, 240, 242), -1)
    cv2.rectangle(image, (150, 90), (1130, 110), (96, 74, 40), -1)
    for text, y, scale, thickness in ((title, 300, 2.2, 5), (subtitle, 420, 1.3, 3)):
        (text_width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale, thickness)
        cv2.putText(
            image,
            text,
            ((width - text_width) // 2, y),
            cv2.FONT_HERSHEY_DUPLEX,
            scale,
            (54, 40, 28),
            thickness,
            cv2.LINE_AA,
        )
    for head in range(4):  # the audience, so that no two slides look alike at the bottom
        cv2.circle(image, (220 + 260 * head + 30 * index, 700), 90, (18, 18, 20), -1, cv2.LINE_AA)
    return image
