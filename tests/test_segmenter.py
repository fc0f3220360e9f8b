"""Boundaries of utterances: the promises that hold for any sound, then what a reader should picture."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.audio import n_samples
from agent.config import Segmenter as SegmenterConfig
from agent.segmenter import Boundary, Segmenter, SpeechEnded, SpeechStarted

WINDOW = 256
LARGEST = 399


@dataclass(frozen=True, slots=True)
class Pushed:
    """One window that was heard, and the boundaries it revealed."""

    start: int
    end: int
    probability: float
    boundaries: tuple[Boundary, ...]


@dataclass(frozen=True, slots=True)
class Utterance:
    start: int
    end: int
    reason: str


configs = st.builds(
    SegmenterConfig,
    onset=st.sampled_from([0.4, 0.5, 0.7]),
    offset=st.sampled_from([0.2, 0.35, 0.6]),
    onset_s=st.floats(0.001, 0.1),
    preroll_s=st.floats(0.0, 0.3),
    hangover_s=st.floats(0.02, 0.5),
    hangover_late_s=st.floats(0.02, 0.6),
    longest_s=st.floats(1.0, 2.0),
    cut_search_s=st.floats(0.02, 5.0),
)
# Runs, so that speech and pauses of all lengths come up: (probability, windows in the run, window size).
sounds = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.1, 0.3, 0.45, 0.65, 0.9]),
        st.integers(1, 100),
        st.sampled_from([WINDOW, 100, LARGEST]),
    ),
    max_size=25,
)
Sound = list[tuple[float, int, int]]


def hear(segmenter: Segmenter, sound: Sound) -> list[Pushed]:
    """Push every window of `sound`, then flush."""
    heard = []
    for probability, count, n in sound:
        for _ in range(count):
            start = segmenter.position
            heard.append(Pushed(start, start + n, probability, segmenter.push(probability, n)))
    heard.append(Pushed(segmenter.position, segmenter.position, 0.0, segmenter.flush()))
    return heard


def utterances(heard: list[Pushed]) -> list[Utterance]:
    """Pair the boundaries; they must alternate."""
    boundaries = [boundary for window in heard for boundary in window.boundaries]
    pairs = []
    for started, ended in zip(boundaries[::2], boundaries[1::2], strict=True):
        assert isinstance(started, SpeechStarted)
        assert isinstance(ended, SpeechEnded)
        pairs.append(Utterance(started.sample, ended.sample, ended.reason))
    return pairs


@given(configs, sounds, st.integers(0, 10**9))
def test_boundaries_alternate_and_utterances_never_overlap(
    config: SegmenterConfig, sound: Sound, position: int
) -> None:
    end = position
    for utterance in utterances(hear(Segmenter(config, position), sound)):
        assert end <= utterance.start < utterance.end
        end = utterance.end


@given(configs, sounds)
def test_no_boundary_lies_in_the_future(config: SegmenterConfig, sound: Sound) -> None:
    for window in hear(Segmenter(config), sound):
        assert all(boundary.sample <= window.end for boundary in window.boundaries)


@given(configs, sounds)
def test_no_utterance_is_longer_than_the_longest(config: SegmenterConfig, sound: Sound) -> None:
    for utterance in utterances(hear(Segmenter(config), sound)):
        assert utterance.end - utterance.start <= n_samples(config.longest_s)


@given(configs, sounds)
def test_every_voiced_run_longer_than_the_onset_lies_inside_utterances(config: SegmenterConfig, sound: Sound) -> None:
    heard = hear(Segmenter(config), sound)
    found = utterances(heard)
    for start, end in voiced_runs(heard, max(config.onset, config.offset)):
        if end - start >= n_samples(config.onset_s):
            inside = sum(max(0, min(end, one.end) - max(start, one.start)) for one in found)
            assert inside == end - start


@given(configs, sounds)
def test_a_cut_falls_into_a_pause_if_the_search_window_has_one(config: SegmenterConfig, sound: Sound) -> None:
    heard = hear(Segmenter(config), sound)
    for now in heard:
        for boundary in now.boundaries:
            if not (isinstance(boundary, SpeechEnded) and boundary.reason == "longest"):
                continue
            searched = min(n_samples(config.cut_search_s), n_samples(config.longest_s) // 2)
            recent = windows_within(heard, now.end - searched, now.end)
            cut_through = [window for window in recent if window.start < boundary.sample < window.end]
            if any(window.probability < config.offset for window in recent):
                assert all(window.probability < config.offset for window in cut_through)


@given(configs, sounds)
def test_an_utterance_ends_in_a_pause_only_after_the_shortest_hangover(config: SegmenterConfig, sound: Sound) -> None:
    heard = hear(Segmenter(config), sound)
    for now in heard:
        if any(isinstance(boundary, SpeechEnded) and boundary.reason == "pause" for boundary in now.boundaries):
            silent_since = now.end - n_samples(min(config.hangover_s, config.hangover_late_s))
            last = windows_within(heard, silent_since, now.end)
            assert all(window.probability < config.offset for window in last)


@given(configs, sounds)
def test_an_utterance_never_starts_before_its_own_onset_and_pre_roll(config: SegmenterConfig, sound: Sound) -> None:
    for now in hear(Segmenter(config), sound):
        match now.boundaries:
            case (SpeechStarted(sample),):
                reach = n_samples(2 * config.onset_s) + n_samples(config.preroll_s)
                assert now.end - sample < reach + LARGEST


@given(configs, sounds, st.integers(0, 10**6), sounds)
def test_a_restarted_segmenter_decides_as_a_new_one(
    config: SegmenterConfig, before: Sound, gap: int, after: Sound
) -> None:
    used = Segmenter(config)
    hear(used, before)
    used.restart(used.position + gap)
    assert not used.speaking
    assert hear(used, after) == hear(Segmenter(config, used.position - length(after)), after)


def windows_within(heard: list[Pushed], start: int, end: int) -> list[Pushed]:
    """The windows that end in (start, end]."""
    return [window for window in heard if start < window.end <= end and window.start < window.end]


def voiced_runs(heard: list[Pushed], threshold: float) -> list[tuple[int, int]]:
    """[start, end) of each run of windows at or above `threshold`."""
    runs: list[tuple[int, int]] = []
    for window in heard:
        if window.probability < threshold:
            continue
        if runs and runs[-1][1] == window.start:
            runs[-1] = (runs[-1][0], window.end)
        else:
            runs.append((window.start, window.end))
    return runs


def length(sound: Sound) -> int:
    """Samples in `sound`."""
    return sum(count * n for _, count, n in sound)


# Examples. One window is 16 ms; 100 of them are 1.6 s.
CONFIG = SegmenterConfig(
    onset=0.5,
    offset=0.35,
    onset_s=0.1,
    preroll_s=0.3,
    hangover_s=0.5,
    hangover_late_s=0.5,
    longest_s=30.0,
    cut_search_s=5.0,
)


def test_an_utterance_reaches_from_the_pre_roll_to_the_end_of_the_hangover() -> None:
    segmenter = Segmenter(CONFIG)
    found = utterances(hear(segmenter, [(0.0, 100, WINDOW), (0.9, 100, WINDOW), (0.0, 100, WINDOW)]))
    assert found == [Utterance(100 * WINDOW - 4800, 232 * WINDOW, "pause")]  # 32 windows are 0.512 s


def test_speech_at_the_very_start_has_no_pre_roll_from_before_the_stream() -> None:
    assert utterances(hear(Segmenter(CONFIG, 1000), [(0.9, 50, WINDOW)]))[0].start == 1000


def test_a_click_shorter_than_the_onset_starts_nothing() -> None:
    assert utterances(hear(Segmenter(CONFIG), [(0.9, 5, WINDOW), (0.0, 50, WINDOW)] * 4)) == []


def test_an_onset_may_stutter() -> None:
    assert len(utterances(hear(Segmenter(CONFIG), [(0.9, 4, WINDOW), (0.0, 3, WINDOW), (0.9, 4, WINDOW)]))) == 1


def test_a_stream_that_stops_while_someone_speaks_ends_the_utterance_there() -> None:
    segmenter = Segmenter(CONFIG)
    for _ in range(50):
        segmenter.push(0.9, WINDOW)
    assert segmenter.speaking
    assert segmenter.flush() == (SpeechEnded(50 * WINDOW, "flush", silent=0),)
    assert not segmenter.speaking
    assert segmenter.flush() == ()


def test_an_onset_does_not_reach_across_a_gap() -> None:
    segmenter = Segmenter(CONFIG)
    hear(segmenter, [(0.9, 5, WINDOW)])
    segmenter.restart(5 * WINDOW + 100)
    assert utterances(hear(segmenter, [(0.9, 5, WINDOW)])) == []


@pytest.mark.parametrize("pause", [1, 10, 30])
def test_endless_speech_is_cut_in_the_middle_of_its_pause(pause: int) -> None:
    # 30 s is window 1875; the search goes back to window 1563.
    sound: Sound = [(0.9, 1700, WINDOW), (0.0, pause, WINDOW), (0.9, 300, WINDOW)]
    first, second = utterances(hear(Segmenter(CONFIG), sound))
    assert first == Utterance(0, 1700 * WINDOW + pause * WINDOW // 2, "longest")
    assert second.start == first.end


def test_the_longest_of_several_pauses_is_the_best() -> None:
    sound: Sound = [
        *((0.9, 1600, WINDOW), (0.0, 4, WINDOW), (0.9, 50, WINDOW), (0.0, 12, WINDOW)),
        *((0.9, 50, WINDOW), (0.0, 4, WINDOW), (0.9, 300, WINDOW)),
    ]
    assert utterances(hear(Segmenter(CONFIG), sound))[0].end == (1654 + 6) * WINDOW


def test_a_pause_before_the_search_window_is_not_gone_back_to() -> None:
    sound: Sound = [
        (0.9, 1000, WINDOW),
        (0.0, 20, WINDOW),
        (0.9, 700, WINDOW),
        (0.6, 1, WINDOW),
        (0.9, 200, WINDOW),
    ]
    assert utterances(hear(Segmenter(CONFIG), sound))[0].end == 1720 * WINDOW + WINDOW // 2


def test_speech_without_any_pause_is_cut_where_it_is_least_like_speech() -> None:
    sound: Sound = [(0.9, 1800, WINDOW), (0.5, 1, WINDOW), (0.9, 200, WINDOW)]
    first, second = utterances(hear(Segmenter(CONFIG), sound))
    assert first == Utterance(0, 1800 * WINDOW + WINDOW // 2, "longest")
    assert second.start == first.end


def test_speech_that_falls_silent_just_before_the_limit_ends_there_and_starts_nothing_new() -> None:
    sound: Sound = [(0.9, 1870, WINDOW), (0.0, 100, WINDOW)]
    assert utterances(hear(Segmenter(CONFIG), sound)) == [Utterance(0, 1875 * WINDOW, "longest")]


@pytest.mark.parametrize("voiced", [1825, 3000])  # the first falls silent so that hangover and limit coincide
def test_an_utterance_whose_limit_falls_inside_a_window_still_keeps_it(voiced: int) -> None:
    # The pre-roll starts between two windows, at sample 2880.
    found = utterances(hear(Segmenter(CONFIG), [(0.0, 30, WINDOW), (0.9, voiced, WINDOW), (0.0, 50, WINDOW)]))
    assert found[0].start == 2880
    assert all(one.end - one.start <= 480_000 for one in found)


@pytest.mark.parametrize(("spoken", "hangover_s"), [(1.0, 0.9), (5.0, 0.9), (11.0, 0.65), (17.0, 0.4)])
def test_the_pause_that_ends_an_utterance_shrinks_as_it_gets_long(spoken: float, hangover_s: float) -> None:
    config = SegmenterConfig(hangover_s=0.9, hangover_late_s=0.4, longest_s=20.0, preroll_s=0.0)
    voiced = n_samples(spoken) // WINDOW
    (found,) = utterances(hear(Segmenter(config), [(0.9, voiced, WINDOW), (0.0, 100, WINDOW)]))
    assert abs(found.end - voiced * WINDOW - n_samples(hangover_s)) <= 2 * WINDOW
