"""Thumbnails."""

import cv2
import numpy as np
import pytest
from fakes import jpeg
from hypothesis import given
from hypothesis import strategies as st

from inference_server.thumbnails import thumbnail


def size(image: bytes) -> tuple[int, int]:
    height, width, _ = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR).shape
    return width, height


@pytest.mark.parametrize("width", [16, 100, 160, 319, 321, 639])
def test_a_frame_is_made_exactly_as_wide_as_asked(width: int) -> None:
    assert size(thumbnail(jpeg(width=640, height=480), width)) == (width, round(width * 0.75))


def test_a_frame_is_never_enlarged() -> None:
    small = jpeg(width=64, height=48)
    assert thumbnail(small, 64) == thumbnail(small, 160) == small


def test_a_sliver_keeps_a_line_of_pixels() -> None:
    assert size(thumbnail(jpeg(width=2000, height=8), 16))[1] == 1


@given(st.binary(min_size=0, max_size=200))
def test_what_cannot_be_decoded_comes_back_as_it_is(rest: bytes) -> None:
    assert thumbnail(b"\xff\xd8\xff" + rest, 16) == b"\xff\xd8\xff" + rest


def test_a_picture_of_impossible_size_is_not_decoded() -> None:
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = b"\xff\xff\xff\xff"  # 65535 x 65535 pixels
    assert thumbnail(bytes(data), 160) == bytes(data)
