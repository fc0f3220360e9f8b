"""Ogg Opus files: played to the sample, packets bit for bit, and pages as the RFC wants them."""

import io
import struct
from dataclasses import dataclass

import av
import numpy as np
import pytest
import soundfile
from fakes import opus_packets, voice
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol import MAX_PACKET_BYTES, PACKET_SAMPLES
from inference_server import ogg


@dataclass
class Page:
    flags: int
    granule: int
    serial: int
    sequence: int
    crc_fits: bool
    packets: list[bytes]


def pages(data: bytes) -> list[Page]:
    """Taken apart by RFC 3533; packets never go on over a page's end here."""
    found = []
    while data:
        magic, version, flags, granule, serial, sequence, crc, n = struct.unpack_from("<4sBBqIIIB", data)
        assert (magic, version) == (b"OggS", 0)
        lacing, body = data[27 : 27 + n], data[27 + n : 27 + n + sum(data[27 : 27 + n])]
        packets, packet, at = [], 0, 0
        for value in lacing:
            packet += value
            if value < 255:
                packets.append(body[at : at + packet])
                at, packet = at + packet, 0
        assert packet == 0, "a packet goes on over the page's end"
        whole = data[: 27 + n + len(body)]
        found.append(Page(flags, granule, serial, sequence, crc == crc_of(whole), packets))
        data = data[len(whole) :]
    return found


def crc_of(page: bytes) -> int:
    crc = 0
    for byte in page[:22] + b"\0\0\0\0" + page[26:]:
        crc ^= byte << 24
        for _ in range(8):
            crc = ((crc << 1) ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


def carried(data: bytes) -> list[bytes]:
    return [packet for page in pages(data)[2:] for packet in page.packets]


@given(st.integers(0, 199 * PACKET_SAMPLES))
def test_a_file_plays_exactly_as_many_samples_as_were_captured(n_samples: int) -> None:
    pre_skip, packets = opus_packets()

    pcm, rate = soundfile.read(io.BytesIO(ogg.write(packets, pre_skip, n_samples, 1)), dtype="int16")

    assert (len(pcm), rate) == (n_samples, 16_000)


def test_what_was_said_is_heard_at_its_place() -> None:
    pre_skip, packets = opus_packets()
    said = voice(4.0)[: 3 * 16_000].astype(np.float64)

    pcm, _ = soundfile.read(io.BytesIO(ogg.write(packets, pre_skip, len(said), 1)), dtype="float64")

    lags = range(-40, 41)
    alike = [float(np.corrcoef(np.roll(pcm, lag)[100:-100], said[100:-100])[0, 1]) for lag in lags]
    assert abs(lags[int(np.argmax(alike))]) <= 2 and max(alike) > 0.8


def test_packets_are_kept_bit_for_bit() -> None:
    pre_skip, packets = opus_packets()
    data = ogg.write(packets, pre_skip, 199 * PACKET_SAMPLES, 1)

    assert carried(data) == list(packets)
    with av.open(io.BytesIO(data)) as file:
        demuxed = [bytes(packet) for packet in file.demux() if packet.size]
    assert demuxed == list(packets)


@given(
    st.lists(st.sampled_from([1, 60, 254, 255, 256, 510, 1019, 1020, MAX_PACKET_BYTES]), max_size=120),
    st.integers(0, 1000),
    st.integers(0, 2**32 - 1),
)
def test_pages_are_well_formed_whatever_the_packets_size(sizes: list[int], pre_skip: int, serial: int) -> None:
    packets = [bytes([index % 256]) * size for index, size in enumerate(sizes)]
    n_samples = max(0, len(packets) * PACKET_SAMPLES - ogg.samples_of(pre_skip))

    data = ogg.write(packets, pre_skip, n_samples, serial)

    found = pages(data)
    assert all(page.crc_fits and page.serial == serial for page in found)
    assert [page.sequence for page in found] == list(range(len(found)))
    assert found[0].flags == 2 and found[-1].flags == 4 and not any(page.flags for page in found[1:-1])
    granules = [page.granule for page in found]
    assert granules == sorted(granules) and granules[-1] == pre_skip + 3 * n_samples
    sent = carried(data)
    assert sent == packets[: len(sent)]
    assert len(sent) * PACKET_SAMPLES * 3 >= min(granules[-1], len(packets) * PACKET_SAMPLES * 3)


def test_packets_behind_the_end_are_left_out() -> None:
    pre_skip, packets = opus_packets()
    assert len(carried(ogg.write(packets, pre_skip, 16_000, 1))) == 51  # a second, and the encoder's delay


@pytest.mark.parametrize(("pre_skip", "samples"), [(0, 0), (312, 104), (313, 105)])
def test_a_pre_skip_is_rounded_up_to_whole_samples(pre_skip: int, samples: int) -> None:
    assert ogg.samples_of(pre_skip) == samples


def test_lost_packets_keep_everything_behind_them_at_its_place() -> None:
    pre_skip, packets = opus_packets()
    n = 150 * PACKET_SAMPLES
    whole, _ = soundfile.read(io.BytesIO(ogg.write(packets, pre_skip, n, 1)), dtype="float64")
    lost = [*packets[:50], *ogg.lost_packets(25 * PACKET_SAMPLES), *packets[75:]]

    pcm, _ = soundfile.read(io.BytesIO(ogg.write(lost, pre_skip, n, 1)), dtype="float64")

    assert len(pcm) == n
    behind = slice(90 * PACKET_SAMPLES, n)
    assert float(np.corrcoef(pcm[behind], whole[behind])[0, 1]) > 0.9
    faded = slice(60 * PACKET_SAMPLES, 74 * PACKET_SAMPLES)
    assert np.abs(pcm[faded]).max() < 0.5 * np.abs(whole[faded]).max()
