"""Headings without a language model: the words and phrases that a topic keeps coming back to. Pure.

Every word of a heading was said.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from inference_server.words import STOP_WORDS, stem, tokens

_LONGEST = 5  # words of a heading
_FEWEST = 4  # notes; the first words of fewer say more than any statistics
_COMES_BACK = 2  # notes in which a word must occur


def title(notes: Sequence[str]) -> str:
    """A heading of a few words for these notes, oldest first; "" while nothing comes back often enough."""
    weights: Counter[str] = Counter()
    spelled: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for note in notes:
        for root, word in _content(note):
            spelled[root][word] += 1
        weights.update({root for root, _ in _content(note)})
    if len(notes) < _FEWEST or not weights or weights.most_common(1)[0][1] < _COMES_BACK:
        return ""
    phrase = _best_phrase(notes, weights)
    heading = " ".join(word for _, word in phrase)
    named = {root for root, _ in phrase}
    rest = [root for root, n in weights.most_common(_LONGEST) if root not in named and n >= _COMES_BACK]
    if len(phrase) <= 2 and rest:
        heading += f", {spelled[rest[0]].most_common(1)[0][0]}"
    return heading[:1].upper() + heading[1:]


def _content(note: str) -> list[tuple[str, str]]:
    return [
        (stem(word), word)
        for word in tokens(note)
        if word not in STOP_WORDS and not (word.isdecimal() and len(word) < 3)
    ]


def _best_phrase(notes: Sequence[str], weights: Counter[str]) -> list[tuple[str, str]]:
    """The run of neighbouring content words with the most weight for its length; earlier ones win ties."""
    best: list[tuple[str, str]] = []
    best_score = 0.0
    for note in notes:
        for run in _runs(note):
            for start in range(len(run)):
                for end in range(start + 1, min(len(run), start + _LONGEST) + 1):
                    phrase = run[start:end]
                    score = sum(weights[root] * len(word) ** 0.5 for root, word in phrase) / math.sqrt(len(phrase))
                    if score > best_score:
                        best, best_score = phrase, score
    return best


def _runs(note: str) -> list[list[tuple[str, str]]]:
    runs: list[list[tuple[str, str]]] = [[]]
    for word in tokens(note):
        if word in STOP_WORDS:
            runs.append([])
        else:
            runs[-1].append((stem(word), word))
    return [run for run in runs if run]
