"""What the frame gate keeps and drops, compared with a person's eye, and what that costs.

    python -m benchmarks.frames --media DIR

1. The frames of real smart glasses, five seconds apart as if nobody spoke, beside labels by eye.
2. Every other photo of the set: none may be called black or blurred.
3. Photos as a shaking camera sees them again, and pages and signs whose text has changed.
4. Time for one 720p frame, bytes for one JPEG, and how many of them the budget pays for.
"""

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from agent.audio import n_samples
from agent.config import Frames
from agent.frames import FrameGate, Grey, Look, Verdict, change, look
from benchmarks.media import default_dir
from benchmarks.text import as_sent

# Labels by eye of wearable_openglass/img_1..28: a finger covers the lens from 9 to 20. In 9, 14 and 17 a
# corner stays free (a roof light, a strip of window, a blown-out edge): kept or dropped, both are right.
KEEP, BLACK, BLURRED, DUPLICATE = ({verdict} for verdict in Verdict)
CORNER = {Verdict.KEEP, Verdict.BLURRED}
SIMILAR = {Verdict.KEEP, Verdict.DUPLICATE}  # same people and pose as the one before, moved by a tenth
EYE = (
    *(KEEP, KEEP, KEEP, KEEP, SIMILAR, SIMILAR, SIMILAR, KEEP),  # 1-8: a man with a phone; 8 half covered
    *(CORNER, BLURRED, BLURRED, BLURRED, BLURRED, CORNER, BLACK, BLACK),  # 9-16
    *(CORNER, BLURRED, BLURRED, BLURRED),  # 17-20
    *(KEEP,) * 8,  # 21-28: the roof from other sides, faces upside down
)
SHAKES = {  # what a hand or head and the camera's exposure do in a second
    "still, new noise": {},
    "moved by 6 px": {"move_px": (5, 3)},
    "moved by 26 px": {"move_px": (22, -14)},
    "turned by 1 degree": {"turn_degrees": 1.0},
    "2 % nearer": {"zoom": 1.02},
    "darker by 20 %": {"gain": 0.8},
    "brighter by 15 %": {"gain": 1.15, "offset": 10.0},
}
LETTER_HEIGHTS_PX = (9, 13, 18, 26)
TEXT_AT = (200, 300)


def grey_of(path: Path) -> Grey:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None, path
    return image.astype(np.uint8, copy=False)


def as_720p(grey: Grey) -> Grey:
    scale = 1280 / max(grey.shape)
    method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    return cv2.resize(grey, None, fx=scale, fy=scale, interpolation=method).astype(np.uint8, copy=False)


def seen_again(
    grey: Grey,
    move_px: tuple[int, int] = (3, 2),
    turn_degrees: float = 0.0,
    zoom: float = 1.0,
    gain: float = 1.0,
    offset: float = 0.0,
) -> Grey:
    """The same scene a moment later: moved, exposed anew, with fresh noise, through a camera's JPEG."""
    height, width = grey.shape
    moved = cv2.getRotationMatrix2D((width / 2, height / 2), turn_degrees, zoom)
    moved[:, 2] += move_px
    image = cv2.warpAffine(grey, moved, (width, height), borderMode=cv2.BORDER_REFLECT)
    noise = np.random.default_rng(0).normal(0.0, 4.0, image.shape)
    exposed = np.clip(image * gain + offset + noise, 0, 255).astype(np.uint8)
    jpeg = cv2.imencode(".jpg", exposed, [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    again = cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)
    assert again is not None
    return again.astype(np.uint8, copy=False)


def written(grey: Grey, text: str, at: tuple[int, int], letter_height_px: int) -> Grey:
    scale = letter_height_px / 22.0  # a capital of the Hershey font at scale 1
    thickness = 1 if scale < 0.8 else 2
    image = cv2.putText(grey.copy(), text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 20, thickness, cv2.LINE_AA)
    return image.astype(np.uint8, copy=False)


def page(seed: int, letter_height_px: int) -> Grey:
    """A full page of made-up words; two seeds differ in their words only."""
    letters = np.random.default_rng(seed)
    grey: Grey = np.full((720, 1280), 230, np.uint8)
    for y in range(60, 680, letter_height_px * 2):
        sizes = letters.integers(2, 10, size=1000 // letter_height_px // 5)
        line = " ".join("".join(chr(97 + c) for c in letters.integers(0, 26, size=n)) for n in sizes)
        grey = written(grey, line, (60, y), letter_height_px)
    return grey


def glasses(folder: Path, config: Frames) -> None:
    """Part 1."""
    gate, verdicts, interval = FrameGate(config), list[Verdict](), n_samples(5.0)
    for i in range(len(EYE)):
        path = folder / f"img_{i + 1}.jpeg"
        seen = look(grey_of(path))
        verdicts.append(gate.judge(seen, i * interval))
        if verdicts[-1] is Verdict.KEEP:
            assert gate.spend(seen, len(as_sent(path, config.longest_side_px, config.jpeg_quality)), i * interval)
    wrong = [i + 1 for i, (verdict, eye) in enumerate(zip(verdicts, EYE, strict=True)) if verdict not in eye]
    print(f"glasses: {describe(verdicts)}; the eye agrees on {len(EYE) - len(wrong)} of {len(EYE)}")
    print(f"  the eye disagrees on: {wrong or 'none'}")


def describe(verdicts: list[Verdict]) -> str:
    counts = Counter(verdicts)
    return ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict)


def other_photos(images: Path, config: Frames) -> None:
    """Part 2."""
    looks: list[tuple[float, str]] = []
    verdicts: list[Verdict] = []
    for path in photo_paths(images):
        seen = look(grey_of(path))
        verdict = FrameGate(config).judge(seen, 0)
        verdicts.append(verdict)
        looks.append((seen.sharpness, path.name))
        if verdict is not Verdict.KEEP:
            print(f"  DROPPED {verdict.value}: {path}")
    least = ", ".join(f"{name} {sharpness:.1f}" for sharpness, name in sorted(looks)[:3])
    print(f"other photos: {describe(verdicts)}; the least sharp: {least} (limit {config.blurriest})")


def photo_paths(images: Path) -> Iterator[Path]:
    for folder in sorted(images.iterdir()):
        if folder.name not in ("wearable_openglass", "word_crops_mmocr"):
            yield from (p for p in sorted(folder.iterdir()) if p.suffix in (".jpg", ".jpeg", ".png"))


def again_and_changed(images: Path, config: Frames) -> None:
    """Part 3."""
    scenes = [as_720p(grey_of(path)) for path in photo_paths(images)]
    print(f"the same {len(scenes)} scenes again: called duplicate (change: median, 90th percentile)")
    for name, how in SHAKES.items():
        changes = [change(look(scene), look(seen_again(scene, **how))) for scene in scenes]  # type: ignore[arg-type]
        same = sum(c < config.duplicate_distance for c in changes) / len(changes)
        print(f"  {name:20} {same:5.0%}  ({np.median(changes):.1f}, {np.quantile(changes, 0.9):.1f})")
    roomy = [scene for scene in scenes if min(scene.shape) > 400][:20]  # a sign fits
    print("changed text, by height of a capital at 1280 px: called duplicate, should be none (least change)")
    for name, pairs in (("page", new_pages), ("sign appears", new_signs), ("sign changes", changed_signs)):
        for height in LETTER_HEIGHTS_PX:
            changes = [change(look(a), look(seen_again(b))) for a, b in pairs(roomy, height)]
            same = sum(c < config.duplicate_distance for c in changes) / len(changes)
            print(f"  {name:14}{height:3} px {same:5.0%}  ({min(changes):.1f})")


def new_pages(scenes: list[Grey], height: int) -> Iterator[tuple[Grey, Grey]]:
    for seed in range(10):
        yield page(seed, height), page(seed + 100, height)


def new_signs(scenes: list[Grey], height: int) -> Iterator[tuple[Grey, Grey]]:
    for plain in map(with_board, scenes):
        yield plain, written(plain, "Platform 12 closed", TEXT_AT, height)


def changed_signs(scenes: list[Grey], height: int) -> Iterator[tuple[Grey, Grey]]:
    for plain in map(with_board, scenes):
        yield (
            written(plain, "Platform 12 closed", TEXT_AT, height),
            written(plain, "Use the other stair", TEXT_AT, height),
        )


def with_board(scene: Grey) -> Grey:
    """The scene with an empty light board in it."""
    board, (x, y) = scene.copy(), TEXT_AT
    board[y - 60 : y + 40, x - 40 : x + 400] = 210
    return board


def costs(images: Path, config: Frames) -> None:
    """Part 4."""
    frame = cv2.resize(grey_of(images / "scene_text_mmocr/img_1.jpg"), (1280, 720)).astype(np.uint8, copy=False)
    seen = look(frame)
    look_ms, change_ms = took_ms(lambda: look(frame)), took_ms(lambda: change(seen, seen))
    print(f"720p frame: look {look_ms:.2f} ms, comparison with the last kept {change_ms:.2f} ms (median)")
    folders = ("wearable_openglass", "scene_text_mmocr", "receipts_sroie", "screens_omniparser")
    for folder in folders:
        paths = [p for p in (images / folder).iterdir() if p.suffix in (".jpg", ".jpeg", ".png")]
        sizes = [len(as_sent(p, config.longest_side_px, config.jpeg_quality)) for p in paths]
        per_hour = config.budget_mb_per_hour * 1e6 / statistics.mean(sizes)
        kilobytes = statistics.mean(sizes) / 1000
        print(f"  {folder:20} {kilobytes:6.1f} KB/frame: {per_hour:.0f}/h, one per {3600 / per_hour:.0f} s")


def took_ms(call: Callable[[], Look | float], n: int = 50) -> float:
    times = []
    for _ in range(n):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1000.0)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.frames",
        description="Judges photos with the frame gate; prints what it keeps and drops, and what that costs.",
    )
    parser.add_argument("--media", type=Path, default=default_dir(), help="the media folder (%(default)s)")
    images = parser.parse_args().media / "images"
    if not images.is_dir():
        parser.error(f"{images} is not a folder; say with --media or $FIELDNOTE_MEDIA where the media are")
    config = Frames()
    glasses(images / "wearable_openglass", config)
    other_photos(images, config)
    again_and_changed(images, config)
    costs(images, config)


if __name__ == "__main__":
    main()
