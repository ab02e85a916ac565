"""How instructions are put together: whose words are chosen, what thinking is made of, which things there are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from segzero_ros.tabletop.language import wordings as words
from segzero_ros.tabletop.language.lexicon import Lexicon, lexicon
from segzero_ros.tabletop.language.query import Noun, Query, meaning
from segzero_ros.tabletop.language.wordings import Wordings
from segzero_ros.tabletop.scene import Grammar, Split
from segzero_ros.tabletop.view import SeenThing, View

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mention:
    """Words of the thinking that name a thing."""

    words: str
    id: int


@dataclass(frozen=True, slots=True)
class At:
    """The place in the thinking where a thing's point stands, as "(x,y)"."""

    id: int


Piece = str | Mention | At


@dataclass(slots=True)
class Speaker:
    """Chooses words for one view of one split; `unseen` tells whether one was the test split's own."""

    view: View
    split: Split
    rng: np.random.Generator
    grammar: Grammar = "plain"
    unseen: bool = False

    @property
    def lexicon(self) -> Lexicon:
        """What may be named in the view's world."""
        return lexicon(self.view.scene.world)

    def pick(self, options: Sequence[str]) -> str:
        """One of the options."""
        return options[int(self.rng.integers(len(options)))]

    def word(self, wordings: Wordings) -> str:
        """One of the seen wordings, or in the test split now and then an unseen one."""
        if self.split == "test" and self.rng.random() < 0.2:
            self.unseen = True
            return self.pick(wordings.unseen)
        return self.pick(wordings.seen)

    def frame(self, phrase: str, frames: Wordings = words.FRAMES) -> str:
        """The bare phrase a third of the time, else within a sentence."""
        return phrase if self.rng.random() < 0.33 else self.word(frames).format(phrase)

    def noun(self, noun: Noun) -> str:
        """The noun without an article, as "red mug"."""
        if noun.kind is None:
            return f"{noun.colour} {self.word(words.ANYTHING)}"
        if noun.colour is None:
            return self.word(self.lexicon.kind_words[noun.kind])
        if noun.kind == "plant":
            return self.word(words.COLOURED_PLANT).format(noun.colour)
        return f"{noun.colour} {self.word(self.lexicon.kind_words[noun.kind])}"

    def simple_noun(self, noun: Noun) -> str:
        """As `noun`, but ending with the noun itself, for plurals."""
        if noun.kind == "plant" and noun.colour is not None:
            return f"{noun.colour} pot plant"
        return self.noun(noun)


@dataclass(frozen=True, slots=True)
class Draft:
    """Words, meaning and thinking of an instruction whose truth has not been looked up yet."""

    text: str
    query: Query
    thinking: tuple[Piece, ...]


# --- thinking


def spot(thing: SeenThing) -> list[Piece]:
    """The thing's name and its point."""
    return [Mention(thing.name, thing.id), " ", At(thing.id)]


def listed(things: Sequence[SeenThing]) -> list[Piece]:
    """Names and points."""
    pieces: list[Piece] = []
    for thing in things:
        pieces += [*([", "] if pieces else []), *spot(thing)]
    return pieces


def numbered(things: Sequence[SeenThing]) -> list[Piece]:
    """Names and points, counted: "1 red mug (40,60), 2 blue mug (75,58)"."""
    pieces: list[Piece] = []
    for number, thing in enumerate(things, 1):
        pieces += [f"{', ' if pieces else ''}{number} ", *spot(thing)]
    return pieces


def named(things: Sequence[SeenThing]) -> list[Piece]:
    """Names only."""
    pieces: list[Piece] = []
    for thing in things:
        pieces += [*([", "] if pieces else []), Mention(thing.name, thing.id)]
    return pieces


def conclude(word: str, thing: SeenThing) -> list[Piece]:
    """The last sentence: which one it is, and why."""
    return [f". {word}: ", Mention(thing.name, thing.id), "."]


def thinking_tokens(thinking: Sequence[Piece], view: View, side: int = 168) -> int:
    """How many tokens the thinking has at most.

    Words, punctuation marks and digits counted singly, points in pixels of a square picture of this side.
    """
    return len(re.findall(r"[A-Za-z]+|\d|[^\sA-Za-z\d]", spell(thinking, view, side)))


def spell(thinking: Sequence[Piece], view: View, side: int = 168) -> str:
    """The thinking as text, points in pixels of a square picture of this side."""
    width, height = view.size

    def text(piece: Piece) -> str:
        match piece:
            case Mention(name, _):
                return name
            case At(number):
                x, y = view.thing(number).point
                return f"({int(x * side / width)},{int(y * side / height)})"
        return piece

    return "".join(map(text, thinking))


# --- things to speak of


def clear_things(view: View) -> list[SeenThing]:
    """What may be asked about, left to right."""
    return [thing for thing in view.things if thing.clear]


def choice(options: Sequence[T], rng: np.random.Generator) -> T | None:
    """One of the options, None where there is none."""
    return options[int(rng.integers(len(options)))] if options else None


def unique_noun(thing: SeenThing, view: View, rng: np.random.Generator, *, colour_only: bool = False) -> Noun | None:
    """A noun that fits only this thing: by kind alone when that is enough (often), else with its colour."""
    alone_by_kind = sum(t.kind == thing.kind for t in view.things) == 1
    alone_by_colour = sum(t.colour == thing.colour for t in view.things) == 1
    if colour_only and alone_by_colour and rng.random() < 0.2:
        return Noun(None, thing.colour)
    if alone_by_kind and rng.random() < 0.4:
        return Noun(thing.kind)
    if sum(t.name == thing.name for t in view.things) == 1:
        return Noun(thing.kind, thing.colour)
    return None


def group_of_kind(speaker: Speaker, least: int) -> list[SeenThing]:
    """Clear things of one kind, at least so many, at random."""
    clear = clear_things(speaker.view)
    counts = Counter(thing.kind for thing in clear)
    kind = choice([kind for kind in speaker.lexicon.kinds if counts[kind] >= least], speaker.rng)
    return [thing for thing in clear if thing.kind == kind]


def found_one(query: Query, view: View) -> SeenThing | None:
    """The one thing the query means, if it means exactly one."""
    found = meaning(query, view)
    return view.thing(found[0]) if found is not None and len(found) == 1 else None
