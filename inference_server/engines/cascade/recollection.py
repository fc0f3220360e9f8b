"""What was just recognised, kept for a moment: words heard ahead of an utterance's end serve when it ends in silence.

While a person pauses, the words so far are recognised. If the person goes on, nothing is lost; if not, the
finished utterance is the same audio with more silence behind it, and its words are known or nearly so.
"""

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import blake2b

from agent.audio import Pcm, n_samples
from agent.config import Segmenter as SegmenterConfig
from agent.config import Vad as VadConfig
from agent.vad import WINDOW, Vad
from inference_server.engines.cascade.recogniser import Heard

_KEPT = 16
_CONTEXT = n_samples(1.0)  # what the detector hears before it is asked
_QUIET_BEFORE = n_samples(0.15)  # silence that the earlier audio must end in: a word's end may not be cut off


@dataclass(frozen=True, slots=True)
class _Recognition:
    n_samples: int
    digest: bytes
    heard: "Future[Heard]"


class Recollection:
    """The newest recognitions, done or under way. Thread-safe: a deque's append and copy are."""

    def __init__(self) -> None:
        self._recent: deque[_Recognition] = deque(maxlen=_KEPT)

    def keep(self, audio: Pcm, heard: "Future[Heard]") -> None:
        """`audio` is being recognised."""
        self._recent.append(_Recognition(len(audio), _digest(audio), heard))

    def find(self, audio: Pcm) -> "Future[Heard] | None":
        """What was recognised of the longest known beginning of `audio`, if nothing is said in the rest."""
        for known in sorted(self._recent.copy(), key=lambda known: -known.n_samples):
            if known.n_samples <= len(audio) and known.digest == _digest(audio[: known.n_samples]):
                return known.heard if _silent_from(audio, known.n_samples - _QUIET_BEFORE) else None
        return None


def _digest(audio: Pcm) -> bytes:
    return blake2b(audio.tobytes(), digest_size=16).digest()


def _silent_from(audio: Pcm, start: int) -> bool:
    """Whether the agent's own detector hears no speech in `audio` from `start` on."""
    vad, threshold = Vad(VadConfig()), SegmenterConfig().offset
    begin = max(0, start - _CONTEXT)
    windows = range(begin, len(audio) - WINDOW + 1, WINDOW)
    return all(vad.push(audio[at : at + WINDOW]) < threshold or at + WINDOW <= start for at in windows)
