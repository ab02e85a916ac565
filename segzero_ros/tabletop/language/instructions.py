"""Instructions for a view, with their truth.

What is said, which things it means, and a short line of thought that leads there.

Six types: attribute, spatial, comparison, function, several, absent. Only clear ones are made (see `query.meaning`).
The thinking names things before it points at them, lists candidates left to right and always has the same form for the
same type, so that a small model can learn it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np

from segzero_ros.tabletop.language import wordings as words
from segzero_ros.tabletop.language.query import (
    USES,
    Beside,
    Every,
    Extreme,
    For,
    Most,
    Nearest,
    Noun,
    One,
    Query,
    Side,
    Size,
    Sized,
    Use,
    candidates,
    meaning,
)
from segzero_ros.tabletop.language.wordings import Wordings
from segzero_ros.tabletop.scene import Split, allowed, scene_rng
from segzero_ros.tabletop.things import COLOURS, HELD_OUT, KINDS, Colour, Kind
from segzero_ros.tabletop.view import SeenThing, View

T = TypeVar("T")
Type = Literal["attribute", "spatial", "comparison", "function", "several", "absent"]
TYPES: tuple[Type, ...] = get_args(Type)
SHARES: Mapping[Type, float] = {
    "attribute": 0.25,
    "spatial": 0.25,
    "comparison": 0.13,
    "function": 0.12,
    "several": 0.13,
    "absent": 0.12,
}
MAX_THINKING_TOKENS = 40
_TRIES = 7


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


@dataclass(frozen=True, slots=True)
class Instruction:
    """What is said to the robot about a view, and what is right.

    targets: ids left to right, empty for "absent"; query: its meaning, to be asked of later views as well
    (`targets_in`); unseen_pair: a thing it means or names is of a composition held out from training; unseen_wording:
    it is worded as only the test split is.
    """

    type: Type
    text: str
    targets: tuple[int, ...]
    thinking: tuple[Piece, ...]
    query: Query
    unseen_pair: bool
    unseen_wording: bool

    def targets_in(self, view: View) -> tuple[int, ...] | None:
        """The ids meant in another view (of the same things, moved), () for none, None when it is not clear there."""
        return meaning(self.query, view)


@dataclass(slots=True)
class _Speaker:
    """Chooses words for one view of one split."""

    view: View
    split: Split
    rng: np.random.Generator
    unseen: bool = False

    def pick(self, options: Sequence[str]) -> str:
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
            return self.word(words.KIND_WORDS[noun.kind])
        if noun.kind == "plant":
            return self.word(words.COLOURED_PLANT).format(noun.colour)
        return f"{noun.colour} {self.word(words.KIND_WORDS[noun.kind])}"

    def simple_noun(self, noun: Noun) -> str:
        """As `noun`, but ending with the noun itself, for plurals."""
        if noun.kind == "plant" and noun.colour is not None:
            return f"{noun.colour} pot plant"
        return self.noun(noun)


@dataclass(frozen=True, slots=True)
class _Draft:
    text: str
    query: Query
    thinking: tuple[Piece, ...]


def instructions(
    view: View, seed: int, split: Split, *, count: int = 8, types: Collection[Type] = TYPES
) -> list[Instruction]:
    """Up to `count` different instructions, types mixed as `SHARES` as far as the view allows.

    The same for the same view, seed and split.
    """
    rng = scene_rng(seed, split, purpose=1)
    made: list[Instruction] = []
    open_types = [t for t in TYPES if t in types]
    while open_types and len(made) < count:
        kind = _next_type(open_types, made, rng)
        instruction = make_instruction(view, kind, split, rng, avoid=made)
        if instruction is None:
            open_types.remove(kind)
        else:
            made.append(instruction)
    return made


def _next_type(types: Sequence[Type], made: Sequence[Instruction], rng: np.random.Generator) -> Type:
    """Types at random by their shares, those already there less often.

    What scenes seldom allow is tried a little more often.
    """
    seldom = {"comparison": 1.6, "spatial": 1.4, "several": 1.15, "function": 1.1}
    weights = np.array([SHARES[t] * seldom.get(t, 1.0) / (1 + 0.7 * sum(i.type == t for i in made)) for t in types])
    return types[int(rng.choice(len(types), p=weights / weights.sum()))]


def make_instruction(
    view: View, kind: Type, split: Split, rng: np.random.Generator, avoid: Sequence[Instruction] = ()
) -> Instruction | None:
    """One instruction of a type, or None when a few tries find none for this view.

    A meaning is repeated in other words only when no new one is found.
    """
    for attempt in range(_TRIES):
        speaker = _Speaker(view, split, rng)
        draft = _MAKERS[kind](speaker)
        if draft is None or any(
            draft.text == i.text or (draft.query == i.query and attempt < _TRIES - 2) for i in avoid
        ):
            continue
        targets = meaning(draft.query, view)
        if (
            targets is None
            or bool(targets) == (kind == "absent")
            or thinking_tokens(draft.thinking, view) > MAX_THINKING_TOKENS
        ):
            continue
        return Instruction(
            kind,
            draft.text,
            targets,
            draft.thinking,
            draft.query,
            _names_held_out(draft.query, targets, view),
            speaker.unseen,
        )
    return None


def _nouns(query: Query) -> list[Noun]:
    return [value for field in query.__slots__ if isinstance(value := getattr(query, field), Noun)]


def _names_held_out(query: Query, targets: Sequence[int], view: View) -> bool:
    named = {(noun.colour, noun.kind) for noun in _nouns(query)} | {
        (view.thing(t).colour, view.thing(t).kind) for t in targets
    }
    return bool(named & HELD_OUT)


# --- thinking


def _spot(thing: SeenThing) -> list[Piece]:
    return [Mention(thing.name, thing.id), " ", At(thing.id)]


def _list(things: Sequence[SeenThing]) -> list[Piece]:
    pieces: list[Piece] = []
    for thing in things:
        pieces += [*([", "] if pieces else []), *_spot(thing)]
    return pieces


def _conclude(word: str, thing: SeenThing) -> list[Piece]:
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
            case Mention(words, _):
                return words
            case At(number):
                x, y = view.thing(number).point
                return f"({int(x * side / width)},{int(y * side / height)})"
        return piece

    return "".join(map(text, thinking))


# --- one maker per type: words, meaning and thinking of a random instruction, or None


def _clear(view: View) -> list[SeenThing]:
    return [thing for thing in view.things if thing.clear]


def _choice(options: Sequence[T], rng: np.random.Generator) -> T | None:
    return options[int(rng.integers(len(options)))] if options else None


def _unique_noun(thing: SeenThing, view: View, rng: np.random.Generator, *, colour_only: bool = False) -> Noun | None:
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


def _attribute(speaker: _Speaker) -> _Draft | None:
    thing = _choice(_clear(speaker.view), speaker.rng)
    noun = _unique_noun(thing, speaker.view, speaker.rng, colour_only=True) if thing else None
    if thing is None or noun is None:
        return None
    return _Draft(speaker.frame(f"the {speaker.noun(noun)}"), One(noun), (*_spot(thing), "."))


def _group(speaker: _Speaker, least: int) -> list[SeenThing]:
    """Clear things of one kind, at least so many, at random."""
    clear = _clear(speaker.view)
    counts = Counter(thing.kind for thing in clear)
    kind = _choice([kind for kind in KINDS if counts[kind] >= least], speaker.rng)
    return [thing for thing in clear if thing.kind == kind]


def _spatial(speaker: _Speaker) -> _Draft | None:
    how = speaker.rng.random()
    if how < 0.35:
        return _extreme(speaker)
    return _relation(speaker) if how < 0.8 else _nearest(speaker)


def _found(query: Query, view: View) -> SeenThing | None:
    """The one thing the query means, if it means exactly one."""
    found = meaning(query, view)
    return view.thing(found[0]) if found is not None and len(found) == 1 else None


def _extreme(speaker: _Speaker) -> _Draft | None:
    group = _group(speaker, 2)
    which = speaker.pick(get_args(Extreme))
    query = Most(Noun(group[0].kind), which) if group else None  # type: ignore[arg-type]
    thing = _found(query, speaker.view) if query else None
    if query is None or thing is None:
        return None
    phrase = speaker.word(words.EXTREMES[query.which]).format(speaker.noun(query.noun))
    return _Draft(speaker.frame(f"the {phrase}"), query, (*_list(group), *_conclude(query.which.capitalize(), thing)))


def _subject_and_anchor(speaker: _Speaker) -> tuple[Noun, Noun, SeenThing] | None:
    """A noun to be told apart by its place, and a noun that fits one landmark only, and that landmark.

    Three times of four the first fits several things.
    """
    thing = _choice(_group(speaker, 2) if speaker.rng.random() < 0.75 else _clear(speaker.view), speaker.rng)
    stone = _choice([t for t in _clear(speaker.view) if thing is not None and t.id != thing.id], speaker.rng)
    anchor = _unique_noun(stone, speaker.view, speaker.rng) if stone else None
    if thing is None or stone is None or anchor is None:
        return None
    return Noun(thing.kind), anchor, stone


def _relation(speaker: _Speaker) -> _Draft | None:
    pair = _subject_and_anchor(speaker)
    if pair is None:
        return None
    noun, anchor, stone = pair
    sides = [side for side in get_args(Side) if _found(Beside(noun, side, anchor), speaker.view)]
    side = _choice(sides, speaker.rng)
    if side is None:
        return None
    query = Beside(noun, side, anchor)
    word = {"left": "Left", "right": "Right", "behind": "Behind", "front": "In front"}[side]
    return _Draft(
        _say_related(speaker, words.SIDES[query.side], noun, anchor),
        query,
        _think_related(speaker.view, query, stone, word),
    )


def _nearest(speaker: _Speaker) -> _Draft | None:
    pair = _subject_and_anchor(speaker)
    if pair is None or _found(Nearest(pair[0], pair[1]), speaker.view) is None:
        return None
    query = Nearest(pair[0], pair[1])
    return _Draft(
        _say_related(speaker, words.NEAREST, query.noun, query.anchor),
        query,
        _think_related(speaker.view, query, pair[2], "Nearest"),
    )


def _say_related(speaker: _Speaker, wordings: Wordings, noun: Noun, anchor: Noun) -> str:
    return speaker.frame(speaker.word(wordings).format(f"the {speaker.noun(noun)}", f"the {speaker.noun(anchor)}"))


def _think_related(view: View, query: Beside | Nearest, stone: SeenThing, word: str) -> tuple[Piece, ...]:
    """The thing named as landmark first, then the candidates, then the one meant. The query must mean something."""
    others = [t for t in candidates(query.noun, view) if t.id != stone.id]
    meant = meaning(query, view) or ()
    return (*_spot(stone), ". ", *_list(others), *_conclude(word, view.thing(meant[0])))


def _comparison(speaker: _Speaker) -> _Draft | None:
    group = _group(speaker, 2)
    which = _choice(get_args(Size), speaker.rng)
    query = Sized(Noun(group[0].kind), which) if group and which else None
    thing = _found(query, speaker.view) if query else None
    if query is None or thing is None:
        return None
    of_two = len(group) == 2 and speaker.rng.random() < 0.5
    noun = speaker.simple_noun(query.noun)
    phrase = speaker.word((words.SIZES_OF_TWO if of_two else words.SIZES)[query.which]).format(
        noun, s=words.plural(noun)
    )
    return _Draft(speaker.frame(f"the {phrase}"), query, (*_list(group), *_conclude(query.which.capitalize(), thing)))


def _function(speaker: _Speaker) -> _Draft | None:
    uses = [use for use in USES if _found(For(use), speaker.view)]
    use = _choice(uses, speaker.rng)
    thing = _found(For(use), speaker.view) if use else None
    if use is None or thing is None:
        return None
    return _Draft(speaker.word(words.USE_WORDINGS[use]), For(use), (f"{words.PURPOSES[use]}: ", *_spot(thing), "."))


def _several(speaker: _Speaker) -> _Draft | None:
    by_colour = speaker.rng.random() < 0.3
    thing = _choice(_clear(speaker.view), speaker.rng)
    if thing is None:
        return None
    noun = Noun(None, thing.colour) if by_colour else Noun(thing.kind)
    found = meaning(Every(noun), speaker.view)
    if found is None or not 2 <= len(found) <= 4:
        return None
    things = [speaker.view.thing(number) for number in found]
    pieces = _list(things) if len(things) <= 3 else _names(things)
    return _Draft(_say_several(speaker, noun, len(things)), Every(noun), (*pieces, "."))


def _names(things: Sequence[SeenThing]) -> list[Piece]:
    pieces: list[Piece] = []
    for thing in things:
        pieces += [*([", "] if pieces else []), Mention(thing.name, thing.id)]
    return pieces


def _say_several(speaker: _Speaker, noun: Noun, number: int) -> str:
    single = speaker.simple_noun(noun)
    wording = speaker.word(words.COUNTED if speaker.rng.random() < 0.35 else words.EVERY)
    if "both" in wording and number != 2:
        wording = "all {n} {s}"
    phrase = wording.format(single, n=words.NUMBERS[number], s=words.plural(single))
    return speaker.frame(phrase, words.FRAMES_PLURAL if words.plural(single) in phrase else words.FRAMES)


def _absent(speaker: _Speaker) -> _Draft | None:
    how = speaker.rng.random()
    if how < 0.15:
        return _useless(speaker)
    noun = _absent_noun(speaker, how)
    if noun is None or meaning(One(noun), speaker.view) != ():
        return None
    clear = _clear(speaker.view)
    near = [t for t in clear if t.kind == noun.kind] or [t for t in clear if t.colour == noun.colour]
    name = f"{noun.colour} {noun.kind}" if noun.colour else str(noun.kind)
    seen: list[Piece] = [*_list(near[:2]), ". "] if near else []
    return _Draft(speaker.frame(f"the {speaker.noun(noun)}"), One(noun), (*seen, f"No {name}."))


def _absent_noun(speaker: _Speaker, how: float) -> Noun | None:
    """The right kind in another colour, another kind in the right colour, a kind that is not there, or anything."""
    rng, thing = speaker.rng, _choice(speaker.view.things, speaker.rng)
    if thing is None:
        return None
    colours: tuple[Colour, ...] = tuple(COLOURS)
    kind: Kind = thing.kind if how < 0.6 else KINDS[int(rng.integers(len(KINDS)))]
    colour: Colour = thing.colour if 0.6 <= how < 0.8 else colours[int(rng.integers(len(colours)))]
    if how >= 0.92:
        return Noun(kind)
    return Noun(kind, colour) if allowed(colour, kind, speaker.split) else None


def _useless(speaker: _Speaker) -> _Draft | None:
    use: Use | None = _choice([use for use in USES if meaning(For(use), speaker.view) == ()], speaker.rng)
    if use is None:
        return None
    return _Draft(speaker.word(words.USE_WORDINGS[use]), For(use), (f"{words.PURPOSES[use]}: nothing.",))


_MAKERS: Mapping[Type, Callable[[_Speaker], _Draft | None]] = {
    "attribute": _attribute,
    "spatial": _spatial,
    "comparison": _comparison,
    "function": _function,
    "several": _several,
    "absent": _absent,
}
