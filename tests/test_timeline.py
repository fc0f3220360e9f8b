"""Positions to capture times: under jitter, drift, clock steps and breaks."""

from hypothesis import given
from hypothesis import strategies as st

from agent.audio import SAMPLE_RATE
from agent.timeline import STEP_NS, Timeline

MS = 1_000_000
UTC = 1_700_000_000_000_000_000
BOOTED = 5_000_000_000
BLOCK = 1600
BLOCK_NS = 100 * MS

jitters_ms = st.lists(st.integers(0, 60), min_size=1, max_size=100)


@given(jitters_ms, st.integers(-150, 150), st.integers(1, 40))
def test_under_jitter_and_drift_the_capture_time_is_off_by_less_than_100_ms(
    jitter_ms: list[int], drift_ppm: int, repeats: int
) -> None:
    """Up to 4000 blocks (400 s), each arriving late by up to 60 ms, from a sound card that is `drift_ppm` too slow."""
    timeline, true_ns = Timeline.at(0, UTC, BOOTED), 0
    for index, late_ms in enumerate(jitter_ms * repeats):
        true_ns += BLOCK_NS + BLOCK_NS * drift_ppm // 1_000_000
        position, arrival_ns = (index + 1) * BLOCK, true_ns + late_ms * MS
        timeline.observe(position, UTC + arrival_ns, BOOTED + arrival_ns)
        assert abs(timeline.utc_ns(position) - (UTC + true_ns)) < 100 * MS


@given(jitters_ms)
def test_the_stated_error_is_how_late_the_last_block_seemed(jitter_ms: list[int]) -> None:
    timeline = Timeline.at(0, UTC, BOOTED)
    for index, late_ms in enumerate(jitter_ms):
        arrival_ns = (index + 1) * BLOCK_NS + late_ms * MS
        timeline.observe((index + 1) * BLOCK, UTC + arrival_ns, BOOTED + arrival_ns)
        assert 0 <= timeline.error_ns <= late_ms * MS


def test_a_slow_sound_card_is_followed_for_hours() -> None:
    timeline, true_ns = Timeline.at(0, UTC, BOOTED), 0
    for position in range(BLOCK, 2 * 3600 * SAMPLE_RATE, BLOCK):
        true_ns += BLOCK_NS + BLOCK_NS * 150 // 1_000_000
        timeline.observe(position, UTC + true_ns, BOOTED + true_ns)
    assert abs(timeline.utc_ns(position) - (UTC + true_ns)) < MS


def test_blocks_that_come_late_do_not_move_the_times_that_those_on_time_have_set() -> None:
    timeline = Timeline.at(0, UTC, BOOTED)
    for index in range(1, 600):
        arrival_ns = index * BLOCK_NS + (0 if index % 10 == 0 else 60 * MS)
        timeline.observe(index * BLOCK, UTC + arrival_ns, BOOTED + arrival_ns)
        assert abs(timeline.utc_ns(index * BLOCK) - UTC - index * BLOCK_NS) < MS


def test_the_first_block_to_arrive_early_corrects_a_late_anchor() -> None:
    timeline = Timeline.at(0, UTC + 80 * MS, BOOTED + 80 * MS)
    timeline.observe(BLOCK, UTC + BLOCK_NS, BOOTED + BLOCK_NS)
    assert timeline.utc_ns(0) == UTC


@given(st.integers(STEP_NS, 10**18) | st.integers(-(10**18), -STEP_NS))
def test_a_step_of_the_clock_moves_the_times_after_it_by_exactly_the_step(step_ns: int) -> None:
    timeline = Timeline.at(0, UTC, BOOTED)
    timeline.observe(BLOCK, UTC + BLOCK_NS, BOOTED + BLOCK_NS)
    before = timeline.utc_ns(BLOCK)
    timeline.observe(2 * BLOCK, UTC + step_ns + 2 * BLOCK_NS, BOOTED + 2 * BLOCK_NS)
    assert timeline.utc_ns(2 * BLOCK) - before == BLOCK_NS + step_ns
    assert timeline.steps == 1


@given(st.lists(st.integers(-STEP_NS + 1, STEP_NS - 1), max_size=50))
def test_a_clock_that_is_being_corrected_slowly_never_makes_an_error_of_100_ms(offsets_ns: list[int]) -> None:
    timeline = Timeline.at(0, UTC, BOOTED)
    for index, offset_ns in enumerate(offsets_ns):
        passed_ns = (index + 1) * BLOCK_NS
        timeline.observe((index + 1) * BLOCK, UTC + passed_ns + offset_ns, BOOTED + passed_ns)
        assert abs(timeline.utc_ns((index + 1) * BLOCK) - (UTC + passed_ns + offset_ns)) < 100 * MS


def test_after_a_break_the_times_are_those_of_the_new_samples() -> None:
    timeline = Timeline.at(0, UTC, BOOTED)
    away_ns = 3_600_000_000_000
    timeline.jump(BLOCK, UTC + away_ns + 7, BOOTED + away_ns)
    assert timeline.utc_ns(BLOCK) == UTC + away_ns + 7
    assert timeline.utc_ns(BLOCK + SAMPLE_RATE) == UTC + away_ns + 7 + 1_000_000_000


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_later_positions_have_later_times(one: int, other: int) -> None:
    timeline = Timeline.at(0, UTC, BOOTED)
    assert (timeline.utc_ns(one) <= timeline.utc_ns(other)) == (one <= other)
