"""Opus for the wire: one 20 ms packet in, one packet out. PCM when the server cannot decode Opus."""

from collections.abc import Callable
from fractions import Fraction
from typing import Protocol

import av
import numpy as np

from agent.audio import SAMPLE_RATE, Pcm
from agent.protocol import PACKET_SAMPLES

_OPUS_RATE = 48_000  # RFC 7845: pre-skip is counted at 48 kHz whatever the input rate


class Encoder(Protocol):
    """Encodes one utterance. `name` is the wire's codec, `pre_skip` the delay in samples at 48 kHz."""

    name: str
    pre_skip: int

    def encode(self, pcm: Pcm) -> bytes:
        """Encode exactly PACKET_SAMPLES samples, (320,) int16."""
        ...


EncoderFactory = Callable[[], Encoder]


class OpusEncoder:
    """libopus through FFmpeg, tuned for speech (RFC 6716 "VoIP")."""

    name = "opus"

    def __init__(self, bitrate_bps: int) -> None:
        context = av.CodecContext.create("libopus", "w")
        assert isinstance(context, av.AudioCodecContext)
        context.sample_rate = SAMPLE_RATE
        context.layout = "mono"
        context.format = av.AudioFormat("s16")
        context.bit_rate = bitrate_bps
        context.time_base = Fraction(1, SAMPLE_RATE)
        context.options = {"application": "voip", "vbr": "on", "frame_duration": "20"}
        context.open()
        assert context.frame_size == PACKET_SAMPLES
        header = context.extradata
        assert header is not None  # the OpusHead of RFC 7845 section 5.1
        self.pre_skip = int.from_bytes(header[10:12], "little")
        self._context = context
        self._position = 0

    def encode(self, pcm: Pcm) -> bytes:
        """Encode exactly PACKET_SAMPLES samples, (320,) int16, to one packet."""
        frame = av.AudioFrame.from_ndarray(pcm.reshape(1, PACKET_SAMPLES), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = self._position
        frame.time_base = Fraction(1, SAMPLE_RATE)
        self._position += PACKET_SAMPLES
        (packet,) = self._context.encode(frame)
        return bytes(packet)


class PcmEncoder:
    """No compression: for a server without an Opus decoder."""

    name = "pcm"
    pre_skip = 0

    def encode(self, pcm: Pcm) -> bytes:
        """Little-endian int16, PACKET_SAMPLES samples."""
        return pcm.astype("<i2").tobytes()


def delay_samples(encoder: Encoder) -> int:
    """The encoder's delay in samples at 16 kHz, rounded up."""
    return int(np.ceil(encoder.pre_skip * SAMPLE_RATE / _OPUS_RATE))
