"""How long to wait before the next attempt: exponential with full jitter, from an injected Random."""

from dataclasses import dataclass
from random import Random


@dataclass(slots=True)
class Backoff:
    """Delays that double from `first_s` up to `longest_s`, each drawn from [half, whole] so that devices spread out."""

    first_s: float
    longest_s: float
    random: Random
    _failures: int = 0

    def next_s(self) -> float:
        """Seconds to wait after one more failure."""
        ceiling = min(self.longest_s, self.first_s * 2.0 ** min(self._failures, 60))
        self._failures += 1
        return ceiling * self.random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """A success: start again from `first_s`."""
        self._failures = 0
