"""Whether recognised words can have been said. Small recognisers invent words over noise: no note may come of it.

Three witnesses must agree: the agent's detector opened the utterance, the server's detector heard speech in it,
and the words fit the length of that speech. Pure.
"""

import re
from dataclasses import dataclass

from inference_server.words import tokens

LEAST_SPEECH_S = 0.1  # less than a syllable
MOST_WORDS_PER_S = 7.5  # the fastest speakers stay below 6 over a phrase
_LOOP_WORDS = 12  # a shorter text may be a chant
_LOOP_TURNS = 4
_LOOP_SHARE = 0.6  # of the text
# What small recognisers say over silence and music, from their training on captioned videos.
_PHANTOMS = frozenset(
    {"you", "thank you", "thanks for watching", "thank you for watching", "thank you very much", "bye", "bye bye"}
    | {"please subscribe", "the end", "subtitles by the amara org community", "i'm sorry", "so", "oh", "hmm"}
)
_PHANTOM_SPEECH_S = 0.35  # over less real speech than this such a phrase is not believed


@dataclass(frozen=True, slots=True)
class Judgement:
    """`outcome` is noted, silence or unintelligible; `reason` says why it is not noted."""

    outcome: str
    reason: str = ""


def judge(words: str, speech_s: float, duration_s: float) -> Judgement:
    """Judge `words` (marks removed) over an utterance in which the second detector heard `speech_s`."""
    if speech_s < LEAST_SPEECH_S:
        return Judgement("silence", "the second detector heard no speech")
    said = tokens(words)
    if not said:
        return Judgement("unintelligible", "speech without words")
    phrase = " ".join(re.findall(r"[a-z']+", words.casefold()))
    if phrase in _PHANTOMS and not _PHANTOM_SPEECH_S <= speech_s <= len(said) + 0.5:
        return Judgement("unintelligible", "a phrase that recognisers make up, and no speech of its length")
    if len(said) > MOST_WORDS_PER_S * max(speech_s, 0.3) + 3:
        return Judgement("unintelligible", "more words than fit the speech")
    if loops(said):
        return Judgement("unintelligible", "the recogniser went round in circles")
    if duration_s > 4.0 and len(said) <= 2 and speech_s < 0.1 * duration_s:
        return Judgement("unintelligible", "hardly any speech")
    return Judgement("noted")


def loops(said: list[str]) -> bool:
    """Whether one run of words follows itself again and again over most of the text. Speakers repeat words, too, but
    with others between."""
    if len(said) < _LOOP_WORDS:
        return False
    for n in range(1, len(said) // _LOOP_TURNS + 1):
        longest = chain = 0
        for at in range(n, len(said)):
            chain = chain + 1 if said[at] == said[at - n] else 0
            longest = max(longest, chain)
        if longest + n >= max(_LOOP_TURNS * n, _LOOP_SHARE * len(said)):
            return True
    return False
