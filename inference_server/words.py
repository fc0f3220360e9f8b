"""Words of content: what retrieval and headings compare. Latin words are stemmed, CJK text is cut into bigrams."""

import re
from functools import lru_cache

_TOKEN = re.compile(r"[0-9A-Za-z\u00C0-\u024F\u0370-\u058F]+(?:'[A-Za-z]+)?|[\u3040-\u30FF\u3400-\u9FFF\uAC00-\uD7AF]+")
_CJK = re.compile(r"[\u3040-\u30FF\u3400-\u9FFF\uAC00-\uD7AF]")
_SUFFIXES = ("ations", "ation", "ings", "ing", "edly", "ies", "ied", "ers", "er", "ed", "es", "ly", "s")
STOP_WORDS = frozenset(
    """a about after again all almost already also always am an and any anyone anything are as at away be because
    been before being both but by can can't cannot come could couldn't did didn't do does doesn't doing don't
    done down each even ever every everyone everything few for from get gets getting give go goes going gone
    gonna got had hadn't has hasn't have haven't having he he'd he'll he's her here here's hers herself him
    himself his how how's i i'd i'll i'm i've if in into is isn't it it'd it'll it's its itself just kind know
    let let's like little look lot made make makes many may maybe me mean might mine more most much must my
    myself need never no none nor not nothing now of off oh ok okay on once one ones only or other others our
    ours out over own people perhaps please put quite rather really right said same saw say says see seen she
    she'd she'll she's should shouldn't so some somebody someone something somewhere sort still such sure take
    tell than thank thanks that that'll that's the their theirs them themselves then there there'll there's
    these they they'd they'll they're they've thing things think this those though through to too under until up
    upon us use used very want wants was wasn't way we we'd we'll we're we've well went were weren't what what's
    when where where's which while who who's whole whom whose why will with within without won't would wouldn't
    yeah yes yet you you'd you'll you're you've your yours yourself""".split()  # noqa: SIM905 - a list of 300 quoted words is no easier to read
)


def tokens(text: str) -> list[str]:
    """Every word of `text`, case folded, in order; runs of CJK characters as overlapping bigrams."""
    found: list[str] = []
    for run in _TOKEN.findall(text.replace("\u2019", "'")):
        if _CJK.match(run):
            found += [run[at : at + 2] for at in range(max(1, len(run) - 1))]
        else:
            found.append(run.casefold())
    return found


def content(text: str) -> list[str]:
    """The stems of the words that carry content, in order."""
    return [stem(token) for token in tokens(text) if token not in STOP_WORDS]


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """A light suffix stripper: enough that launch, launched and launching meet."""
    word = word.removesuffix("'s")
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not word.endswith("ss"):
            stemmed = word[: -len(suffix)]
            if suffix in ("ies", "ied"):
                return stemmed + "y"
            return stemmed[:-1] if len(stemmed) > 3 and stemmed[-1] == stemmed[-2] else stemmed.removesuffix("e")
    return word.removesuffix("e") if len(word) > 3 else word
