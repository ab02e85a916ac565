"""What the questions that join several things are made of: forms of nouns, phrases, thinking about landmarks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Literal

from segzero_ros.tabletop.language import composed_wordings as composed
from segzero_ros.tabletop.language import wordings as words
from segzero_ros.tabletop.language.query import Beside, Between, Nearest, Noun, Nth, Query, candidates, meaning
from segzero_ros.tabletop.language.speaker import (
    Draft,
    Piece,
    Speaker,
    choice,
    clear_things,
    conclude,
    found_one,
    listed,
    unique_noun,
)
from segzero_ros.tabletop.language.uses import Use
from segzero_ros.tabletop.things import Colour
from segzero_ros.tabletop.view import SeenThing, View

Form = Literal["kind", "colour", "both", "without", "any"]
Maker = Callable[[Speaker], Draft | None]
KEPT_APART: frozenset[tuple[str, Form]] = frozenset(
    {
        ("leftmost", "without"),
        ("rearmost", "both"),
        ("second rightmost", "both"),
        ("third leftmost", "colour"),
        ("biggest", "without"),
        ("behind", "without"),
        ("between", "without"),
        ("nearest", "without"),
    }
)
"""What is joined with which form of noun in the test split only."""


def form_of(noun: Noun) -> Form:
    """Which of its parts a noun has."""
    if noun.without is not None:
        return "without"
    if noun.kind is None:
        return "colour" if noun.colour is not None else "any"
    return "both" if noun.colour is not None else "kind"


def joined(speaker: Speaker, what: str, noun: Noun) -> bool:
    """Whether the split may join these; noted when only the test split does."""
    apart = (what, form_of(noun)) in KEPT_APART
    if apart and speaker.split != "test":
        return False
    speaker.unseen = speaker.unseen or apart
    return True


def said(speaker: Speaker, phrase: str) -> str:
    """The phrase in a frame, one time in five in a clause that speaks of other things."""
    if speaker.rng.random() < 0.2:
        return speaker.word(composed.CLAUSES).format(phrase)
    return speaker.frame(phrase)


def phrase_of(speaker: Speaker, noun: Noun) -> str:
    """The noun without an article, ending with the noun itself but for "that is not red"."""
    if noun.without is not None:
        return speaker.word(composed.JOINED_WITHOUT).format(speaker.simple_noun(Noun(noun.kind)), c=noun.without)
    return speaker.word(words.ANYTHING) if noun == Noun() else speaker.simple_noun(noun)


def _nouns(speaker: Speaker, least: int) -> list[Noun]:
    """Nouns of every form that fit at least so many clear things, and not all that could be mistaken for them."""
    things, clear = speaker.view.things, clear_things(speaker.view)
    kinds, colours = {t.kind for t in clear}, {t.colour for t in clear}
    both = {(t.kind, t.colour) for t in clear}
    options = [Noun(kind, colour) for kind, colour in sorted(both)]
    options += [Noun(None, colour) for colour in sorted(colours)]
    options += [Noun(kind, None, colour) for kind, colour in sorted(both) if kind != "plant"]
    options += [Noun(kind) for kind in sorted(kinds)]
    fitting = [noun for noun in options if sum(noun.fits(t) for t in clear) >= least]
    return [*fitting, Noun()] if len(things) >= max(least, 3) else fitting


_WEIGHTS: Mapping[Form, float] = {"both": 5, "colour": 1.5, "without": 2, "any": 0.7, "kind": 1}


def pick_noun(
    speaker: Speaker, forms: Collection[Form], least: int, asking: Callable[[Noun], Query] | None = None
) -> Noun | None:
    """One of the nouns of these forms, those of colour and kind most often; asked so, it means exactly one thing."""
    options = [noun for noun in _nouns(speaker, least) if form_of(noun) in forms]
    if asking is not None:
        options = [noun for noun in options if found_one(asking(noun), speaker.view)]
    if not options:
        return None
    weights = [_WEIGHTS[form_of(noun)] for noun in options]
    total = sum(weights)
    return options[int(speaker.rng.choice(len(options), p=[weight / total for weight in weights]))]


# --- words


def say_nth(speaker: Speaker, query: Nth) -> str | None:
    """As "the second mug from the left"; None where the split may not say so."""
    ordinal = composed.ORDINALS[query.rank]
    if not joined(speaker, f"{ordinal} {query.side}", query.noun):
        return None
    phrase = speaker.word(composed.NTH[query.side]).format(phrase_of(speaker, query.noun), n=ordinal)
    return said(speaker, f"the {phrase}")


def landmark(speaker: Speaker) -> tuple[Noun, SeenThing] | None:
    """A thing and a noun that fits it alone."""
    thing = choice(clear_things(speaker.view), speaker.rng)
    return named_alone(speaker, thing) if thing else None


def named_alone(speaker: Speaker, thing: SeenThing) -> tuple[Noun, SeenThing] | None:
    """The thing and a noun that fits it alone, if one does."""
    noun = unique_noun(thing, speaker.view, speaker.rng)
    return (noun, thing) if noun else None


def say_used(speaker: Speaker, use: Use, colour: Colour) -> str:
    """As "something to drink from, the red one"; no questions, which nothing can follow."""
    options = speaker.lexicon.use_wordings[use]
    plain = words.Wordings(*(tuple(t for t in texts if "?" not in t) for texts in (options.seen, options.unseen)))
    return speaker.word(composed.USED).format(speaker.word(plain), c=colour)


def say_related(speaker: Speaker, wordings: words.Wordings, noun: Noun, anchor: Noun) -> str:
    """As "the red mug left of the blue bowl"."""
    phrase = speaker.word(wordings).format(f"the {phrase_of(speaker, noun)}", f"the {speaker.simple_noun(anchor)}")
    return said(speaker, phrase)


def _stones(query: Beside | Nearest | Between, view: View) -> list[SeenThing]:
    anchors = (query.anchor, query.other) if isinstance(query, Between) else (query.anchor,)
    return [stone for anchor in anchors for stone in candidates(anchor, view)]


def think_related(view: View, query: Beside | Nearest | Between, word: str) -> tuple[Piece, ...]:
    """The landmarks, then the candidates, then the one meant; "None" when it means nothing."""
    stones = _stones(query, view)
    others = [t for t in candidates(query.noun, view) if t.id not in {stone.id for stone in stones}]
    found = meaning(query, view)
    end: list[Piece] = conclude(word, view.thing(found[0])) if found else [f". {word}: none."]
    return (*listed(stones), ". ", *listed(others), *end)
