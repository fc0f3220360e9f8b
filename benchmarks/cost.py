"""What the agent costs: processor, memory and bytes, measured on its own process over a real link in real time.

Processor time is that of the agent's process between the tenth second and the end, as a share of one core.
Bytes are counted between agent and server in both directions, WebSocket headers and acknowledgements included;
TCP and IP headers (52 bytes for each of the segments that a counting relay sees) are named beside them.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import soundfile

from agent.audio import SAMPLE_RATE
from benchmarks import machine, media
from benchmarks.speed import pictures, reading
from inference_server import launch

_WARM_S = 10.0
_HEADERS = 52  # IPv4 20, TCP 20, timestamps 12


@dataclass(slots=True)
class Count:
    """What went over the relay."""

    n_bytes: int = 0
    segments: int = 0


@asynccontextmanager
async def relay(url: str, count: Count) -> AsyncIterator[str]:
    """A TCP relay in front of the server that counts; yields its URL."""
    server_port = urlsplit(url).port

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            count.n_bytes += len(data)
            count.segments += max(1, -(-len(data) // 1448))
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await asyncio.open_connection("127.0.0.1", server_port)
        try:
            await asyncio.gather(pump(reader, upstream[1]), pump(upstream[0], writer))
        except ConnectionError:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"


async def measure(name: str, scratch: Path, seconds: float, arguments: tuple[str, ...]) -> None:
    """Run one agent in real time and print what it cost."""
    count = Count()
    directory = scratch / name.replace(" ", "-")
    async with launch.server(directory / "server") as url, relay(url, count) as relayed:
        agent = await launch.start_agent(relayed, directory / "agent", *arguments)
        process = psutil.Process(agent.pid)
        await asyncio.sleep(_WARM_S)
        before, begun = process.cpu_times(), time.monotonic()
        bytes_before, segments_before, rss = count.n_bytes, count.segments, 0
        while time.monotonic() - begun < seconds:
            await asyncio.sleep(1.0)
            rss = max(rss, process.memory_info().rss)
        after, took_s = process.cpu_times(), time.monotonic() - begun
        n_bytes, segments = count.n_bytes - bytes_before, count.segments - segments_before
        await launch.end(agent)
    share = (after.user + after.system - before.user - before.system) / took_s
    hourly = n_bytes / took_s * 3600 / 1e6
    with_headers = (n_bytes + segments * 2 * _HEADERS) / took_s * 3600 / 1e6
    print(
        f"{name:<44}{share:>7.1%} of a core {rss / 1e6:>6.0f} MB "
        f"{hourly:>7.1f} MB/h {with_headers:>7.1f} MB/h with TCP/IP",
        flush=True,
    )


def room(path: Path, directory: Path, seconds: float) -> Path:
    """A quiet office, repeated."""
    office = media.read(directory / "vad/livekit_ambience/office-ambience.ogg")
    soundfile.write(path, np.resize(office, round(seconds * SAMPLE_RATE)), SAMPLE_RATE)
    return path


async def hour(directory: Path, scratch: Path) -> None:
    """Print what an hour of continuous speech with pictures sends, as fast as it goes: the budget counts media time."""
    speech = reading(scratch / "hour.wav", directory, 3600, 0)
    frames, drawn = scratch / "hour-pictures", sorted(pictures(scratch / "drawn", 120).iterdir())
    frames.mkdir()
    for second in range(3600):
        os.link(drawn[second % len(drawn)], frames / f"{second:05}.jpg")
    for name, arguments in (("", ()), (" with pictures", ("--frames", str(frames)))):
        count = Count()
        directory = scratch / f"hour{name.replace(' ', '-')}"
        async with launch.server(directory / "server") as url, relay(url, count) as relayed:
            sent = await launch.agent(relayed, directory / "agent", "--audio", str(speech), "--fast", *arguments)
        print(
            f"an hour of continuous speech{name}: {count.n_bytes / 1e6:.1f} MB, {sent['frames']} pictures", flush=True
        )


async def run(directory: Path, scratch: Path, seconds: float) -> None:
    """Listening, speaking, and speaking with a camera."""
    whole = seconds + _WARM_S + 5
    quiet = room(scratch / "room.wav", directory, whole)
    speech = reading(scratch / "speech.wav", directory, whole, 0)
    frames = pictures(scratch / "pictures", round(whole))
    await measure("listening to a quiet office", scratch, seconds, ("--audio", str(quiet)))
    await measure("continuous speech", scratch, seconds, ("--audio", str(speech)))
    with_camera = ("--audio", str(speech), "--frames", str(frames))
    await measure("continuous speech, 720p pictures at 1/s", scratch, seconds, with_camera)
    looking = ("--audio", str(quiet), "--frames", str(frames))
    await measure("quiet office, 720p pictures at 1/s", scratch, seconds, looking)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, default=media.default_dir(), help="the recordings (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="measured of each (default 60)")
    parser.add_argument("--only", choices=("cost", "hour"), help="one part alone")
    args = parser.parse_args()
    print(machine.line())
    with tempfile.TemporaryDirectory() as scratch:
        if args.only != "hour":
            asyncio.run(run(args.media, Path(scratch), args.seconds))
        if args.only != "cost":
            asyncio.run(hour(args.media, Path(scratch)))


if __name__ == "__main__":
    main()
