"""Boundaries, sound and frames to records: every sample in exactly one, every utterance whole."""

import io
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from fakes import ServerEnd, voice
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.audio import SAMPLE_RATE, Pcm
from agent.codec import Encoder, OpusEncoder, PcmEncoder
from agent.config import Segmenter as SegmenterConfig
from agent.protocol import Audio, Gap, Silence, UtteranceEnd, UtteranceStart, decode_from_agent, encode, unpack
from agent.records import SILENCE_EVERY, SILENCE_MARGIN, Numbered, Recorder
from agent.segmenter import Segmenter, SpeechEnded, SpeechStarted
from agent.timeline import Timeline
from inference_server import ogg

UTC = 1_700_000_000_000_000_000
WINDOW = 256
CHUNK = 5120


def a_recorder(encoder: type[Encoder] | None = None, position: int = 0, next_seq: int = 1) -> Recorder:
    """A recorder of PCM, or of Opus at the usual rate."""
    return Recorder(
        timeline=Timeline.at(0, UTC, 0),
        encoder=PcmEncoder if encoder is None else lambda: OpusEncoder(24_000),
        chunk_samples=CHUNK,
        history_samples=40 * SAMPLE_RATE,
        next_seq=next_seq,
        position=position,
    )


@dataclass
class Utterance:
    """What came of one utterance."""

    seq: int
    start: int
    end: int = 0
    reason: str = ""
    audio: list[tuple[Audio, bytes]] = field(default_factory=list)

    def pcm(self) -> Pcm:
        """Its sound as the server would keep it, cut to its length."""
        assert all(a.first_sample + a.n_samples == b.first_sample for (a, _), (b, _) in pairwise(self.audio))
        if not self.audio:
            return np.empty(0, np.int16)
        if self.audio[0][0].codec == "pcm":
            return np.frombuffer(b"".join(payload for _, payload in self.audio), "<i2")[: self.end - self.start]
        packets = [packet for _, payload in self.audio for packet in unpack(payload)]
        file = ogg.write(packets, self.audio[0][0].pre_skip, self.end - self.start, self.seq)
        decoded, rate = soundfile.read(io.BytesIO(file), dtype="int16")
        return np.asarray(decoded[:: rate // SAMPLE_RATE], np.int16)


def utterances(records: list[Numbered]) -> list[Utterance]:
    """The utterances in `records`, which must be well nested."""
    found: list[Utterance] = []
    for record, payload in records:
        match record:
            case UtteranceStart(seq=seq, first_sample=start):
                found.append(Utterance(seq, start))
            case Audio():
                assert not found[-1].reason
                found[-1].audio.append((record, payload))
            case UtteranceEnd(end_sample=end, reason=reason):
                found[-1].end, found[-1].reason = end, reason
            case _:
                pass
    return found


def spans(records: list[Numbered]) -> list[tuple[int, int]]:
    """[start, end) of everything that accounts for positions, in order."""
    taken: list[tuple[int, int]] = []
    for record, _ in records:
        match record:
            case UtteranceStart(first_sample=start):
                taken.append((start, start))
            case UtteranceEnd(end_sample=end):
                taken[-1] = (taken[-1][0], end)
            case Silence(first_sample=start, n_samples=n) | Gap(first_sample=start, n_samples=n):
                taken.append((start, start + n))
            case _:
                pass
    return taken


def noise(n: int, seed: int = 1) -> Pcm:
    """(n,) int16 of which no two places are alike."""
    return np.random.default_rng(seed).integers(-9000, 9000, n).astype(np.int16)


segmenter_configs = st.builds(
    SegmenterConfig,
    onset_s=st.floats(0.016, 0.3),
    preroll_s=st.floats(0, 3),
    hangover_s=st.floats(0.05, 1),
    longest_s=st.floats(1, 8),
    cut_search_s=st.floats(0.1, 5),
)
# (what happens, how often): so many windows of silence or speech; a frame; a gap of so many windows
stories = st.lists(
    st.tuples(st.sampled_from(["silence", "speech", "murmur", "frame", "gap"]), st.integers(1, 300)), max_size=12
)


@settings(deadline=None, max_examples=150)
@given(segmenter_configs, stories, st.integers(0, 10**12), st.integers(1, 10**6))
def test_whatever_happens_the_records_account_for_every_sample_once_and_are_numbered_without_holes(
    config: SegmenterConfig, story: list[tuple[str, int]], position: int, next_seq: int
) -> None:
    recorder, segmenter = a_recorder(None, position, next_seq), Segmenter(config, position)
    sound, heard = noise(300 * 12 * WINDOW), np.empty(0, np.int16)
    records: list[Numbered] = []
    for what, count in story:
        match what:
            case "frame":
                records += recorder.frame(b"jpeg", 640, 480)
            case "gap":
                records += recorder.boundaries(segmenter.flush())
                records += recorder.gap(count * WINDOW, "test")
                segmenter.restart(recorder.position)
                heard = np.concatenate([heard, np.zeros(count * WINDOW, np.int16)])
            case _:
                for at in range(count):
                    p = {"silence": 0.0, "speech": 1.0, "murmur": (at % 3) / 2}[what]
                    window = sound[len(heard) : len(heard) + WINDOW]
                    heard = np.concatenate([heard, window])
                    records += recorder.window(window, segmenter.push(p, WINDOW))
    records += recorder.boundaries(segmenter.flush())
    records += recorder.account()

    assert [record.seq for record, _ in records] == list(range(next_seq, next_seq + len(records)))
    assert recorder.next_seq == next_seq + len(records)
    edges = [(position, position), *spans(records)]
    assert all(before[1] == after[0] for before, after in pairwise(edges))
    assert edges[-1][1] == recorder.position == position + len(heard)
    for utterance in utterances(records):
        said = heard[utterance.start - position : utterance.end - position]
        assert np.array_equal(utterance.pcm(), said)
        assert utterance.end - utterance.start <= config.longest_s * SAMPLE_RATE + 1
    server = ServerEnd()
    server.session.have_seq, server.session.end = next_seq - 1, position
    for record, payload in records:
        assert decode_from_agent(encode(record, payload)) == (record, payload)
        server.receive(encode(record, payload))
    assert server.session.end == recorder.position
    assert recorder.utterances == len(utterances(records))


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 3 * SAMPLE_RATE), st.integers(0, SAMPLE_RATE))
def test_an_utterance_of_any_length_decodes_to_exactly_its_length_and_to_what_was_said(
    length: int, before: int
) -> None:
    said = voice(5.0)[:length]
    recorder = a_recorder(OpusEncoder)
    records = recorder.window(np.zeros(before, np.int16), ())
    records += recorder.window(said, (SpeechStarted(before),))
    records += recorder.window(np.zeros(WINDOW, np.int16), (SpeechEnded(before + length, "pause"),))

    (utterance,) = utterances(records)
    decoded = utterance.pcm()
    assert len(decoded) == length
    if length > SAMPLE_RATE // 4:
        shifts = {shift: correlation(said, decoded, shift) for shift in range(-8, 9)}
        assert max(shifts, key=lambda shift: shifts[shift]) == 0
        assert shifts[0] > 0.9


def correlation(said: Pcm, decoded: Pcm, shift: int) -> float:
    """Of `said` with `decoded` moved by `shift` samples."""
    inner = slice(100, len(said) - 100)
    return float(np.corrcoef(said[inner], np.roll(decoded, shift)[inner])[0, 1])


def test_sound_leaves_while_the_person_still_speaks() -> None:
    recorder = a_recorder(OpusEncoder)
    recorder.window(noise(CHUNK), (SpeechStarted(0),))
    ((record, _),) = recorder.window(noise(CHUNK), ())
    assert isinstance(record, Audio)
    assert (record.first_sample, record.n_samples) == (CHUNK, CHUNK)


def test_an_utterance_cut_for_length_is_sent_again_from_the_cut() -> None:
    recorder, sound = a_recorder(), noise(4 * CHUNK)
    records = recorder.window(sound[: 2 * CHUNK], (SpeechStarted(0),))
    cut = CHUNK + 100  # what was sent already reaches beyond it
    records += recorder.window(sound[2 * CHUNK :], (SpeechEnded(cut, "longest"), SpeechStarted(cut)))
    records += recorder.boundaries((SpeechEnded(4 * CHUNK, "flush"),))

    first, second = utterances(records)
    assert (first.start, first.end, second.start, second.end) == (0, cut, cut, 4 * CHUNK)
    assert np.array_equal(first.pcm(), sound[:cut])
    assert np.array_equal(second.pcm(), sound[cut:])
    assert second.audio[0][0].first_sample == cut


def test_what_was_told_as_silence_is_not_told_again_as_speech() -> None:
    recorder, told = a_recorder(), SILENCE_EVERY + SILENCE_MARGIN
    ((quiet, _),) = recorder.window(np.zeros(told, np.int16), ())
    (start, *_) = recorder.window(noise(WINDOW), (SpeechStarted(0),))
    assert quiet == Silence(seq=1, first_sample=0, n_samples=SILENCE_EVERY, captured_at=UTC)
    assert isinstance(start[0], UtteranceStart) and start[0].first_sample == SILENCE_EVERY


def test_a_long_silence_is_told_every_five_seconds() -> None:
    recorder = a_recorder()
    told = [record for _ in range(60) for record, _ in recorder.window(np.zeros(SAMPLE_RATE, np.int16), ())]
    assert len(told) == 11
    assert all(isinstance(record, Silence) and record.n_samples <= 6 * SAMPLE_RATE for record in told)


def test_records_carry_the_time_of_their_first_sample() -> None:
    recorder = a_recorder()
    recorder.window(np.zeros(SAMPLE_RATE, np.int16), ())
    start, _ = recorder.window(noise(SAMPLE_RATE // 2), (SpeechStarted(SAMPLE_RATE // 2),))[1]
    frame, _ = recorder.frame(b"jpeg", 4, 3)[0]
    assert start.captured_at == UTC + 500_000_000
    assert frame.captured_at == UTC + 1_500_000_000


def test_a_boundary_further_back_than_the_history_is_an_error_of_ours() -> None:
    recorder = Recorder(Timeline.at(0, UTC, 0), PcmEncoder, CHUNK, history_samples=WINDOW)
    recorder.window(noise(CHUNK), ())
    with pytest.raises(ValueError, match="not held"):
        recorder.window(noise(CHUNK), (SpeechStarted(0),))
