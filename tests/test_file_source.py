"""Recordings as a source: real files, made here, of every kind that people have."""

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from agent.audio import SAMPLE_RATE, Pcm
from agent.sources import DeviceError, Event, Picture, Samples
from agent.sources.file import BLOCK, FileSource, check_media, duration_s, read_audio, read_images

Float = npt.NDArray[np.float32]
UTC = 1_700_000_000_000_000_000


def tone(duration_s: float, rate: int, hz: float = 440.0) -> Float:
    """(n_samples,) float32, 10 dB below full scale."""
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(duration_s * rate)) / rate)).astype(np.float32)


def heard(path: Path) -> Pcm:
    """All of the file's sound."""
    return np.concatenate([np.empty(0, np.int16), *read_audio(path)])


def level_db(pcm: Pcm, reference: Float) -> float:
    """RMS of the middle of `pcm` against that of `reference`."""
    middle = pcm[len(pcm) // 10 : -len(pcm) // 10].astype(np.float64) / 32768
    return float(20 * np.log10(max(1e-9, np.sqrt(np.mean(middle**2))) / np.sqrt(np.mean(reference**2))))


def loudest_hz(pcm: Pcm) -> float:
    """The frequency that stands out."""
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    return float(np.argmax(spectrum) * SAMPLE_RATE / len(pcm))


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("duration_s", [0.05, 0.333, 2.0])
def test_a_wav_of_any_rate_keeps_its_length_to_a_sample_and_its_pitch(
    tmp_path: Path, rate: int, duration_s: float
) -> None:
    sound = tone(duration_s, rate)
    soundfile.write(tmp_path / "a.wav", np.stack([sound, sound], axis=1), rate)
    pcm = heard(tmp_path / "a.wav")
    assert abs(len(pcm) - len(sound) * SAMPLE_RATE / rate) <= 1.5
    assert abs(loudest_hz(pcm) - 440) < 30
    if duration_s > 1:
        assert abs(level_db(pcm, sound)) < 0.5


def test_a_wav_at_the_rate_of_the_stream_is_taken_sample_for_sample_to_the_last_bit_but_one(tmp_path: Path) -> None:
    sound = np.random.default_rng(1).integers(-32768, 32767, 12_345).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", sound, SAMPLE_RATE)
    assert np.abs(heard(tmp_path / "a.wav").astype(np.int32) - sound).max() <= 1


def test_the_channels_of_a_stereo_file_are_mixed(tmp_path: Path) -> None:
    left, right = tone(1.0, 44_100, 300), tone(1.0, 44_100, 2000)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 44_100)
    spectrum = np.abs(np.fft.rfft(heard(tmp_path / "a.wav")[:SAMPLE_RATE].astype(np.float64)))
    assert set(np.argsort(spectrum)[-2:]) == {300, 2000}


@pytest.mark.parametrize(
    ("name", "kind", "subtype", "rate"),
    [
        ("a.flac", "FLAC", "PCM_24", 44_100),
        ("a.mp3", "MP3", "MPEG_LAYER_III", 44_100),
        ("a.ogg", "OGG", "VORBIS", 44_100),
        ("a.ogg", "OGG", "OPUS", 48_000),
        ("a.wav", "WAV", "FLOAT", 48_000),
        ("a.wav", "WAV", "ULAW", 8000),
        ("a.aiff", "AIFF", "PCM_16", 44_100),
    ],
)
def test_every_usual_kind_of_file_is_read_whole(tmp_path: Path, name: str, kind: str, subtype: str, rate: int) -> None:
    sound = tone(3.0, rate)
    soundfile.write(tmp_path / name, sound, rate, format=kind, subtype=subtype)
    pcm = heard(tmp_path / name)
    assert abs(len(pcm) - 3 * SAMPLE_RATE) <= 2
    assert abs(loudest_hz(pcm) - 440) < 2
    assert abs(level_db(pcm, sound)) < 1
    assert abs(duration_s(tmp_path / name) - 3.0) < 0.01


def test_what_the_stream_cannot_carry_is_filtered_and_not_folded_into_speech(tmp_path: Path) -> None:
    sound = tone(2.0, 48_000, 10_000)
    soundfile.write(tmp_path / "a.wav", sound, 48_000, subtype="FLOAT")
    assert level_db(heard(tmp_path / "a.wav"), sound) < -50


def test_sound_louder_than_full_scale_is_clipped_and_does_not_wrap(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.5, SAMPLE_RATE) * 10, SAMPLE_RATE, subtype="FLOAT")
    pcm = heard(tmp_path / "a.wav")
    assert (pcm.max(), pcm.min()) == (32767, -32768)
    assert np.abs(np.diff(pcm.astype(np.int32))).max() < 20_000


def video(path: Path, duration_s: float, sound: bool = True, pictures: bool = True, fps: int = 10) -> None:
    """A file of grey pictures that grow brighter by 5 each, with a tone."""
    with av.open(str(path), "w") as container:
        track = container.add_stream("aac", rate=44_100, layout="mono") if sound else None
        film = container.add_stream("mpeg4", rate=fps) if pictures else None
        if film is not None:
            film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
            for index in range(round(duration_s * fps)):
                image = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + 5 * index, np.uint8), format="bgr24")
                container.mux(film.encode(image))
            container.mux(film.encode(None))
        if track is not None:
            wave = tone(duration_s, 44_100)
            for at in range(0, len(wave), 1024):
                part = wave[at : at + 1024]
                frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 44_100, at, Fraction(1, 44_100)
                container.mux(track.encode(frame))
            container.mux(track.encode(None))


def test_a_video_gives_its_sound(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4", 3.0)
    pcm = heard(tmp_path / "a.mp4")
    assert abs(len(pcm) - 3 * SAMPLE_RATE) < 0.1 * SAMPLE_RATE  # AAC pads its first and last packet
    assert abs(loudest_hz(pcm) - 440) < 2
    assert abs(duration_s(tmp_path / "a.mp4") - 3.0) < 0.1


def test_a_video_gives_its_pictures_at_the_rate_asked_for_and_at_their_times(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4", 3.0)
    pictures = list(read_images(tmp_path / "a.mp4", 2.0))
    assert [picture.sample for picture in pictures] == [0, 8000, 16_000, 24_000, 32_000, 40_000]
    assert [round(float(picture.image.mean())) for picture in pictures] == pytest.approx(
        [20, 45, 70, 95, 120, 145], abs=8
    )
    assert pictures[0].image.shape == (48, 64, 3)


def test_a_folder_gives_its_images_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, grey in (("b.png", 80), ("a.jpg", 40), ("c.BMP", 120)):
        assert cv2.imwrite(str(tmp_path / name), np.full((30, 40, 3), grey, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    pictures = list(read_images(tmp_path, 0.5))
    assert [picture.sample for picture in pictures] == [0, 32_000, 64_000]
    assert [round(float(picture.image.mean())) for picture in pictures] == pytest.approx([40, 80, 120], abs=2)


def events(path: Path, frames: Path | None = None) -> Iterator[Event]:
    """As fast as it goes, recorded at `UTC`."""
    source = FileSource(path, frames, fast=True, frames_hz=1.0)
    source.start_utc_ns = UTC
    return source.events()


def test_each_picture_follows_the_sound_that_was_heard_with_it(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4", 3.0)
    position, seen = 0, []
    for event in events(tmp_path / "a.mp4", tmp_path / "a.mp4"):
        match event:
            case Samples(pcm, utc_ns, _):
                position += len(pcm)
                assert utc_ns == UTC + position * 62_500
            case Picture():
                seen.append(position)
    assert seen == [BLOCK, 16_000 + BLOCK, 32_000 + BLOCK]


def test_a_file_without_a_single_sample_gives_nothing(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.empty(0, np.float32), 44_100)
    assert list(events(tmp_path / "a.wav")) == []


def test_a_closed_source_ends_at_the_next_block(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(60, SAMPLE_RATE), SAMPLE_RATE)
    source = FileSource(tmp_path / "a.wav", None, fast=False, frames_hz=1.0)
    running = source.events()
    next(running)
    source.close()
    source.close()
    assert list(running) == []


def cut_in_half(path: Path) -> Path:
    """The same file without its second half."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def test_a_damaged_flac_gives_what_is_whole_and_then_one_clear_error(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.random.default_rng(1).uniform(-0.5, 0.5, 20 * SAMPLE_RATE), SAMPLE_RATE)
    running, samples = read_audio(cut_in_half(tmp_path / "a.flac")), 0
    with pytest.raises(DeviceError, match="damaged"):
        for block in running:
            samples += len(block)
    assert samples > 5 * SAMPLE_RATE


def test_a_wav_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(4.0, SAMPLE_RATE), SAMPLE_RATE)
    assert abs(len(heard(cut_in_half(tmp_path / "a.wav"))) - 2 * SAMPLE_RATE) < 100


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.mp4", "a.raw", "a.ogg", "a", "a.jpg"])
@pytest.mark.parametrize("content", [b"\x00" * 5000, b"This is a letter, and no recording.\n" * 100, b"RIFF\x00"])
def test_a_file_that_is_no_recording_is_one_clear_error(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DeviceError, match=str(path)):
        heard(path)
    with suppress(DeviceError):  # a header may claim a length
        duration_s(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.jpg", "a.mkv", "a"])
def test_a_file_that_is_no_film_is_one_clear_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x00" * 5000)
    with pytest.raises(DeviceError, match=str(path)):
        list(read_images(path, 1.0))


def test_a_damaged_video_is_one_clear_error(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4", 3.0)
    with pytest.raises(DeviceError, match=r"a\.mp4"):
        heard(cut_in_half(tmp_path / "a.mp4"))


def test_a_damaged_image_in_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8 no more than the beginning")
    with pytest.raises(DeviceError, match=r"a\.jpg: not an image"):
        list(read_images(tmp_path, 1.0))


def test_a_film_without_sound_and_sound_without_pictures_are_each_named_so(tmp_path: Path) -> None:
    video(tmp_path / "silent.mp4", 1.0, sound=False)
    video(tmp_path / "blind.mp4", 1.0, pictures=False)
    with pytest.raises(DeviceError, match="no sound track"):
        heard(tmp_path / "silent.mp4")
    with pytest.raises(DeviceError, match="no pictures"):
        list(read_images(tmp_path / "blind.mp4", 1.0))


def test_a_path_with_nothing_to_read_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "folder").mkdir()
    for path, words in (("missing.wav", "no such file"), ("empty.wav", "0 bytes"), ("folder", "no images")):
        with pytest.raises(DeviceError, match=words):
            check_media(tmp_path / path)
        with pytest.raises(DeviceError, match=words):
            FileSource(tmp_path / path, None, fast=True, frames_hz=1.0)
