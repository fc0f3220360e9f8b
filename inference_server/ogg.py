"""Opus packets to one playable Ogg file, bit for bit the packets that came (RFC 3533, RFC 7845)."""

import struct
from collections.abc import Iterable, Sequence

from agent.audio import SAMPLE_RATE
from agent.protocol import PACKET_SAMPLES

_GRANULE_RATE = 48_000  # RFC 7845 section 4: granule positions always count at 48 kHz
_PER_SAMPLE = _GRANULE_RATE // SAMPLE_RATE
_PACKETS_A_PAGE = 50  # one second
_MOST_SEGMENTS = 255  # of a page; a packet takes one for each 255 bytes and one more
_LOST = bytes([9 << 3])  # RFC 6716 section 3.1: wideband SILK, 20 ms, mono, and no data: the decoder conceals it
_VENDOR = b"fieldnote"


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1  # RFC 3533 section 6
        table.append(crc & 0xFFFFFFFF)
    return tuple(table)


_CRC = _crc_table()


def write(packets: Sequence[bytes], pre_skip: int, n_samples: int, serial: int) -> bytes:
    """An Ogg Opus file of `packets` (20 ms each) that plays exactly `n_samples` samples at 16 kHz.

    `pre_skip` is the encoder's delay at 48 kHz. `n_samples` may be shorter than the packets, never longer.
    """
    head = struct.pack("<8sBBHIhB", b"OpusHead", 1, 1, pre_skip, SAMPLE_RATE, 0, 0)
    tags = struct.pack("<8sI", b"OpusTags", len(_VENDOR)) + _VENDOR + struct.pack("<I", 0)
    pages = [_page([head], 0, serial, 0, 0x02), _page([tags], 0, serial, 1, 0)]
    last_granule = pre_skip + n_samples * _PER_SAMPLE
    packets = packets[: -(-last_granule // (PACKET_SAMPLES * _PER_SAMPLE))]  # a page past the end would be malformed
    groups = _groups(packets)
    done = 0
    for index, group in enumerate(groups):
        done += len(group)
        final = index == len(groups) - 1
        granule = last_granule if final else done * PACKET_SAMPLES * _PER_SAMPLE
        pages.append(_page(group, granule, serial, index + 2, 0x04 if final else 0))
    return b"".join(pages)


def _groups(packets: Sequence[bytes]) -> list[list[bytes]]:
    """The packets of each page."""
    groups: list[list[bytes]] = [[]]
    segments = 0
    for packet in packets:
        n = len(packet) // 255 + 1
        if len(groups[-1]) == _PACKETS_A_PAGE or segments + n > _MOST_SEGMENTS:
            groups.append([])
            segments = 0
        groups[-1].append(packet)
        segments += n
    return groups


def samples_of(pre_skip: int) -> int:
    """A pre-skip at 48 kHz in samples at 16 kHz, rounded up."""
    return -(-pre_skip // _PER_SAMPLE)


def lost_packets(n_samples: int) -> list[bytes]:
    """Stand-ins for packets that never came: silence of the same length."""
    return [_LOST] * (n_samples // PACKET_SAMPLES)


def _page(packets: Iterable[bytes], granule: int, serial: int, sequence: int, flags: int) -> bytes:
    lacing = bytearray()
    for packet in packets:
        lacing += b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])
    header = struct.pack("<4sBBqIII", b"OggS", 0, flags, granule, serial, sequence, 0)
    page = bytearray(header + bytes([len(lacing)]) + bytes(lacing) + b"".join(packets))
    crc = 0
    for byte in page:
        crc = ((crc << 8) & 0xFFFFFFFF) ^ _CRC[(crc >> 24) ^ byte]
    struct.pack_into("<I", page, 22, crc)
    return bytes(page)
