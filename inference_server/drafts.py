"""When the words of an utterance that is still being spoken are shown, and which are. Pure: time is an argument.

Each utterance has a draft every so often. Each one puts the next off by three times its length, whoever's it is, so
that
few are made when many speak. In a pause one is always due: those come on top, bounded by how often people pause. A
draft never follows the note of its utterance.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

_ENDED = 256  # utterances remembered as ended
_SHARE = 3  # one part of the time in this many


@dataclass(slots=True)
class Drafts:
    """Keys name utterances; times are seconds of one clock."""

    every_s: float
    _due: dict[str, float] = field(default_factory=dict)
    _rest_until: float = 0.0
    _ended: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _shown: dict[str, dict[str, Any]] = field(default_factory=dict)

    def due(self, key: str, now: float, pause: bool) -> bool:
        """Whether to make a draft now; True counts as made. In a pause one is always due: it may become the note."""
        if key in self._ended or (not pause and now < max(self._rest_until, self._due.get(key, 0.0))):
            return False
        self._due[key] = now + self.every_s
        return True

    def made(self, begun: float, ended: float) -> None:
        """A draft took this long: rest accordingly."""
        self._rest_until = max(self._rest_until, begun) + _SHARE * (ended - begun)

    def show(self, key: str, draft: dict[str, Any], noting: bool) -> bool:
        """Whether viewers should be told `draft`: it says something, and something new.

        `noting`: it is the note itself, as it forms. Other drafts come too late once the utterance has ended.
        """
        if (key in self._ended and not noting) or not draft["text"] or self._shown.get(key) == draft:
            return False
        self._shown[key] = draft
        return True

    def end(self, key: str) -> None:
        """The utterance is complete: no draft of it is due or shown any more."""
        self._ended[key] = None
        self._due.pop(key, None)
        while len(self._ended) > _ENDED:
            self._ended.popitem(last=False)

    def forget(self, key: str) -> None:
        """Its note, or why there is none, has taken the draft's place."""
        self._shown.pop(key, None)

    @property
    def shown(self) -> list[dict[str, Any]]:
        """What viewers see now."""
        return list(self._shown.values())
