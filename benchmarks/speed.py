"""How soon a note is visible, and how much faster than real time a recording can go.

`latency`: real agents stream a human reading in real time to a real server, with a new picture every second; a
viewer notes when each line arrives. End of utterance is the capture time of its last sample, hangover included;
the segmenter's hangover (0.4 to 0.9 s) lies before it. One stream, then four. `fast`: a ten-minute recording
with a picture a second, as fast as it goes, until every second is in the ledger.
"""

import argparse
import asyncio
import re
import statistics
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import soundfile

from agent.audio import SAMPLE_RATE
from benchmarks import machine, media
from inference_server import launch


@dataclass(slots=True)
class Viewer:
    """Notes when lines arrive, on a thread of its own."""

    url: str
    late_s: list[float] = field(default_factory=list)  # arrival minus the utterance's last sample
    seen: int = 0

    def start(self) -> None:
        """From now on, until the server ends."""
        cursor = launch.fetch(f"{self.url}api/snapshot")["cursor"]
        threading.Thread(target=self._follow, args=(cursor,), daemon=True).start()

    def _follow(self, cursor: str) -> None:
        for name, data in launch.events(self.url, cursor):
            if name == "line" and data["line"]["kind"] == "heard":
                self.late_s.append(time.time() - datetime.fromisoformat(data["line"]["end_at"]).timestamp())
            elif name == "line":
                self.seen += 1


def pictures(directory: Path, n: int) -> Path:
    """`n` different 720p pictures with a word or two on each, one for each second."""
    directory.mkdir()
    noise = np.random.default_rng(7)
    for index in range(n):
        image = cv2.resize(noise.integers(60, 200, (9, 16, 3), np.uint8), (1280, 720), interpolation=cv2.INTER_CUBIC)
        cv2.putText(image, f"Platform {index}", (120, 380), cv2.FONT_HERSHEY_DUPLEX, 3.5, (20, 20, 20), 8, cv2.LINE_AA)
        cv2.imwrite(str(directory / f"{index:05}.jpg"), image)
    return directory


def reading(path: Path, directory: Path, seconds: float, start: int) -> Path:
    """`seconds` of the LibriSpeech clips in a row, begun at another one for each `start`."""
    clips = sorted((directory / "speech/librispeech_test_other").glob("*.flac"))
    clips = clips[start:] + clips[:start]
    parts, n = [], 0
    while n < seconds * SAMPLE_RATE:
        parts.append(media.read(clips[len(parts) % len(clips)]))
        n += len(parts[-1])
    soundfile.write(path, np.concatenate(parts)[: round(seconds * SAMPLE_RATE)], SAMPLE_RATE)
    return path


async def latency(directory: Path, scratch: Path, n_streams: int, seconds: float) -> None:
    """Print how long notes take with `n_streams` at once."""
    frames = pictures(scratch / f"pictures{n_streams}", round(seconds))
    async with launch.server(scratch / f"server{n_streams}") as url:
        viewer = Viewer(url)
        viewer.start()
        async with asyncio.TaskGroup() as group:
            for index in range(n_streams):
                audio = reading(scratch / f"reading{n_streams}-{index}.wav", directory, seconds, 11 * index)
                spool = scratch / f"agent{n_streams}-{index}"
                group.create_task(launch.agent(url, spool, "--audio", str(audio), "--frames", str(frames)))
        await launch.settled(url, 60)
        await asyncio.sleep(0.5)  # the last line's event is on its way
        shed = await asyncio.to_thread(_shed, url)
        made = await asyncio.to_thread(launch.moments, url)
    quantiles = statistics.quantiles(viewer.late_s, n=100, method="inclusive")
    inside = statistics.median(moment["latency_ms"] for moment in made) / 1000
    print(
        f"{n_streams} stream{'s' if n_streams > 1 else ''}, {seconds:.0f} s each: {len(viewer.late_s)} notes, "
        f"p50 {quantiles[49]:.2f} s · p95 {quantiles[94]:.2f} s · worst {max(viewer.late_s):.2f} s "
        f"(p50 inside the server {inside:.2f} s); {viewer.seen} pictures read, shed: {shed or 'nothing'}",
        flush=True,
    )


def _shed(url: str) -> str:
    with urllib.request.urlopen(f"{url}metrics", timeout=10) as response:
        found = re.findall(r'^fieldnote_shed_total\{kind="(\w+)"\} ([\d.]+)$', response.read().decode(), re.MULTILINE)
    return ", ".join(f"{float(n):.0f} {kind}" for kind, n in found if float(n))


async def fast(directory: Path, scratch: Path, seconds: float) -> None:
    """Print how much faster than real time a long recording becomes notes."""
    audio = reading(scratch / "long.wav", directory, seconds, 0)
    frames = pictures(scratch / "pictures-long", round(seconds))
    async with launch.server(scratch / "server-long") as url:
        begun = time.monotonic()
        sent = await launch.agent(url, scratch / "agent-long", "--audio", str(audio), "--frames", str(frames), "--fast")
        handed_over_s = time.monotonic() - begun
        ledgers = await launch.settled(url, 600)
        took_s = time.monotonic() - begun
        shed = await asyncio.to_thread(_shed, url)
    total = sum(ledger["total_s"] for ledger in ledgers)
    print(
        f"{seconds:.0f} s with {sent['frames']} pictures sent: handed over in {handed_over_s:.1f} s, all noted in "
        f"{took_s:.1f} s = {seconds / took_s:.1f} x real time; ledger {total:.2f} s; shed: {shed or 'nothing'}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, default=media.default_dir(), help="the recordings (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=120, help="of each stream in real time (default 120)")
    parser.add_argument("--only", choices=("one", "four", "fast"), help="one part alone")
    args = parser.parse_args()
    print(machine.line())
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if args.only in (None, "one"):
            asyncio.run(latency(args.media, scratch, 1, args.seconds))
        if args.only in (None, "four"):
            asyncio.run(latency(args.media, scratch, 4, args.seconds))
        if args.only in (None, "fast"):
            asyncio.run(fast(args.media, scratch, 600))


if __name__ == "__main__":
    main()
