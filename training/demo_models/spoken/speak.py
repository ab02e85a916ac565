"""A template's command as somebody would speak it: `speak`, for training only.

What is meant stays and so does the thinking; the sentence speaks of what one does with such a thing, names it in one of
a few hundred ways, or only says what it is needed for. The words are in ``words.json`` and ``sentences.json``: ``{x}``
is what is meant, ``{n}`` and ``{s}`` its noun and plural, ``{c}`` its colour, ``<who>`` a word of the slot "who".
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segzero_ros.tabletop.language import wordings
from training.demo_models.paraphrase import (
    CLAUSES,
    KIND_OF,
    NOUN,
    SINGULAR,
    USE_OF,
    USE_THAT,
    pattern_of,
    pick,
    unframe,
)
from training.demo_models.supervised_text import Thing

_HERE = Path(__file__).parent
WORDS: Mapping[str, Any] = json.loads((_HERE / "words.json").read_text(encoding="utf-8"))
SENTENCES: Mapping[str, Any] = json.loads((_HERE / "sentences.json").read_text(encoding="utf-8"))
SHARES = {"implied": 0.12, "clause": 0.4, "rephrased": 0.6, "renamed": 0.6, "described": 0.08, "determined": 0.2}
OF_KIND, OF_ANY = 0.5, 0.85  # of the sentences: of the kind of thing; those up to here of any; the bare phrase else
_SLOT = re.compile(r"<(\w+)>")
_DETERMINERS = ("that", "my", "this", "our")


def _patterns(
    tables: Mapping[str, wordings.Wordings], more: Mapping[str, Sequence[str]], form: str
) -> list[tuple[re.Pattern[str], Sequence[str]]]:
    """What the templates make, the longest first, each with the spoken ways to say it."""
    found = [(form.format(text), more[key]) for key, table in tables.items() for text in table.seen]
    return [(pattern_of(text), options) for text, options in sorted(found, key=lambda pair: -len(pair[0]))]


_RELATIONS = _patterns({**wordings.SIDES, "nearest": wordings.NEAREST}, SENTENCES["sides"], "{}")  # type: ignore[dict-item]
_PLACES = _patterns(wordings.EXTREMES, SENTENCES["extremes"], "the {}")  # type: ignore[arg-type]
_SIZES = _patterns(wordings.SIZES, SENTENCES["sizes"], "the {}")  # type: ignore[arg-type]
_EVERY = _patterns({"": wordings.Wordings(tuple(t for t in wordings.EVERY.seen if "{s}" in t), ())},
                   {"": SENTENCES["every"]}, "{}")  # fmt: skip
_COLOURED = re.compile(rf"the (\w+) ({'|'.join(KIND_OF)})|the plants? (?:in|with) the (\w+) pot")


def speak(text: str, kind: str, targets: Sequence[int], things: Mapping[int, Thing], rng: np.random.Generator) -> str:
    """``text`` in spoken words of the same meaning; ``kind`` is the instruction's type, ``things`` the picture's."""
    if text in USE_OF:
        return filled(pick(SENTENCES["for"][USE_OF[text]], rng), rng)
    if match := USE_THAT.fullmatch(text):
        return filled(pick(SENTENCES["for"][USE_OF[match[1]]], rng).rstrip("?"), rng) + match[2]
    frame, phrase = unframe(text)
    if kind == "attribute" and _is_named(phrase, targets, things) and rng.random() < SHARES["implied"]:
        thing = things[targets[0]]
        return filled(pick(SENTENCES["implied"][thing.kind], rng), rng).format(c=thing.colour)
    of = _kind_in(phrase) or (things[targets[0]].kind if targets else None)
    many = kind == "several" and not re.match(r"(every|each) (?!.*s\b)", phrase)
    if rng.random() < SHARES["rephrased"]:
        phrase = _rephrased(phrase, kind, rng)
    phrase = NOUN.sub(lambda noun: _renamed(noun[0], rng), phrase)
    if kind != "several":
        phrase = _described(phrase, kind, rng)
    if frame in CLAUSES and rng.random() < SHARES["clause"]:
        return frame.format(phrase)
    return filled(_sentence(of, many, rng), rng).format(x=phrase)


def filled(sentence: str, rng: np.random.Generator) -> str:
    """The sentence with a word in each of its slots."""
    return _SLOT.sub(lambda slot: pick(WORDS["slots"][slot[1]], rng), sentence)


def _is_named(phrase: str, targets: Sequence[int], things: Mapping[int, Thing]) -> bool:
    """Whether the phrase is colour and kind alone, of one thing: of its kind no other has that colour."""
    match = _COLOURED.fullmatch(phrase)
    return match is not None and len(targets) == 1 and things[targets[0]].colour in match.groups()


def _kind_in(phrase: str) -> str | None:
    """The kind that the phrase names first."""
    match = NOUN.search(phrase)
    return KIND_OF[SINGULAR.get(match[0], match[0])] if match else None


def _sentence(kind: str | None, many: bool, rng: np.random.Generator) -> str:
    how = rng.random()
    if how < OF_KIND and kind is not None:
        return pick(SENTENCES["many_of_kind" if many else "of_kind"][kind], rng)
    return pick(SENTENCES["of_many" if many else "of_any"], rng) if how < OF_ANY else "{x}"


def _rephrased(phrase: str, kind: str, rng: np.random.Generator) -> str:
    if kind == "several":
        return _of_noun(phrase, _EVERY, rng)
    for pattern, more in _RELATIONS if kind in ("spatial", "absent") else ():
        if (match := pattern.fullmatch(phrase)) and match[2].startswith("the "):
            return pick(more, rng).format(match[1], match[2])
    return _of_noun(phrase, {"spatial": _PLACES, "comparison": _SIZES}.get(kind, ()), rng)


def _of_noun(phrase: str, patterns: Sequence[tuple[re.Pattern[str], Sequence[str]]], rng: np.random.Generator) -> str:
    """Said otherwise where it ends with a noun whose plural is known; with at most a colour before it."""
    for pattern, more in patterns:
        match = pattern.fullmatch(phrase)
        if match is None:
            continue
        before, _, noun = match[1].rpartition(" ")
        if " " in before or noun not in {**KIND_OF, **SINGULAR}:
            return phrase
        single = f"{before} {SINGULAR.get(noun, noun)}".strip()
        return pick(more, rng).format(n=single, s=wordings.plural(single))
    return phrase


def _renamed(noun: str, rng: np.random.Generator) -> str:
    if rng.random() > SHARES["renamed"]:
        return noun
    single = SINGULAR.get(noun, noun)
    names = WORDS["nouns"][KIND_OF[single]]
    if noun == single:
        return pick(names, rng)
    return plural(pick([name for name in names if not re.search(r" (of|with) |cuppa", name)], rng))


def plural(noun: str) -> str:
    """The plural of a noun of ``words.json``."""
    if re.search(r"[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if re.search(r"(s|x|sh|ch)$", noun) else f"{noun}s"


def _described(phrase: str, kind: str, rng: np.random.Generator) -> str:
    if rng.random() < SHARES["described"]:
        phrase = re.sub(r"^the (?!one|left|right)", f"the {pick(WORDS['slots']['adj'], rng)} ", phrase)
    if kind in ("attribute", "absent") and rng.random() < SHARES["determined"]:
        phrase = re.sub(r"^the ", f"{pick(_DETERMINERS, rng)} ", phrase)
    return phrase
