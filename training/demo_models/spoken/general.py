"""The rich world's commands in other words: `speak_generally` and `rephrased`, for training only.

`speak.py` and `paraphrase.py` know ten kinds, and what one does with them is no longer said of one kind alone. So
here no noun is renamed and nothing is said of what a thing is for, what it is like or where it is to go: the sentence
around what is meant changes, and how a side, a place or a size is said.
"""

import re

import numpy as np

from segzero_ros.tabletop.language import wordings
from segzero_ros.tabletop.language.lexicon import lexicon
from training.demo_models.paraphrase import CARRIERS, CLAUSES, NEAREST, SIDES, pattern_of, pick, rephrase, unframe
from training.demo_models.spoken.speak import SENTENCES, SHARES, filled

_KINDS = {word for table in lexicon("rich").kind_words.values() for word in (*table.seen, *table.unseen)} - {"can"}
_UNFIT = re.compile(rf"<(?!who>|room>|soon>|pet>)|\{{x\}} (in|on|under) |\b({'|'.join(_KINDS)})s?\b|jam")
_OF_ONE, _OF_MANY = ([text for text in SENTENCES[of] if not _UNFIT.search(text)] for of in ("of_any", "of_many"))
_USES = tuple({text for t in lexicon("rich").use_wordings.values() for text in (*t.seen, *t.unseen)})
_SIDES = [(text, SIDES[side]) for side, table in wordings.SIDES.items() for text in table.seen]
_SIDES = sorted([*_SIDES, *((text, NEAREST) for text in wordings.NEAREST.seen)], key=lambda pair: -len(pair[0]))
_RELATIONS = [(pattern_of(text), more) for text, more in _SIDES]
_ONE_FOR_ALL = re.compile(r"(every|each) (?!.*s\b)|everything |all that is |whatever |each and everything ")


def speak_generally(text: str, kind: str, rng: np.random.Generator) -> str:
    """``text`` in a sentence that may be said of anything; ``kind`` is the instruction's type."""
    frame, phrase = unframe(text)
    if _is_whole(text, phrase) or (frame in CLAUSES and rng.random() < SHARES["clause"]):
        return text
    many = kind == "several" and not _ONE_FOR_ALL.match(phrase)
    return filled(pick(_OF_MANY if many else _OF_ONE, rng), rng).format(x=phrase)


def rephrased(text: str, kind: str, rng: np.random.Generator) -> str:
    """``text`` with another carrier, a side, a place or a size in other words; ``kind`` is the instruction's type."""
    frame, phrase = unframe(text)
    if _is_whole(text, phrase):
        return text
    if rng.random() < 0.6:
        phrase = _said_otherwise(phrase, kind, rng)
    carrier = rng.random() < (0.3 if frame in CLAUSES else 0.7)
    return (pick(CARRIERS, rng) if carrier else frame).format(phrase)


def _is_whole(text: str, phrase: str) -> bool:
    """Whether this is a sentence of its own, which fits into no other: a question, or what something is for."""
    return phrase.endswith("?") or phrase.startswith("what ") or text.startswith(_USES)


def _said_otherwise(phrase: str, kind: str, rng: np.random.Generator) -> str:
    for pattern, more in _RELATIONS if kind == "spatial" else ():
        if (match := pattern.fullmatch(phrase)) and match[2].startswith("the "):
            return pick(more, rng).format(match[1], match[2])
    return rephrase(phrase, kind, rng)
