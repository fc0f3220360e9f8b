"""Speech probability of each 16 ms window: WebRTC VAD as the cheap gate, earshot as the judge.

The gate may only veto: while WebRTC has heard nothing voiced for `gate_hold_s`, the probability is 0. Both
detectors always hear everything, so the judge's memory never has holes.
"""

import earshot
import webrtcvad

from agent.audio import SAMPLE_RATE, Pcm, Rechunker, n_samples
from agent.config import Vad as VadConfig

WINDOW = 256  # earshot's fixed window at 16 kHz, 16 ms
GATE_WINDOW = 320  # WebRTC takes 10, 20 or 30 ms


class Vad:
    """Turns PCM into speech probabilities, one per `WINDOW` samples, in order."""

    def __init__(self, config: VadConfig) -> None:
        self._mode = config.gate_mode
        self._gate = webrtcvad.Vad(self._mode)
        self._gate_windows = Rechunker(GATE_WINDOW)
        self._hold = n_samples(config.gate_hold_s)
        self._judge = earshot.Detector()
        self._heard = 0  # samples the gate has judged
        self._open_until = 0  # in samples judged
        self._position = 0

    def push(self, window: Pcm) -> float:
        """Probability that `window`, (WINDOW,) int16, is speech."""
        for gate_window in self._gate_windows.push(window):
            self._heard += GATE_WINDOW
            if self._gate.is_speech(gate_window.tobytes(), SAMPLE_RATE):
                self._open_until = self._heard + self._hold
        self._position += len(window)
        probability = float(self._judge.predict_i16(window))
        return probability if self._position <= self._open_until + GATE_WINDOW else 0.0

    def reset(self) -> None:
        """Forget the past: the audio broke off in a gap."""
        self._gate = webrtcvad.Vad(self._mode)  # a new one: it has no reset, and it remembers the noise
        self._judge.reset()
        self._gate_windows.flush()
        self._heard = self._open_until = self._position = 0
