"""Measures voice activity detection on real recordings: what is missed or invented, how late, at what cost.

Prints two Markdown tables. Truth is what lies beside the media (`.segments`, `.rttm`). For LibriSpeech, which
has no word times, `sounding` makes it from the energy of each clip. The AMI `.rttm` files are transcripts
of the headsets: they leave out laughter and distant voices that a detector may well hear.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import earshot
import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]
import webrtcvad

from agent.audio import SAMPLE_RATE, Pcm, n_samples, to_float32
from agent.config import AgentConfig, load
from agent.config import Segmenter as SegmenterConfig
from agent.segmenter import Segmenter, SpeechStarted
from agent.vad import WINDOW, Vad
from benchmarks import media

Span = tuple[int, int]  # [start, end) in samples
Mask = npt.NDArray[np.bool_]  # (n_samples,)
Probabilities = Iterator[tuple[float, int]]  # speech probability of the next n samples

# Silero is surer than earshot that a word is over: it wants a lower offset, and a longer hangover.
SILERO_SEGMENTER = SegmenterConfig(onset=0.4, offset=0.2, hangover_s=0.6)
NO_SILERO = "No Silero: `pip install --no-deps silero-vad`, or name its 16 kHz ONNX file with --silero."
NOISE = ("livekit_ambience/*", "pysilero/silence.wav", "music_debian/vinyl_hiss.flac")
MUSIC = ("music_debian/[!v]*",)
PAUSE = n_samples(0.5)  # shorter silences do not part utterances


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to find speech: samples in, spans out."""

    name: str
    listen: Callable[[Pcm], list[Span]]


def webrtc(pcm: Pcm, mode: int) -> Probabilities:
    """Plain WebRTC VAD, 20 ms at a time."""
    detector = webrtcvad.Vad(mode)
    for start in range(0, len(pcm) - 319, 320):
        yield float(detector.is_speech(pcm[start : start + 320].tobytes(), SAMPLE_RATE)), 320


def judge_alone(pcm: Pcm) -> Probabilities:
    """Earshot without the gate."""
    detector = earshot.Detector()
    for start in range(0, len(pcm) - WINDOW + 1, WINDOW):
        yield float(detector.predict_i16(pcm[start : start + WINDOW])), WINDOW


def gated(pcm: Pcm, config: AgentConfig) -> Probabilities:
    """What the agent runs."""
    vad = Vad(config.vad)
    for start in range(0, len(pcm) - WINDOW + 1, WINDOW):
        yield vad.push(pcm[start : start + WINDOW]), WINDOW


def silero(pcm: Pcm, session: onnxruntime.InferenceSession) -> Probabilities:
    """Silero VAD at 16 kHz: 512 samples at a time, preceded by the 64 before them."""
    samples = np.concatenate([np.zeros(64, np.float32), to_float32(pcm)])
    state = np.zeros((2, 1, 128), np.float32)
    rate = np.array(SAMPLE_RATE, np.int64)
    for start in range(0, len(pcm) - 511, 512):
        heard = samples[None, start : start + 576]
        probability, state = session.run(None, {"input": heard, "state": state, "sr": rate})
        yield float(probability[0, 0]), 512


def frames(probabilities: Probabilities) -> list[Span]:
    """Each run of windows that are more likely speech than not."""
    spans, position = [], 0
    for voiced, run in groupby(probabilities, lambda pair: pair[0] >= 0.5):
        start, position = position, position + sum(n for _, n in run)
        if voiced:
            spans.append((start, position))
    return spans


def utterances(probabilities: Probabilities, config: SegmenterConfig) -> list[Span]:
    """What the segmenter makes of them."""
    segmenter = Segmenter(config)
    boundaries = [boundary for pair in probabilities for boundary in segmenter.push(*pair)]
    boundaries += segmenter.flush()
    starts = [boundary.sample for boundary in boundaries if isinstance(boundary, SpeechStarted)]
    ends = [boundary.sample for boundary in boundaries if not isinstance(boundary, SpeechStarted)]
    return list(zip(starts, ends, strict=True))


def mask(spans: list[Span], n: int) -> Mask:
    """(n,) bool: inside any span."""
    inside = np.zeros(n, np.bool_)
    for start, end in spans:
        inside[start:end] = True
    return inside


def joined(spans: list[Span]) -> list[Span]:
    """Close the gaps shorter than PAUSE, so that spans compare with utterances."""
    out: list[Span] = []
    for start, end in sorted(spans):
        if out and start - out[-1][1] < PAUSE:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def labelled(path: Path) -> list[Span] | None:
    """The labels beside `path`: None when there are none."""
    segments, rttm = path.with_suffix(".segments"), path.with_suffix(".rttm")
    if segments.exists():
        rows = [line.split() for line in segments.read_text("utf-8").splitlines() if line.strip()]
        return [(n_samples(float(row[0])), n_samples(float(row[1]))) for row in rows if row[2] != "silence"]
    if rttm.exists():
        rows = [line.split() for line in rttm.read_text("utf-8").splitlines() if line.strip()]
        return [(n_samples(float(row[3])), n_samples(float(row[3]) + float(row[4]))) for row in rows]
    return None


def sounding(clip: Pcm) -> list[Span]:
    """Where a clean clip of speech sounds: runs of at least 60 ms of 20 ms frames that stand out.

    A frame stands out when it is 10 dB above the clip's floor (10th percentile) and within 35 dB of its peak
    (95th), after all below 120 Hz is removed: in some rooms rumble is louder than soft consonants.
    """
    spectrum = np.fft.rfft(to_float32(clip))
    spectrum[np.fft.rfftfreq(len(clip), 1 / SAMPLE_RATE) < 120.0] = 0
    speech = np.fft.irfft(spectrum, len(clip))
    power = np.mean(np.square(speech[: len(clip) // 320 * 320].reshape(-1, 320)), axis=1)
    level_db = 10.0 * np.log10(power + 1e-12)
    threshold_db = max(np.percentile(level_db, 10) + 10.0, np.percentile(level_db, 95) - 35.0)
    edges = np.flatnonzero(np.diff(level_db > threshold_db, prepend=False, append=False)).reshape(-1, 2)
    return [(int(start) * 320, int(end) * 320) for start, end in edges if end - start >= 3]


def speaker_rows(folder: Path) -> Iterator[tuple[Pcm, list[Span]]]:
    """Each speaker's clips played in a row, and where they sound."""
    for _, paths in groupby(sorted(folder.glob("*.flac")), lambda path: path.name.split("-")[0]):
        clips = [media.read(path) for path in paths]
        offsets = np.cumsum([0, *map(len, clips)])
        spans = [
            (int(offset) + start, int(offset) + end)
            for offset, clip in zip(offsets[:-1], clips, strict=True)
            for start, end in sounding(clip)
        ]
        yield np.concatenate(clips), spans


def quieter(pcm: Pcm, db: float) -> Pcm:
    """`pcm` attenuated by `db`."""
    out: Pcm = np.rint(pcm * 10 ** (-db / 20)).astype(np.int16)
    return out


def noisy(pcm: Pcm, noise: Pcm, snr_db: float) -> Pcm:
    """`pcm` in `noise`, both by their power over the whole recording."""
    speech, background = to_float32(pcm), np.resize(to_float32(noise), len(pcm))
    gain = np.sqrt(np.mean(speech**2) / np.mean(background**2)) * 10 ** (-snr_db / 20)
    mixed: Pcm = np.clip(np.rint((speech + gain * background) * 32768), -32768, 32767).astype(np.int16)
    return mixed


def boundary_errors(truth: list[Span], found: list[Span]) -> list[tuple[int, int]]:
    """(start, end) error in samples of each true span that was found at all; negative is early."""
    errors = []
    for start, end in joined(truth):
        hits = [span for span in joined(found) if span[0] < end and span[1] > start]
        if hits:
            errors.append((hits[0][0] - start, hits[-1][1] - end))
    return errors


def score_speech(candidate: Candidate, recordings: list[tuple[Pcm, list[Span]]]) -> str:
    """Cells: frame F1 at 10 ms, missed speech, speech too many, boundary errors, cost."""
    hit = missed = false = 0
    errors: list[tuple[int, int]] = []
    began = time.perf_counter()
    answers = [candidate.listen(pcm) for pcm, _ in recordings]
    cost_us = (time.perf_counter() - began) / sum(len(pcm) for pcm, _ in recordings) * SAMPLE_RATE * 1e6
    for (pcm, truth), found in zip(recordings, answers, strict=True):
        true, heard = mask(truth, len(pcm))[::160], mask(found, len(pcm))[::160]
        hit, missed = hit + int(np.sum(true & heard)), missed + int(np.sum(true & ~heard))
        false += int(np.sum(heard & ~true))
        errors += boundary_errors(truth, found)
    start, end = np.median(np.array(errors), axis=0) / SAMPLE_RATE
    f1 = 2 * hit / (2 * hit + missed + false)
    return f"{f1:.3f} | {missed / 100:.1f} | {false / 100:.1f} | {start:+.2f} | {end:+.2f} | {cost_us:.0f}"


def score_silence(candidate: Candidate, recordings: list[Pcm]) -> str:
    """Cell: false-speech seconds per hour."""
    false = sum(int(np.sum(mask(candidate.listen(pcm), len(pcm)))) for pcm in recordings)
    return f"{3600 * false / sum(map(len, recordings)):.0f}"


def score_rows(candidate: Candidate, recordings: list[tuple[Pcm, list[Span]]]) -> str:
    """Cells: seconds of sounding speech outside every utterance, and utterances per minute."""
    lost = count = 0
    for pcm, spans in recordings:
        found = candidate.listen(pcm)
        lost += int(np.sum(mask(spans, len(pcm)) & ~mask(found, len(pcm))))
        count += len(found)
    minutes = sum(len(pcm) for pcm, _ in recordings) / SAMPLE_RATE / 60
    return f"{lost / SAMPLE_RATE:.2f} | {count / minutes:.1f}"


def candidates(config: AgentConfig, silero_model: Path | None) -> list[Candidate]:
    """The agent's own way and what it is compared with."""
    found = [
        Candidate("webrtcvad mode 1", lambda pcm: frames(webrtc(pcm, 1))),
        Candidate("webrtcvad mode 3", lambda pcm: frames(webrtc(pcm, 3))),
        Candidate("earshot", lambda pcm: frames(judge_alone(pcm))),
        Candidate("**ours**", lambda pcm: utterances(gated(pcm, config), config.segmenter)),
    ]
    if silero_model is not None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(silero_model), options, providers=["CPUExecutionProvider"])
        found += [
            Candidate("Silero", lambda pcm: frames(silero(pcm, session))),
            Candidate("Silero + segmenter", lambda pcm: utterances(silero(pcm, session), SILERO_SEGMENTER)),
        ]
    return found


def installed_silero() -> Path | None:
    """The model inside an installed silero-vad; its Python code, which needs torch, is not imported."""
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "data" / "silero_vad_16k_op15.onnx"


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vad", description=__doc__.split("\n")[0])
    parser.add_argument("--media", type=Path, default=media.default_dir(), help="recordings (%(default)s)")
    parser.add_argument("--config", type=Path, help="an agent.toml to measure instead of the defaults")
    parser.add_argument("--silero", type=Path, default=installed_silero(), help="Silero's ONNX file (%(default)s)")
    arguments = parser.parse_args()
    if not (arguments.media / "vad").is_dir():
        parser.error(f"{arguments.media} has no vad/: name the recordings with --media or $FIELDNOTE_MEDIA")
    return arguments


def read_all(folder: Path, patterns: tuple[str, ...]) -> list[Pcm]:
    """Every recording that matches."""
    return [media.read(path) for pattern in patterns for path in sorted(folder.glob(pattern))]


def main() -> None:
    arguments = read_arguments()
    folder: Path = arguments.media

    paths = [path for part in ("vad/*/*.wav", "speech/ami/*.wav") for path in sorted(folder.glob(part))]
    speech = [(media.read(path), truth) for path in paths if (truth := labelled(path))]
    noise, music = read_all(folder / "vad", NOISE), read_all(folder / "vad", MUSIC)
    rows = list(speaker_rows(folder / "speech" / "librispeech_test_other"))
    quiet = [(quieter(pcm, 20), spans) for pcm, spans in rows]
    street = [(noisy(pcm, noise[0], 10), spans) for pcm, spans in rows]

    compared = candidates(load(arguments.config), arguments.silero)
    print("Labelled speech, and recordings without any\n")
    print("| | frame F1 | missed s | too much s | start s | end s | us/s | noise s/h | music s/h |")
    print("|---|---|---|---|---|---|---|---|---|")
    for candidate in compared:
        silence = " | ".join(score_silence(candidate, recordings) for recordings in (noise, music))
        print(f"| {candidate.name} | {score_speech(candidate, speech)} | {silence} |")
    print("\nSpeakers in a row: sounding speech lost (s), utterances per minute\n")
    print("| | clean s | /min | -20 dB s | /min | street at 10 dB s | /min |")
    print("|---|---|---|---|---|---|---|")
    for candidate in compared:
        cells = " | ".join(score_rows(candidate, recordings) for recordings in (rows, quiet, street))
        print(f"| {candidate.name} | {cells} |")
    if arguments.silero is None:
        print(f"\n{NO_SILERO}")


if __name__ == "__main__":
    main()
