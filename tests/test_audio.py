"""Samples: conversions, windows and the ring."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agent.audio import (
    SAMPLE_RATE,
    Pcm,
    Rechunker,
    Ring,
    level,
    n_samples,
    seconds,
    to_float32,
    to_mono_int16,
)

pcms = hnp.arrays(np.int16, st.integers(0, 50))


@given(st.lists(pcms), st.integers(1, 20))
def test_rechunking_keeps_every_sample_in_order_in_windows_of_one_size(chunks: list[Pcm], size: int) -> None:
    rechunker = Rechunker(size)
    windows = [window for chunk in chunks for window in rechunker.push(chunk)]
    waiting = len(rechunker)
    rest = rechunker.flush()
    assert waiting == len(rest)
    assert all(len(window) == size for window in windows)
    assert len(rest) < size
    assert np.array_equal(np.concatenate([*windows, rest]), np.concatenate([*chunks, np.empty(0, np.int16)]))


def test_after_a_flush_the_next_window_starts_with_new_samples() -> None:
    rechunker = Rechunker(4)
    assert list(rechunker.push(np.array([1, 2, 3], np.int16))) == []
    rechunker.flush()
    (window,) = rechunker.push(np.array([4, 5, 6, 7], np.int16))
    assert window.tolist() == [4, 5, 6, 7]


def test_a_held_remainder_survives_the_reuse_of_the_callers_buffer() -> None:
    rechunker, buffer = Rechunker(4), np.array([1, 2, 3], np.int16)
    list(rechunker.push(buffer))
    buffer[:] = 0
    assert rechunker.flush().tolist() == [1, 2, 3]


@given(st.integers(1, 30), st.integers(0, 1000), st.lists(pcms))
def test_the_ring_holds_exactly_the_newest_samples(capacity: int, position: int, chunks: list[Pcm]) -> None:
    ring, pushed = Ring(capacity, position), np.empty(0, np.int16)
    for chunk in chunks:
        ring.push(chunk)
        pushed = np.concatenate([pushed, chunk])
        assert ring.end == position + len(pushed)
        assert ring.end - ring.start == min(capacity, len(pushed))
        assert np.array_equal(ring.read(ring.start, ring.end), pushed[ring.start - position :])


@given(st.data())
def test_any_held_span_reads_back_as_it_was_pushed(data: st.DataObject) -> None:
    ring = Ring(64)
    ring.push(np.arange(100, dtype=np.int16))
    start = data.draw(st.integers(ring.start, ring.end))
    end = data.draw(st.integers(start, ring.end))
    assert ring.read(start, end).tolist() == list(range(start, end))


@pytest.mark.parametrize(("start", "end"), [(5, 8), (8, 13), (10, 9)])
def test_a_span_that_is_not_held_is_refused(start: int, end: int) -> None:
    ring = Ring(6)
    ring.push(np.arange(12, dtype=np.int16))
    with pytest.raises(ValueError, match="not held"):
        ring.read(start, end)


def test_a_restarted_ring_has_forgotten_what_was_before_the_gap() -> None:
    ring = Ring(6)
    ring.push(np.arange(4, dtype=np.int16))
    ring.restart(100)
    assert (ring.start, ring.end) == (100, 100)
    ring.push(np.array([7, 8], np.int16))
    assert ring.read(100, 102).tolist() == [7, 8]


@given(pcms)
def test_mono_int16_passes_unchanged(pcm: Pcm) -> None:
    assert np.array_equal(to_mono_int16(pcm), pcm)


@given(pcms)
def test_float32_and_back_is_off_by_one_step_at_most(pcm: Pcm) -> None:
    floats = to_float32(pcm)
    assert floats.dtype == np.float32
    assert np.all(np.abs(floats) <= 1.0)
    assert np.all(np.abs(to_mono_int16(floats).astype(int) - pcm) <= 1)


def test_channels_are_mixed_to_their_mean() -> None:
    assert to_mono_int16(np.array([[100, 300], [-5, -5]], np.int16)).tolist() == [200, -5]
    assert to_mono_int16(np.array([[0.5, -0.5], [1.0, 1.0]], np.float32)).tolist() == [0, 32767]


def test_floats_beyond_full_scale_are_clipped_and_do_not_wrap() -> None:
    assert to_mono_int16(np.array([1.5, -1.5])).tolist() == [32767, -32768]


@given(st.integers(0, 10**12))
def test_samples_to_seconds_and_back_is_exact(n: int) -> None:
    assert n_samples(seconds(n)) == n


def test_one_second_is_the_sample_rate() -> None:
    assert n_samples(1.0) == SAMPLE_RATE == 16_000


@given(pcms)
def test_the_level_lies_between_zero_and_one(pcm: Pcm) -> None:
    assert 0.0 <= level(pcm) <= 1.0


def test_the_level_is_a_decibel_scale_from_minus_sixty_to_full() -> None:
    square = np.tile(np.array([32767, -32767], np.int16), 100)
    assert level(square) == pytest.approx(1.0, abs=1e-4)
    assert level((square // 32).astype(np.int16)) == pytest.approx(0.5, abs=0.01)  # -30 dB
    assert level(np.zeros(100, np.int16)) == 0.0
    assert level(np.empty(0, np.int16)) == 0.0
