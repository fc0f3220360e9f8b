"""The capture thread's work, from a source to the spool, with the real detectors: every sample accounted for."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
from fakes import UTC, ServerEnd, blocks, silence, voice

from agent.audio import SAMPLE_RATE, Pcm
from agent.capture import Capture
from agent.codec import OpusEncoder, PcmEncoder
from agent.config import AgentConfig
from agent.protocol import Audio, Frame, Gap, Record, Silence, UtteranceEnd, UtteranceStart
from agent.sources import DeviceError, Event, Lost, Picture, Samples
from agent.sources.file import FileSource
from agent.sources.live import LiveSource
from agent.spool import DiskFull, Spool, SpoolError

SECOND_NS = 1_000_000_000
TALK = np.concatenate([silence(1), voice(2), silence(2), voice(1.5, 180.0), silence(1.3)])  # 7.8 s, two utterances


@dataclass
class Desk:
    """A spool with what a capture run needs around it."""

    directory: Path
    config: AgentConfig = field(default_factory=AgentConfig)
    cap_bytes: int = 50_000_000
    appended: int = 0

    @property
    def paused(self) -> Path:
        """The file that says to pause."""
        return self.directory / "paused"

    def capture(self, events: Iterator[Event], commit_every_s: float = 0.0) -> Capture:
        """Capture `events` to their end, as one process would."""
        with closing(Spool(self.directory, self.cap_bytes)) as spool:
            capture = self.over(spool, commit_every_s)
            capture.run(events)
        return capture

    def over(self, spool: Spool, commit_every_s: float = 0.0) -> Capture:
        """A capture on an open spool."""
        return Capture(
            self.config, spool, self.paused, PcmEncoder, self._count, commit_every_s
        )  # fmt: skip

    def _count(self) -> None:
        self.appended += 1

    def server(self) -> ServerEnd:
        """What a server makes of everything in the spool: it takes only what keeps the contract."""
        end = ServerEnd()
        with closing(Spool(self.directory, self.cap_bytes)) as spool:
            for _, wire in spool.read(0, 1_000_000):
                end.receive(wire)
        return end

    def records(self) -> list[Record]:
        """The records in the spool."""
        return [record for record, _ in self.server().records]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    tmp_path.mkdir(exist_ok=True)
    return Desk(tmp_path)


def gaps(records: list[Record]) -> list[Gap]:
    """The gaps among them."""
    return [record for record in records if isinstance(record, Gap)]


def utterances(records: list[Record]) -> list[tuple[int, int]]:
    """[start, end) of each utterance."""
    starts = [r.first_sample for r in records if isinstance(r, UtteranceStart)]
    ends = [r.end_sample for r in records if isinstance(r, UtteranceEnd)]
    return list(zip(starts, ends, strict=True))


def heard(end: ServerEnd) -> Pcm:
    """The whole stream as the server can play it: speech where it was sent, zeros elsewhere."""
    stream = np.zeros(end.session.end + SAMPLE_RATE, np.int16)
    for record, payload in end.records:
        if isinstance(record, Audio):
            stream[record.first_sample : record.first_sample + record.n_samples] = np.frombuffer(payload, "<i2")
    return stream


def seen_at(event: Event) -> Iterator[Event]:
    """`event` and a picture behind it."""
    yield event
    picture = np.random.default_rng(id(event) % 1000).integers(0, 255, (480, 640, 3), np.uint8)
    yield Picture(np.kron(picture[::40, ::40], np.ones((40, 40, 1), np.uint8)))


def test_a_recording_becomes_records_that_account_for_every_sample(desk: Desk, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", TALK, SAMPLE_RATE)
    source = FileSource(tmp_path / "talk.wav", None, fast=True, frames_hz=1.0)
    source.start_utc_ns = UTC

    capture = desk.capture(source.events())

    end = desk.server()
    assert end.session.end == len(TALK) == capture.progress.position
    (one, other) = utterances(desk.records())
    assert one[0] <= SAMPLE_RATE and 3 * SAMPLE_RATE <= one[1] <= 5 * SAMPLE_RATE
    assert other[0] <= 5 * SAMPLE_RATE and other[1] >= 6.5 * SAMPLE_RATE
    stream = heard(end)
    for start, stop in (one, other):
        assert np.array_equal(stream[start:stop], TALK[start:stop])
    assert capture.progress.utterances == 2
    assert desk.appended > 0
    for record in desk.records():
        if isinstance(record, UtteranceStart | Silence):
            expected_ns = UTC + record.first_sample * SECOND_NS // SAMPLE_RATE
            assert abs(record.captured_at - expected_ns) < 1_000_000


@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 1600, 4000])
def test_a_recording_of_any_shortness_is_accounted_for(desk: Desk, n: int) -> None:
    desk.capture(blocks(voice(1.0)[:n]))
    assert desk.server().session.end == n


def test_quiet_room_for_a_minute_gives_silence_and_nothing_else(desk: Desk) -> None:
    noise = np.random.default_rng(1).normal(0, 30, 60 * SAMPLE_RATE).astype(np.int16)
    desk.capture(blocks(noise))
    assert {type(record) for record in desk.records()} == {Silence}
    assert desk.server().session.end == len(noise)


def test_a_tone_that_goes_on_for_a_minute_is_accounted_for(desk: Desk) -> None:
    t = np.arange(60 * SAMPLE_RATE) / SAMPLE_RATE
    desk.capture(blocks((9000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16)))
    assert desk.server().session.end == len(t)
    assert all(stop - start <= 30 * SAMPLE_RATE for start, stop in utterances(desk.records()))


def test_someone_who_never_pauses_is_cut_without_losing_a_sample(desk: Desk) -> None:
    talk = np.concatenate([voice(70.0), silence(2)])
    desk.capture(blocks(talk))
    end = desk.server()
    assert end.session.end == len(talk)
    spoken = utterances(desk.records())
    assert len(spoken) >= 3
    assert all(stop - start <= 30 * SAMPLE_RATE for start, stop in spoken)
    inside = [(before, after) for before, after in pairwise(spoken) if before[1] != after[0]]
    assert inside == []
    start, stop = spoken[0][0], spoken[-1][1]
    assert np.array_equal(heard(end)[start:stop], talk[start:stop])


def test_opus_is_what_the_wire_carries_when_the_server_takes_it(desk: Desk) -> None:
    with closing(Spool(desk.directory, desk.cap_bytes)) as spool:
        capture = Capture(desk.config, spool, desk.paused, lambda: OpusEncoder(24_000), desk._count)
        capture.run(blocks(TALK))
    audio = [record for record in desk.records() if isinstance(record, Audio)]
    assert audio and all(record.codec == "opus" for record in audio)
    assert sum(len(payload) for _, payload in desk.server().records) < len(TALK)  # bytes; PCM would take twice that


def test_a_pause_ends_the_utterance_and_leaves_a_gap_of_its_length(desk: Desk) -> None:
    def pausing() -> Iterator[Event]:
        for index, event in enumerate(blocks(voice(12.0))):
            if index == 20:
                desk.paused.touch()
            if index == 85:
                desk.paused.unlink()
            yield event

    capture = desk.capture(pausing())

    lost = gaps(desk.records())
    assert [gap.reason for gap in lost] == ["paused", "paused"]  # the ledger learns of a long pause every 5 s
    assert sum(gap.n_samples for gap in lost) == 65 * 1600
    assert lost[0].first_sample == 20 * 1600
    assert len(utterances(desk.records())) == 2
    end = desk.server()
    assert end.session.end == 12 * SAMPLE_RATE == capture.progress.position
    assert not heard(end)[20 * 1600 + 1 : 85 * 1600].any()
    for gap in lost:
        assert abs(gap.captured_at - UTC - gap.first_sample * SECOND_NS // SAMPLE_RATE) < 1_000_000


def test_nothing_is_seen_while_paused(desk: Desk) -> None:
    desk.paused.touch()
    desk.capture(chain.from_iterable(map(seen_at, blocks(voice(12.0)))))
    assert {type(record) for record in desk.records()} == {Gap}
    assert desk.server().session.end == 12 * SAMPLE_RATE


def test_a_device_that_goes_away_during_a_pause_leaves_both_gaps_in_order(desk: Desk) -> None:
    def story() -> Iterator[Event]:
        sound = list(blocks(voice(3.0)))
        yield from sound[:10]
        desk.paused.touch()
        yield from sound[10:20]
        yield Lost(16_000, "microphone gone")
        desk.paused.unlink()
        for event in sound[20:]:
            assert isinstance(event, Samples)
            yield Samples(event.pcm, event.utc_ns + SECOND_NS, event.monotonic_ns + SECOND_NS)

    capture = desk.capture(story())
    lost = gaps(desk.records())
    assert [(gap.first_sample, gap.n_samples, gap.reason) for gap in lost] == [
        (16_000, 16_000, "paused"),
        (32_000, 16_000, "microphone gone"),
    ]
    assert desk.server().session.end == 64_000
    start = [r for r in desk.records() if isinstance(r, UtteranceStart)][-1]
    assert abs(start.captured_at - UTC - start.first_sample * SECOND_NS // SAMPLE_RATE) < 1_000_000
    assert not capture.progress.recording


def test_what_a_device_lost_is_a_gap_with_its_reason_and_times_go_on_from_the_new_samples(desk: Desk) -> None:
    away_ns = 3610 * SECOND_NS  # the device knew of all but ten seconds

    def story() -> Iterator[Event]:
        yield from blocks(voice(2.0))
        yield Lost(3600 * 16_000, "microphone gone")
        assert not capture.progress.recording  # nobody is told that it records while it does not
        yield from blocks(voice(2.0), UTC + away_ns + 2 * SECOND_NS)

    with closing(Spool(desk.directory, desk.cap_bytes)) as spool:
        capture = desk.over(spool)
        capture.run(story())
    (gap,) = gaps(desk.records())
    assert (gap.first_sample, gap.n_samples, gap.reason) == (2 * 16_000, 3600 * 16_000, "microphone gone")
    assert desk.server().session.end == 3604 * 16_000
    start = [r for r in desk.records() if isinstance(r, UtteranceStart)][-1]
    first_ns = UTC + away_ns + 2 * SECOND_NS
    assert abs(start.captured_at - first_ns - (start.first_sample - gap.first_sample - gap.n_samples) * 62_500) < 10**6


def test_the_next_run_goes_on_where_the_last_one_ended(desk: Desk) -> None:
    desk.capture(blocks(TALK))
    desk.capture(blocks(TALK, UTC + 60 * SECOND_NS))
    end = desk.server()
    assert end.session.end == 2 * len(TALK)
    assert gaps(desk.records()) == []
    second = next(r for r in desk.records() if isinstance(r, Silence | UtteranceStart) and r.first_sample >= len(TALK))
    assert abs(second.captured_at - UTC - 60 * SECOND_NS) < 1_000_000


class Killed(BaseException):
    """As a process ends that is killed: nothing more of it runs."""


def killed_after(events: Iterator[Event], n: int) -> Iterator[Event]:
    """The first `n` events, then the end of the world."""
    for _ in range(n):
        yield next(events)
    raise Killed


@pytest.mark.parametrize("n", [0, 1, 5, 14, 20, 30, 55, 70])
def test_a_run_after_a_killed_one_closes_what_it_left_open_and_goes_on_behind_a_gap(desk: Desk, n: int) -> None:
    with pytest.raises(Killed):
        desk.capture(killed_after(blocks(TALK), n))
    desk.capture(blocks(TALK, UTC + 3600 * SECOND_NS))

    end = desk.server()  # it takes only whole and well-nested records
    (gap,) = gaps(desk.records())
    assert gap.reason == "agent stopped"
    assert gap.first_sample <= n * 1600 <= gap.first_sample + gap.n_samples
    assert end.session.end == gap.first_sample + gap.n_samples + len(TALK)
    if gap.first_sample:  # the time of what was heard is that of the run that heard it
        assert abs(gap.captured_at - UTC - gap.first_sample * SECOND_NS // SAMPLE_RATE) < 10_000_000
    for record in desk.records():
        if isinstance(record, UtteranceEnd) and record.end_sample <= gap.first_sample:
            assert record.captured_at < UTC + 60 * SECOND_NS


def test_a_source_that_fails_midway_loses_nothing_of_what_it_gave(desk: Desk) -> None:
    def failing() -> Iterator[Event]:
        yield from blocks(voice(2.0))
        raise DeviceError("damaged")

    with pytest.raises(DeviceError, match="damaged"):
        desk.capture(failing(), commit_every_s=1000.0)
    end = desk.server()
    assert end.session.end == 2 * SAMPLE_RATE
    ((start, stop),) = utterances(desk.records())
    assert stop - start > 1.8 * SAMPLE_RATE
    desk.capture(blocks(silence(1)))
    assert gaps(desk.records()) == []


def room_for(spool: Spool, pages: int) -> None:
    """Let the database grow by so many pages and no more."""
    (now,) = spool._db.execute("PRAGMA page_count").fetchone()
    spool._db.execute(f"PRAGMA max_page_count = {now + pages}")


def test_a_disk_that_is_full_for_a_while_loses_nothing(desk: Desk) -> None:
    with closing(Spool(desk.directory, desk.cap_bytes)) as spool:
        capture = desk.over(spool)

        def story() -> Iterator[Event]:
            sound = list(blocks(TALK))
            yield from sound[:25]
            room_for(spool, 2)
            yield from sound[25:60]
            assert "free some space" in capture.progress.trouble
            room_for(spool, 1_000_000)
            yield from sound[60:]

        capture.run(story())
    assert capture.progress.trouble == ""
    end = desk.server()
    assert end.session.end == len(TALK)
    for start, stop in utterances(desk.records()):
        assert np.array_equal(heard(end)[start:stop], TALK[start:stop])


def test_a_disk_that_stays_full_ends_the_run_before_memory_is_full(desk: Desk) -> None:
    with closing(Spool(desk.directory, desk.cap_bytes)) as spool:
        room_for(spool, 0)
        capture = Capture(desk.config, spool, desk.paused, PcmEncoder, desk._count, hold_bytes=0)
        with pytest.raises(DiskFull, match="free some space"):
            capture.run(blocks(voice(2.0)))
    assert desk.server().session.audio_end < SAMPLE_RATE


def test_a_disk_that_fills_up_ends_the_run_with_the_reason_and_leaves_whole_records(desk: Desk) -> None:
    with closing(Spool(desk.directory, desk.cap_bytes)) as spool:
        room_for(spool, 10)
        with pytest.raises(SpoolError, match="free some space"):
            desk.over(spool).run(blocks(voice(30.0)))
    desk.capture(blocks(TALK))
    assert [gap.reason for gap in gaps(desk.records())] == ["agent stopped"]


def test_a_spool_that_overflows_in_the_middle_of_speech_still_keeps_the_contract(desk: Desk) -> None:
    desk.cap_bytes = 200_000
    desk.capture(blocks(np.concatenate([voice(25.0), silence(2.0)])))
    end = desk.server()
    assert end.session.end == 27 * SAMPLE_RATE
    assert {gap.reason for gap in gaps(desk.records())} == {"spool full"}


@pytest.mark.parametrize("longest_s", [1.0, 30.0])
def test_any_settings_that_the_config_allows_survive_speech(desk: Desk, longest_s: float) -> None:
    widest = msgspec.structs.replace(
        desk.config.segmenter, preroll_s=5.0, cut_search_s=0.02, onset_s=0.02, longest_s=longest_s, hangover_s=0.05
    )
    desk.config = msgspec.structs.replace(
        desk.config, segmenter=widest, codec=msgspec.structs.replace(desk.config.codec, chunk_ms=20)
    )
    talk = np.concatenate([silence(4.5), TALK])
    desk.capture(blocks(talk))
    assert desk.server().session.end == len(talk)


def test_frames_lie_where_they_were_seen_and_carry_its_time(desk: Desk) -> None:
    capture = desk.capture(chain.from_iterable(map(seen_at, blocks(TALK))))
    frames = [record for record in desk.records() if isinstance(record, Frame)]
    assert len(frames) == capture.progress.frames > 0
    for frame in frames:
        assert abs(frame.captured_at - UTC - frame.sample * SECOND_NS // SAMPLE_RATE) < 1_000_000
    assert all(jpeg.startswith(b"\xff\xd8") for r, jpeg in desk.server().records if isinstance(r, Frame))


def test_a_picture_larger_than_asked_for_is_made_smaller_and_keeps_its_shape(desk: Desk) -> None:
    (tile,) = (np.random.default_rng(1).integers(0, 255, (30, 40, 3), np.uint8),)
    large = Picture(np.kron(tile, np.ones((64, 64, 1), np.uint8)))
    desk.capture(iter([*blocks(silence(0.5)), large]))
    (frame,) = [record for record in desk.records() if isinstance(record, Frame)]
    assert (frame.width, frame.height) == (1280, 960)


def test_media_in_real_time_come_at_their_own_pace_and_stop_when_closed(desk: Desk, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", silence(600), SAMPLE_RATE)
    source = FileSource(tmp_path / "long.wav", None, fast=False, frames_hz=1.0)
    thread = threading.Thread(target=desk.capture, args=(source.events(),))
    begun = time.monotonic()
    thread.start()
    source.close()
    thread.join(10)
    assert not thread.is_alive()
    assert desk.server().session.end < (time.monotonic() - begun + 1) * SAMPLE_RATE


class Plugged:
    """A microphone that gives `events` and is then unplugged, or closed."""

    def __init__(self, events: list[Event], closes: list[str]) -> None:
        self._events, self._closes = events, closes

    def events(self) -> Iterator[Event]:
        yield from self._events
        raise DeviceError("unplugged")

    def close(self) -> None:
        self._closes.append("closed")


def stamped_now(pcm: Pcm) -> list[Event]:
    """One block that was captured now."""
    return [Samples(pcm, time.time_ns(), time.monotonic_ns())]


def test_a_microphone_that_comes_back_is_used_again_and_its_absence_is_accounted_for() -> None:
    closes: list[str] = []
    opened = iter([Plugged(stamped_now(voice(0.1)), closes), None, Plugged([], closes)])

    def open_microphone() -> Plugged:
        microphone = next(opened)
        if microphone is None:
            raise DeviceError("not there")
        return microphone

    source = LiveSource(open_microphone, None, 1.0, reopen_s=0.1)  # type: ignore[arg-type]
    events = source.events()
    first = next(events)
    assert isinstance(first, Samples)
    lost = [next(events), next(events)]
    since_ns = time.monotonic_ns() - first.monotonic_ns
    assert all(isinstance(event, Lost) and event.reason == "microphone gone" for event in lost)
    total = sum(event.n_samples for event in lost if isinstance(event, Lost))
    assert abs(total / SAMPLE_RATE - since_ns / 1e9) < 0.05
    source.close()
    assert list(events) == []
    assert len(closes) >= 3


def test_a_live_source_that_is_closed_twice_ends_once_and_quietly() -> None:
    closes: list[str] = []
    source = LiveSource(lambda: Plugged([], closes), None, 1.0, reopen_s=60.0)  # type: ignore[arg-type,return-value]
    source.close()
    source.close()
    assert list(source.events()) == []
