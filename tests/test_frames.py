import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.audio import SAMPLE_RATE, n_samples
from agent.config import Frames
from agent.frames import FrameGate, Grey, Look, Verdict, change, look

SECOND = SAMPLE_RATE
CONFIG = Frames()

thorough = settings(deadline=None, max_examples=40)  # of whole frames
seeds = st.integers(0, 2**32 - 1)
steps = st.integers(1, 20 * SECOND)  # from one frame of the camera to the next


def scene(seed: int, height: int = 360, width: int = 640) -> Grey:
    """Boxes of every grey on a grey wall: edges, corners and plain areas."""
    random = np.random.default_rng(seed)
    grey: Grey = np.full((height, width), random.integers(60, 200), np.uint8)
    for _ in range(40):
        y, x = random.integers(0, height - 8), random.integers(0, width - 8)
        h, w = random.integers(8, height // 3), random.integers(8, width // 3)
        grey[y : y + h, x : x + w] = random.integers(20, 235)
    return through_a_lens(grey)


def through_a_lens(grey: Grey) -> Grey:
    """No lens draws an edge sharper than this: the mean of each 3 x 3."""
    padded = np.pad(grey, 1, mode="edge")
    height, width = grey.shape
    shifted = np.stack([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)])
    blurred: Grey = shifted.mean(axis=0).astype(np.uint8)
    return blurred


def noisy(grey: Grey, seed: int, sigma: float) -> Grey:
    noise = np.random.default_rng(seed).normal(0.0, sigma, grey.shape)
    return np.clip(grey + noise, 0, 255).astype(np.uint8)


def row_of_letters(grey: Grey, seed: int, y: int, x: int, height: int) -> Grey:
    """Upright strokes of a letter's height and a third of it apart, each there or not."""
    written = grey.copy()
    stroke = max(1, height // 6)
    for i in np.flatnonzero(np.random.default_rng(seed).integers(0, 2, 48)):
        left = x + int(i) * 2 * stroke
        written[y : y + height, left : left + stroke] = 10
    return written


def plain(mean: int) -> Look:
    """A frame in which there is nothing to see."""
    return look(np.full((360, 640), mean, np.uint8))


# look


@thorough
@given(st.integers(1, 900), st.integers(1, 900), st.integers(0, 255))
def test_a_frame_of_any_size_can_be_judged(height: int, width: int, level: int) -> None:
    seen = look(np.full((height, width), level, np.uint8))

    assert seen.mean == level
    assert seen.sharpness == 0.0
    assert change(seen, seen) == 0.0
    assert max(seen.thumbnail.shape) <= 480 or min(height, width) < 480 / 64 * 2


@thorough
@given(seeds, st.integers(20, 235), st.floats(0.0, 40.0))
def test_noise_alone_never_counts_as_sharp(seed: int, level: int, sigma: float) -> None:
    assert look(noisy(np.full((720, 1280), level, np.uint8), seed, sigma)).sharpness < CONFIG.blurriest


@thorough
@given(seeds, st.integers(20, 650), st.integers(20, 500), st.integers(12, 40), st.floats(0.0, 5.0))
def test_one_row_of_letters_anywhere_makes_a_frame_sharp(seed: int, y: int, x: int, height: int, sigma: float) -> None:
    paper: Grey = np.full((720, 1280), 150, np.uint8)

    seen = look(noisy(row_of_letters(paper, seed, y, x, height), seed, sigma))

    assert FrameGate(CONFIG).judge(seen, 0) is Verdict.KEEP


def test_a_lit_screen_in_the_dark_is_not_black() -> None:
    dark: Grey = np.full((720, 1280), 2, np.uint8)
    dark[300:312, 600:700:4] = 120

    seen = look(dark)

    assert seen.mean < CONFIG.darkest
    assert FrameGate(CONFIG).judge(seen, 0) is Verdict.KEEP


# change


@thorough
@given(seeds, st.integers(-20, 20), st.integers(-20, 20), st.floats(0.8, 1.25), st.floats(0.0, 3.0))
def test_a_shaken_and_newly_exposed_copy_is_a_duplicate(seed: int, dy: int, dx: int, gain: float, sigma: float) -> None:
    wide = scene(seed, 400, 680)
    here, there = wide[20:380, 20:660], wide[20 + dy : 380 + dy, 20 + dx : 660 + dx]
    exposed = np.clip(there * gain, 0, 255).astype(np.uint8)

    assert change(look(here), look(noisy(exposed, seed, sigma))) < CONFIG.duplicate_distance


@thorough
@given(seeds, seeds)
def test_another_scene_is_no_duplicate(seed: int, other: int) -> None:
    distance = change(look(scene(seed)), look(scene(other)))

    assert (distance < CONFIG.duplicate_distance) == (seed == other)


@thorough
@given(seeds, st.integers(60, 300), st.integers(60, 240), st.integers(12, 30))
def test_a_row_of_letters_that_appears_is_no_duplicate(seed: int, y: int, x: int, height: int) -> None:
    empty = scene(seed)
    empty[y - 10 : y + height + 10, x - 10 : x + 300] = 200
    written = row_of_letters(empty, seed, y, x, height)

    assert change(look(empty), look(written)) >= CONFIG.duplicate_distance


def test_frames_of_different_size_are_no_duplicates() -> None:
    assert change(look(scene(1)), look(scene(1, 640, 360))) == 255.0


def test_what_no_exposure_shows_in_common_is_no_duplicate() -> None:
    faint = scene(1) * 0.05

    assert change(look((faint + 6).astype(np.uint8)), look((faint + 230).astype(np.uint8))) == 255.0


def test_a_frame_all_clipped_is_a_duplicate_of_its_like_only() -> None:
    white, black = plain(255), plain(0)

    assert change(white, white) == 0.0
    assert change(black, white) > 200.0


# due


@given(st.lists(st.tuples(steps, st.booleans()), max_size=200))
def test_frames_are_never_looked_at_faster_than_the_rate(frames: list[tuple[int, bool]]) -> None:
    gate, at, looked = FrameGate(CONFIG), 0, list[int]()
    for step, speaking in frames:
        at += step
        if gate.due(at, speaking):
            looked.append(at)

    span = looked[-1] - looked[0] if looked else 0
    assert len(looked) <= span / SECOND * CONFIG.speaking_hz + 2


@given(st.floats(5.0, 60.0), st.booleans())
def test_a_camera_faster_than_the_rate_is_looked_at_at_the_rate(camera_hz: float, speaking: bool) -> None:
    gate, duration_s = FrameGate(CONFIG), 100
    times = [round(i * SECOND / camera_hz) for i in range(int(duration_s * camera_hz))]

    looked = sum(gate.due(at, speaking) for at in times)

    rate = CONFIG.speaking_hz if speaking else CONFIG.idle_hz
    assert abs(looked - duration_s * rate) <= 1


@given(st.lists(st.integers(0, SECOND // 20), min_size=10, max_size=50))
def test_a_camera_at_the_rate_that_comes_a_little_late_is_looked_at_every_time(late: list[int]) -> None:
    gate = FrameGate(CONFIG)
    times = [i * SECOND + lateness for i, lateness in enumerate([0, *late])]

    assert all(gate.due(at, speaking=True) for at in times)


def test_when_speech_starts_the_next_frame_is_due() -> None:
    gate = FrameGate(CONFIG)
    assert gate.due(0, speaking=False)
    assert not gate.due(2 * SECOND, speaking=False)

    assert gate.due(2 * SECOND, speaking=True)


# judge


def test_the_first_frame_with_something_in_it_is_kept() -> None:
    assert FrameGate(CONFIG).judge(look(scene(1)), 0) is Verdict.KEEP


def test_a_covered_lens_is_black_in_the_dark_and_blurred_in_the_light() -> None:
    gate = FrameGate(CONFIG)

    assert gate.judge(plain(5), 0) is Verdict.BLACK
    assert gate.judge(plain(120), 0) is Verdict.BLURRED


def test_only_a_frame_that_was_sent_makes_the_next_a_duplicate() -> None:
    gate, seen = FrameGate(CONFIG), look(scene(1))
    assert gate.judge(seen, 0) is Verdict.KEEP
    assert gate.judge(seen, SECOND) is Verdict.KEEP

    assert gate.spend(seen, 1, SECOND)

    assert gate.judge(seen, 2 * SECOND) is Verdict.DUPLICATE
    assert gate.judge(look(scene(2)), 2 * SECOND) is Verdict.KEEP


@thorough
@given(st.lists(steps, max_size=20))
def test_a_scene_that_stays_is_sent_again_every_minute(gaps: list[int]) -> None:
    gate, seen, at, sent = FrameGate(CONFIG), look(scene(1)), 0, [0]
    assert gate.spend(seen, 1, at)
    for gap in gaps:
        at += gap
        verdict = gate.judge(seen, at)
        assert (verdict is Verdict.KEEP) == (at - sent[-1] >= n_samples(CONFIG.repeat_s))
        if verdict is Verdict.KEEP:
            assert gate.spend(seen, 1, at)
            sent.append(at)


# spend


@given(st.lists(st.tuples(steps, st.integers(1, 400_000)), min_size=1, max_size=200))
def test_no_stretch_of_time_costs_more_than_its_budget_a_burst_and_a_frame(
    frames: list[tuple[int, int]],
) -> None:
    gate, seen, at, paid = FrameGate(CONFIG), plain(120), 0, list[tuple[int, int]]()
    for step, size_bytes in frames:
        at += step
        if gate.spend(seen, size_bytes, at):
            paid.append((at, size_bytes))

    hourly = CONFIG.budget_mb_per_hour * 1e6
    for i, (start, _) in enumerate(paid):
        total, hours = sum(size for _, size in paid[i:]), (paid[-1][0] - start) / SECOND / 3600
        assert total <= hourly * (hours + 600 / 3600) + paid[-1][1] + 1


def test_a_spent_budget_refills_with_time() -> None:
    gate, seen = FrameGate(Frames(budget_mb_per_hour=3.6)), plain(120)  # 1000 bytes a second
    assert gate.spend(seen, 600_000 + 5000, 0)

    assert not gate.spend(seen, 1, 5 * SECOND)
    assert gate.spend(seen, 1, 5 * SECOND + SECOND // 10)


@given(st.integers(1, 10_000_000))
def test_a_frame_larger_than_the_whole_purse_is_not_starved(size_bytes: int) -> None:
    assert FrameGate(Frames(budget_mb_per_hour=0.01)).spend(plain(120), size_bytes, 0)
