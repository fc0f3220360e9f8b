"""Frames made small for the page."""

import cv2
import numpy as np

_QUALITY = 80


def thumbnail(jpeg: bytes, width: int) -> bytes:
    """The image `width` pixels wide, never larger than it is; as it came if it cannot be decoded."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_REDUCED_COLOR_2)
    if image is None or image.shape[1] <= width:
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None or image.shape[1] <= width:
        return jpeg
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return encoded.tobytes()
