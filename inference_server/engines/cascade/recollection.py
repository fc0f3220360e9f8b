"""What was just recognised, kept for a moment: words heard ahead of an utterance's end serve when it ends in silence.

While a person pauses, the words so far are recognised. If the person goes on, nothing is lost; if not, the finished
utterance is the same audio with more silence behind it, and its words are known or nearly so.
"""

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import blake2b

from agent.audio import Pcm, n_samples
from inference_server.engines.cascade.recogniser import Heard

KEPT = 16
TAIL = n_samples(0.1)  # silence that the earlier audio must end in: the last word's end may not be cut off


@dataclass(frozen=True, slots=True)
class _Recognition:
    n_samples: int
    digest: bytes
    heard: "Future[Heard]"


class Recollection:
    """The newest recognitions, done or under way. Thread-safe: a deque's append and copy are."""

    def __init__(self) -> None:
        self._recent: deque[_Recognition] = deque(maxlen=KEPT)

    def keep(self, audio: Pcm, heard: "Future[Heard]") -> None:
        """`audio` is being recognised."""
        self._recent.append(_Recognition(len(audio), _digest(audio), heard))

    def find(self, audio: Pcm, spoken: int) -> "Future[Heard] | None":
        """What was recognised of a beginning of `audio` that holds all its words: nothing is said after `spoken`."""
        enough = min(spoken + TAIL, len(audio))
        for known in reversed(self._recent.copy()):
            if enough <= known.n_samples <= len(audio) and known.digest == _digest(audio[: known.n_samples]):
                return known.heard
        return None


def _digest(audio: Pcm) -> bytes:
    return blake2b(audio.tobytes(), digest_size=16).digest()
