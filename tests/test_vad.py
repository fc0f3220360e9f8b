"""The two detectors together, then with the segmenter: on made sounds, and on recordings if there are any."""

import importlib.util
import os
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agent.audio import SAMPLE_RATE, Pcm, to_mono_int16
from agent.config import Segmenter as SegmenterConfig
from agent.config import Vad as VadConfig
from agent.segmenter import Segmenter
from agent.vad import WINDOW, Vad

SHARED = Path(__file__).resolve().parents[2] / "shared" / "media"
MEDIA = Path(os.environ.get("FIELDNOTE_MEDIA", SHARED))
needs_media = pytest.mark.skipif(
    not (MEDIA / "speech").is_dir(), reason=f"no recordings in {MEDIA}; set FIELDNOTE_MEDIA"
)


def windows(pcm: Pcm) -> list[Pcm]:
    """`pcm` cut into whole windows."""
    return [pcm[start : start + WINDOW] for start in range(0, len(pcm) - WINDOW + 1, WINDOW)]


def probabilities(pcm: Pcm, config: VadConfig | None = None) -> list[float]:
    """What a new detector thinks of each window."""
    vad = Vad(config or VadConfig())
    return [vad.push(window) for window in windows(pcm)]


def utterances(pcm: Pcm) -> list[tuple[int, int]]:
    """[start, end) of each utterance, with the default settings."""
    segmenter = Segmenter(SegmenterConfig())
    boundaries = [boundary for p in probabilities(pcm) for boundary in segmenter.push(p, WINDOW)]
    samples = [boundary.sample for boundary in (*boundaries, *segmenter.flush())]
    return list(zip(samples[::2], samples[1::2], strict=True))


def white_noise(duration_s: float, amplitude: float) -> Pcm:
    """Noise of a fixed seed; `amplitude` is its standard deviation, full scale at 1.0."""
    samples = np.random.default_rng(1).normal(0.0, amplitude, round(duration_s * SAMPLE_RATE))
    return to_mono_int16(samples)


def quieter(pcm: Pcm, db: float) -> Pcm:
    """`pcm` attenuated by `db`."""
    return to_mono_int16(pcm / 32767.0 * 10 ** (-db / 20))


def loud_runs(pcm: Pcm) -> list[tuple[int, int]]:
    """[start, end) of each run of at least 60 ms whose 20 ms frames are within 15 dB of the loudest."""
    frames = pcm[: len(pcm) // 320 * 320].reshape(-1, 320).astype(np.float64)
    power = np.mean(np.square(frames), axis=1)
    loud = power > power.max() * 10 ** (-15 / 10)
    edges = np.flatnonzero(np.diff(loud, prepend=False, append=False)).reshape(-1, 2)
    return [(int(start) * 320, int(end) * 320) for start, end in edges if end - start >= 3]


def lost(pcm: Pcm, found: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The loud runs of `pcm` that are not wholly inside `found`; a cut may part one."""
    inside = np.zeros(len(pcm), np.bool_)
    for start, end in found:
        inside[start:end] = True
    return [(start, end) for start, end in loud_runs(pcm) if not inside[start:end].all()]


@pytest.fixture(scope="module")
def speech() -> Pcm:
    """Twenty seconds of someone reading."""
    spec = importlib.util.find_spec("moonshine_voice")
    if spec is None or spec.origin is None:
        pytest.skip("moonshine_voice, which brings a recording of speech, is not installed")
    samples, rate = soundfile.read(Path(spec.origin).parent / "assets" / "two_cities.wav", dtype="int16")
    assert rate % SAMPLE_RATE == 0
    return to_mono_int16(samples[: 20 * rate].reshape(-1, rate // SAMPLE_RATE))


@settings(deadline=None)
@given(hnp.arrays(np.int16, st.integers(0, 20).map(lambda count: count * WINDOW)), st.integers(0, 3))
def test_every_window_of_any_sound_has_a_probability(pcm: Pcm, mode: int) -> None:
    assert all(0.0 <= p <= 1.0 for p in probabilities(pcm, VadConfig(gate_mode=mode)))


@settings(deadline=None)
@given(hnp.arrays(np.int16, 8 * WINDOW), hnp.arrays(np.int16, 8 * WINDOW))
def test_a_reset_detector_hears_as_a_new_one(before: Pcm, after: Pcm) -> None:
    vad = Vad(VadConfig())
    for window in windows(before):
        vad.push(window)
    vad.reset()
    assert [vad.push(window) for window in windows(after)] == probabilities(after)


def test_silence_is_not_speech() -> None:
    assert max(probabilities(np.zeros(5 * SAMPLE_RATE, np.int16))) < SegmenterConfig().onset
    assert utterances(np.zeros(5 * SAMPLE_RATE, np.int16)) == []


@pytest.mark.parametrize("amplitude", [0.001, 0.01, 0.1])
def test_white_noise_starts_no_utterance_once_the_judge_has_settled(amplitude: float) -> None:
    # From a cold start it is unsure for a third of a second, and missing a first word would be worse.
    assert all(start < SAMPLE_RATE / 2 for start, _ in utterances(white_noise(20.0, amplitude)))


@pytest.mark.parametrize("attenuation_db", [0, 20])
def test_every_loud_sound_of_speech_lies_in_an_utterance(speech: Pcm, attenuation_db: int) -> None:
    assert len(loud_runs(speech)) > 20
    assert lost(speech, utterances(quieter(speech, attenuation_db))) == []


def test_a_closed_gate_vetoes_the_judge(speech: Pcm) -> None:
    faint = quieter(speech, 50)  # too faint for the strictest gate
    # The gate's windows are longer than the judge's: it has no say in the very first.
    assert max(probabilities(faint, VadConfig(gate_mode=3, gate_hold_s=0.0))[1:]) == 0.0


def test_the_gate_holds_through_a_pause_as_long_as_it_is_told(speech: Pcm) -> None:
    strict, patient = (probabilities(speech, VadConfig(gate_mode=3, gate_hold_s=hold_s)) for hold_s in (0.0, 30.0))
    assert all(p in (0.0, q) for p, q in zip(strict, patient, strict=True))
    assert strict.count(0.0) > patient.count(0.0)


def test_speech_after_noise_starts_before_its_first_sound(speech: Pcm) -> None:
    (first, _), *_ = loud_runs(speech)
    noise = white_noise(3.0, 0.001)
    (start, _), *_ = utterances(np.concatenate([noise, speech[first:]]))
    assert len(noise) - SAMPLE_RATE < start <= len(noise)


@needs_media
def test_no_loud_sound_is_lost_when_a_speakers_sentences_follow_each_other() -> None:
    paths = sorted((MEDIA / "speech" / "librispeech_test_other").glob("*.flac"))
    assert paths
    for speaker, group in groupby(paths, lambda path: path.name.split("-")[0]):
        row = np.concatenate([soundfile.read(path, dtype="int16")[0] for path in group])
        assert lost(row, utterances(row)) == [], speaker


@needs_media
@pytest.mark.parametrize("name", ["pysilero/silence.wav", "music_debian/vinyl_hiss.flac"])
def test_room_noise_and_hiss_start_no_utterance(name: str) -> None:
    samples, rate = soundfile.read(MEDIA / "vad" / name, dtype="float32", always_2d=True)
    at = np.arange(0, len(samples), rate / SAMPLE_RATE)
    mono = np.interp(at, np.arange(len(samples)), samples.mean(axis=1))
    assert utterances(to_mono_int16(mono)) == []
