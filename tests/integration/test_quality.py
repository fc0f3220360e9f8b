"""Figures that must hold on real recordings and photos; benchmarks/ prints them in full."""

import asyncio
from pathlib import Path

from agent.audio import n_samples
from agent.config import AgentConfig
from benchmarks import quality, text, vad

ALLOWED_POINTS = 1.0  # of word errors that the path may add to the recogniser's own
CHANCE_POINTS = 1.0  # one standard error of the difference on 872 words is about this


def test_the_path_adds_hardly_a_word_error_to_the_recognisers_own(recordings: Path, tmp_path: Path) -> None:
    assert asyncio.run(quality.word_errors(recordings, tmp_path, gap_s=0.0)) <= ALLOWED_POINTS + CHANCE_POINTS


def test_no_note_is_made_over_silence_noise_or_music(recordings: Path, tmp_path: Path) -> None:
    assert asyncio.run(quality.false_notes(recordings, tmp_path)) == 0


def test_no_speech_is_lost_between_microphone_and_engine(recordings: Path) -> None:
    config = AgentConfig()
    for pcm, spoken in vad.speaker_rows(recordings / "speech/librispeech_test_other"):
        inside = vad.mask(vad.utterances(vad.gated(pcm, config), config.segmenter), len(pcm))
        assert not (vad.mask(spoken, len(pcm)) & ~inside).sum() > n_samples(0.02)


def test_the_words_on_receipts_are_found(recordings: Path) -> None:
    chosen = [photo for photo in text.photos(recordings / "images") if photo.kind in ("receipts", "no text")]
    sent = asyncio.run(text.measure(chosen, AgentConfig().frames))["as sent"]
    assert sent["receipts"].n_found >= 0.93 * sent["receipts"].n_words
    assert sent["no text"].lines == []
