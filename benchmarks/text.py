"""How much of the text in photos the reader finds, what it invents, and how long it takes.

    python -m benchmarks.text --media DIR

Each photo is read as it is, and as the agent sends it: reduced to the longest side, then JPEG.

A word is a run of letters and digits in any case, after Unicode compatibility folding (full width is the
same as half width). Punctuation ends a word: "5.80" is two. In scripts without spaces (Han, kana, Thai) each
character is a word. A word of the reference is found when the kept lines hold it, each word read answering
for one word of the reference; order and place do not matter. "joined" also counts a word that was read
without the space beside it ("TAXINVOICE").

Receipts have their lines in .csv files beside them. For the rest IMAGES.tsv says what a person noted down,
which is not always all that can be read: so of photos with text only what is missed can be counted, and what
is invented on photos without.
"""

import argparse
import asyncio
import csv
import re
import statistics
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from agent.config import Frames
from benchmarks.media import default_dir
from inference_server.engines.cascade.reader import Reader, ReadLine

KINDS = {  # by the start of the path inside images/; the first that fits
    "receipts": ("receipts_sroie",),
    "screens": ("screens_",),
    "print": ("tables_", "ocr_rapidocr/en", "opencv/imageText", "skimage/page", "google_vision/text"),
    "no text": ("wearable_openglass",),
    "signs": ("",),
}
# Beyond the reader's models: another script, or printed OCR results below the photo.
LEFT_OUT = {"thai.jpg", "eslav.jpg", "example3.png"}
# IMAGES.tsv lists no text for these, yet there is some: a livery, hoardings, a dictionary, icon bars.
HAVE_TEXT = {"airplane.jpeg", "messi5.jpg", "demo_densetext_det.jpg", "excel.png", "word.png", "onenote.png"}
NO_SPACES = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff"
WORD = re.compile(f"[{NO_SPACES}]|[^\\W_{NO_SPACES}]+")
REMARK = re.compile(r"\([^)]*\)|^as .*")  # a person's remark, not text in the photo

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Photo:
    path: Path
    kind: str
    text: str


@dataclass
class Score:
    """Sums over the photos of one kind."""

    n_words: int = 0
    n_found: int = 0
    n_joined: int = 0
    n_bytes: int = 0
    lines: list[str] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)

    def add(self, photo: Photo, n_bytes: int, lines: Sequence[ReadLine], took_ms: float) -> None:
        expected, read = words(photo.text), [words(line.text) for line in lines]
        self.n_words += len(expected)
        self.n_found += (Counter(expected) & Counter(word for line in read for word in line)).total()
        self.n_joined += count_joined(expected, read)
        self.n_bytes += n_bytes
        self.lines += [f"{photo.path.name}: {line.text!r} {line.score:.3f}" for line in lines]
        self.took_ms.append(took_ms)


def words(text: str) -> list[str]:
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def count_joined(expected: list[str], read: list[list[str]]) -> int:
    """Words of the reference that stand anywhere in the lines with their spaces taken out, longest first."""
    joined = "\n".join("".join(line) for line in read)
    n_found = 0
    for word in sorted(expected, key=len, reverse=True):
        before, match, after = joined.partition(word)
        if match:
            joined, n_found = f"{before}\n{after}", n_found + 1
    return n_found


def photos(images: Path) -> Iterator[Photo]:
    for path in sorted((images / "receipts_sroie").glob("*.csv")):
        rows = [row.split(",", 8)[8] for row in path.read_text("utf-8").splitlines() if row.count(",") >= 8]
        yield Photo(path.with_suffix(".jpg"), "receipts", "\n".join(rows))
    for path in sorted((images / "wearable_openglass").glob("*.jpeg")):
        yield Photo(path, "no text", "")
    with (images.parent / "IMAGES.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            path = images.parent / row["file"]
            noted = row["visible_text"] or ""
            text = REMARK.sub("", noted).strip()
            if path.name in LEFT_OUT or path.name in HAVE_TEXT or (noted and not text):
                continue
            inside = path.relative_to(images).as_posix()
            kind = next(kind for kind, starts in KINDS.items() if inside.startswith(starts))
            yield Photo(path, kind if text else "no text", text)


def as_sent(path: Path, longest_side_px: int, jpeg_quality: int) -> bytes:
    """What the agent makes of a frame."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert image is not None, path
    scale = longest_side_px / max(image.shape)
    if scale < 1.0:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])[1].tobytes()


async def measure(chosen: list[Photo], config: Frames) -> dict[str, dict[str, Score]]:
    """Scores by form ("original", "as sent") and kind."""
    scores: dict[str, dict[str, Score]] = {"original": {}, "as sent": {}}
    reader = Reader()
    try:
        await reader.warm_up()
        for photo in chosen:
            sent = as_sent(photo.path, config.longest_side_px, config.jpeg_quality)
            for form, data in (("original", photo.path.read_bytes()), ("as sent", sent)):
                start = time.perf_counter()
                lines = await reader.read(data)
                took_ms = (time.perf_counter() - start) * 1000.0
                scores[form].setdefault(photo.kind, Score()).add(photo, len(data), lines, took_ms)
    finally:
        reader.close()
    return scores


def report(form: str, scores: dict[str, Score]) -> None:
    print(f"\n{form:10}  photos   words   found  joined   lines  ms/photo  KB/photo")
    for kind, score in scores.items():
        n = len(score.took_ms)
        found, joined = (
            f"{count / score.n_words:7.1%}" if score.n_words else "      -" for count in (score.n_found, score.n_joined)
        )
        took_ms, kilobytes = statistics.median(score.took_ms), score.n_bytes / n / 1000.0
        print(f"{kind:10}  {n:6}  {score.n_words:6} {found} {joined}  {len(score.lines):6}", end="")
        print(f"  {took_ms:8.0f}  {kilobytes:8.1f}")
    for line in scores["no text"].lines if "no text" in scores else ():
        print("  invented:", line)


def main() -> None:
    defaults = Frames()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.text",
        description="Reads photos with known text; prints, for each kind, the share of words found.",
        epilog="Takes about three minutes. The reader runs at the lowest priority: let nothing else run.",
    )
    parser.add_argument("--media", type=Path, default=default_dir(), help="the media folder (%(default)s)")
    parser.add_argument("--kind", choices=list(KINDS), action="append", help="only this kind; repeatable")
    parser.add_argument("--side", type=int, default=defaults.longest_side_px, help="as sent, px (%(default)s)")
    parser.add_argument("--quality", type=int, default=defaults.jpeg_quality, help="of the JPEG (%(default)s)")
    args = parser.parse_args()
    images = args.media / "images"
    if not images.is_dir():
        parser.error(f"{images} is not a folder; say with --media or $FIELDNOTE_MEDIA where the media are")
    chosen = [photo for photo in photos(images) if not args.kind or photo.kind in args.kind]
    config = Frames(longest_side_px=args.side, jpeg_quality=args.quality)
    print(f"as sent: {config.longest_side_px} px on the longest side, JPEG quality {config.jpeg_quality}")
    for form, scores in asyncio.run(measure(chosen, config)).items():
        report(form, scores)


if __name__ == "__main__":
    main()
