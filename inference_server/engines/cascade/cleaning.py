"""From words as recognised to words worth reading: fillers and false starts out, nothing added. Pure.

Only words that were heard ever come out, in the order they were heard.
"""

import re

_FILLER = re.compile(r"^(?:u+[hm]+|e+r+m?|a+h+|h+m+|m+h*m+|mhm)$", re.IGNORECASE)
_BRACKETED = re.compile(r"\[[^\]]*\]|\([^)]*\)|[♪♫]+")
_SPEECH_TAGS = re.compile(r",?\s*\b(?:you know|I mean|sort of|kind of like)\s*,", re.IGNORECASE)
_LONGEST_RESTART = 4  # words that may be said again before it counts as meant
_KEEP_DOUBLED = {
    "that",
    "had",
    "very",
    "really",
    "no",
    "yes",
    "yeah",
    "bye",
    "so",
    "far",
    "many",
    "long",
    "much",
    "never",
    "again",
}
_TODO = re.compile(
    r"\b(?:to[- ]?do|action item|remember to|remind (?:me|us|him|her|them)|don't forget|needs? to|have to|has to|must|"
    r"let's|please|make sure|follow up|(?:i|we|he|she|they|you)(?:'ll| will) \w+|"
    r"(?:send|finish|deliver|call|book|buy|submit)s?\b.*"
    r"\b(?:by|before|until|on) (?:monday|tuesday|wednesday|thursday|friday|saturday|"
    r"sunday|tomorrow|tonight|next|the end))\b",
    re.IGNORECASE,
)


def without_marks(text: str) -> str:
    """The words alone: music signs and bracketed remarks of the recogniser are not speech."""
    return " ".join(_BRACKETED.sub(" ", text).split())


def clean(heard: str) -> str:
    """The note of what was heard: without fillers, stutters and false starts; capitalised, with an end mark."""
    text = _SPEECH_TAGS.sub(lambda match: "," if match.group().startswith(",") else " ", without_marks(heard))
    words = [_one_mark(word) for word in text.split() if re.search(r"\w", word)]
    words = [word for word in words if not _FILLER.match(word.strip(".,;:!?…-"))]
    words = _without_restarts(words)
    text = re.sub(r"\s+([,.;:!?])", r"\1", " ".join(words)).strip(" ,;-")
    if not text:
        return ""
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?…\"'”" else text + "."


def _one_mark(word: str) -> str:
    """The recogniser sometimes doubles an end mark."""
    return re.sub(r"([,;:!?])\1+", r"\1", word)


def _without_restarts(words: list[str]) -> list[str]:
    """Keep the second of two equal runs of words that follow each other: the person began again."""
    kept: list[str] = []
    for word in words:
        kept.append(word)
        for n in range(_LONGEST_RESTART, 0, -1):
            if len(kept) >= 2 * n and _restarted(kept[-2 * n : -n], kept[-n:]):
                first = kept[-2 * n]
                del kept[-2 * n : -n]
                if first[:1].isupper() and len(kept) == n:
                    kept[0] = kept[0][:1].upper() + kept[0][1:]
                break
    return kept


def _restarted(before: list[str], again: list[str]) -> bool:
    if any(word[-1] in ".!?" for word in before):
        return False  # a sentence that ended was meant
    plain = [word.strip(",;-…—").casefold() for word in before]
    if plain != [word.rstrip(".,;:!?-…—").casefold() for word in again]:
        return False
    return len(plain) > 1 or not (plain[0] in _KEEP_DOUBLED or plain[0].isdecimal() or plain[0] == "")


def is_todo(note: str) -> bool:
    """Whether somebody took or gave a task in these words; a question never does."""
    return bool(_TODO.search(note)) and not note.endswith("?")
