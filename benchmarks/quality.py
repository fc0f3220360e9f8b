"""Word errors of the whole path (Opus, VAD, segmenter, engine) beside the recogniser alone on the same clips.

Each speaker's clips of LibriSpeech test-other are played in a row through a real agent and a real server, as
fast as it goes. A word error is a substitution, insertion or deletion in the best alignment. Before that, case
and punctuation are dropped, digits up to 99 are spelled out, and Mr, Mrs and Dr, as LibriSpeech does.

Then the notes made over recordings in which nobody speaks: there must be none. Speech lost between microphone and
engine is counted by `benchmarks.vad`.
"""

import argparse
import asyncio
import csv
import re
import tempfile
from collections.abc import Iterable
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import soundfile

from agent.audio import SAMPLE_RATE, Pcm
from benchmarks import machine, media
from inference_server import launch
from inference_server.engines.cascade.recogniser import Moonshine

ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SPELLED = {"mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint"}
# Recordings of vad/ without speech; babble and laughter are speech-like and left out, as are recordings with voices.
NON_SPEECH = (
    *("livekit_ambience/city-ambience.ogg", "livekit_ambience/forest-ambience.ogg"),
    *("livekit_ambience/keyboard-typing.ogg", "pysilero/silence.wav"),
    *("music_debian/ambi_glass_rub.flac", "music_debian/guit_em9.flac", "music_debian/loop_amen_full.flac"),
    *("music_debian/manolo_camp-morning_coffee.g722", "music_debian/perc_bell.flac", "music_debian/vinyl_hiss.flac"),
    "livekit_ambience/office-ambience.ogg",
)


def words(text: str) -> list[str]:
    """The words that are compared."""
    plain = re.sub(r"[^a-z0-9' ]", " ", text.casefold().replace("\u2019", "'").replace("-", " "))
    return [word for token in plain.split() for word in _spell(token.strip("'"))]


def _spell(token: str) -> list[str]:
    if token.isdecimal() and int(token) < 20:
        return [ONES[int(token)]]
    if token.isdecimal() and int(token) < 100:
        return [TENS[int(token) // 10 - 2]] + ([ONES[int(token) % 10]] if int(token) % 10 else [])
    return [SPELLED.get(token, token)] if token else []


def errors(reference: list[str], heard: list[str]) -> int:
    """Fewest substitutions, insertions and deletions that turn one into the other."""
    row = list(range(len(heard) + 1))
    for i, expected in enumerate(reference, 1):
        previous, row = row, [i]
        for j, word in enumerate(heard, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (expected != word)))
    return row[-1]


def transcripts(directory: Path) -> dict[str, str]:
    """Reference texts by file."""
    with open(directory / "TRANSCRIPTS.tsv", newline="", encoding="utf-8") as file:
        return {row["file"]: row["text"] for row in csv.DictReader(file, delimiter="\t")}


async def through_the_path(name: str, pcm: Pcm, scratch: Path) -> list[dict[str, object]]:
    """The moments that a fresh server makes of `pcm`, sent by a real agent."""
    audio = scratch / f"{name}.wav"
    soundfile.write(audio, pcm, SAMPLE_RATE)
    async with launch.server(scratch / f"{name}-server") as url:
        await launch.agent(url, scratch / f"{name}-agent", "--audio", str(audio), "--fast")
        await launch.settled(url, 300)
        return await asyncio.to_thread(launch.moments, url)


async def word_errors(directory: Path, scratch: Path, gap_s: float) -> float:
    """Print the table of word errors, a speaker a row; returns what the path adds to the recogniser's, in points."""
    texts, alone = transcripts(directory), Moonshine()
    clips = sorted((directory / "speech/librispeech_test_other").glob("*.flac"))
    total = {"words": 0, "alone": 0, "path": 0}
    print(f"{'speaker':<16}{'words':>7}{'alone':>9}{'path':>9}   utterances")
    for speaker, group in groupby(clips, key=lambda clip: clip.stem.rsplit("-", 1)[0]):
        files = list(group)
        pieces = [media.read(file) for file in files]
        references = [words(texts[str(file.relative_to(directory))]) for file in files]
        made = await through_the_path(speaker, _in_a_row(pieces, gap_s), scratch)
        n = sum(map(len, references))
        by_clip = sum(errors(ref, words(alone.hear(pcm).words)) for ref, pcm in zip(references, pieces, strict=True))
        by_path = errors(
            list(chain.from_iterable(references)), words(" ".join(str(moment["heard"]) for moment in made))
        )
        print(f"{speaker:<16}{n:>7}{by_clip / n:>9.1%}{by_path / n:>9.1%}   {len(made)}", flush=True)
        total = {"words": total["words"] + n, "alone": total["alone"] + by_clip, "path": total["path"] + by_path}
    alone_rate, path_rate = (total[key] / total["words"] for key in ("alone", "path"))
    points = 100 * (path_rate - alone_rate)
    print(f"{'all':<16}{total['words']:>7}{alone_rate:>9.1%}{path_rate:>9.1%}   difference {points:+.1f} points\n")
    return points


def _in_a_row(pieces: Iterable[Pcm], gap_s: float) -> Pcm:
    gap = np.zeros(round(gap_s * SAMPLE_RATE), np.int16)
    return np.concatenate([part for piece in pieces for part in (piece, gap)])


async def false_notes(directory: Path, scratch: Path) -> int:
    """Print what became of recordings in which nobody speaks; returns how many notes were made."""
    noted = 0
    print(f"{'nobody speaks':<52}{'seconds':>8}  outcomes")
    for name in NON_SPEECH:
        pcm = media.read(directory / "vad" / name)
        made = await through_the_path(Path(name).stem, pcm, scratch)
        outcomes = [str(moment["outcome"]) for moment in made]
        noted += outcomes.count("noted")
        print(f"{name:<52}{len(pcm) / SAMPLE_RATE:>8.1f}  {', '.join(outcomes) or 'nothing sent'}", flush=True)
    print(f"notes over silence, noise and music: {noted}\n")
    return noted


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, default=media.default_dir(), help="the recordings (default: %(default)s)")
    parser.add_argument(
        "--gap", type=float, default=0.0, metavar="SECONDS", help="silence added between the clips (default 0)"
    )
    parser.add_argument("--only", choices=("words", "false"), help="one part alone")
    args = parser.parse_args()
    print(machine.line())
    with tempfile.TemporaryDirectory() as scratch:
        if args.only != "false":
            asyncio.run(word_errors(args.media, Path(scratch), args.gap))
        if args.only != "words":
            asyncio.run(false_notes(args.media, Path(scratch)))


if __name__ == "__main__":
    main()
