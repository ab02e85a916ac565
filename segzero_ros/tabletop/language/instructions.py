"""Instructions for a view, with their truth.

What is said, which things it means, and a short line of thought that leads there.

Six types: attribute, spatial, comparison, function, several, absent. Only clear ones are made (see `query.meaning`).
The thinking names things before it points at them, lists candidates left to right and always has the same form for the
same type, so that a small model can learn it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from segzero_ros.tabletop.language import composed, placed
from segzero_ros.tabletop.language import wordings as words
from segzero_ros.tabletop.language.phrases import think_related
from segzero_ros.tabletop.language.query import (
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
    meaning,
)
from segzero_ros.tabletop.language.speaker import (
    Draft,
    Piece,
    Speaker,
    choice,
    clear_things,
    conclude,
    found_one,
    group_of_kind,
    listed,
    named,
    numbered,
    spot,
    thinking_tokens,
    unique_noun,
)
from segzero_ros.tabletop.language.uses import Use, uses_of
from segzero_ros.tabletop.language.wordings import Wordings
from segzero_ros.tabletop.rich.palette import RICH_HELD_OUT
from segzero_ros.tabletop.scene import Grammar, Split, allowed, scene_rng
from segzero_ros.tabletop.things import Colour, Kind
from segzero_ros.tabletop.view import SeenThing, View

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
COMPOSED_SHARE = 0.55  # of the questions of the mixed grammar
_TRIES = 7


@dataclass(frozen=True, slots=True)
class Instruction:
    """What is said to the robot about a view, and what is right.

    targets: ids left to right, empty for "absent"; query: its meaning, to be asked of later views as well
    (`targets_in`); unseen_pair: a thing it means or names is of a composition held out from training; unseen_wording:
    it is worded, or joins what it joins, as only the test split does.
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


def instructions(
    view: View,
    seed: int,
    split: Split,
    *,
    count: int = 8,
    types: Collection[Type] = TYPES,
    grammar: Grammar = "plain",
) -> list[Instruction]:
    """Up to `count` different instructions, types mixed as `SHARES` as far as the view allows.

    The same for the same view, seed, split and grammar.
    """
    rng = scene_rng(seed, split, purpose=1)
    made: list[Instruction] = []
    open_types = [t for t in TYPES if t in types]
    while open_types and len(made) < count:
        kind = _next_type(open_types, made, rng)
        instruction = make_instruction(view, kind, split, rng, avoid=made, grammar=grammar)
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
    view: View,
    kind: Type,
    split: Split,
    rng: np.random.Generator,
    avoid: Sequence[Instruction] = (),
    grammar: Grammar = "plain",
) -> Instruction | None:
    """One instruction of a type, or None when a few tries find none for this view.

    A meaning is repeated in other words only when no new one is found.
    """
    for attempt in range(_TRIES):
        speaker = Speaker(view, split, rng, grammar)
        draft = _maker(kind, speaker)(speaker)
        if draft is None or any(
            draft.text == i.text or (draft.query == i.query and attempt < _TRIES - 2) for i in avoid
        ):
            continue
        targets = meaning(draft.query, view)
        if (
            targets is None
            or bool(targets) == (kind == "absent")
            or thinking_tokens(draft.thinking, view) > _most_thinking(grammar)
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


def _maker(kind: Type, speaker: Speaker) -> Callable[[Speaker], Draft | None]:
    rng, grammar = speaker.rng, speaker.grammar
    if speaker.view.scene.relations and kind in placed.MAKERS and rng.random() < placed.SHARES[kind]:
        return placed.MAKERS[kind]
    if grammar == "composed" or (grammar == "mixed" and rng.random() < COMPOSED_SHARE):
        return composed.MAKERS[kind]
    return _MAKERS[kind]


def _most_thinking(grammar: Grammar) -> int:
    return MAX_THINKING_TOKENS if grammar == "plain" else composed.MAX_THINKING_TOKENS


def _nouns(query: Query) -> list[Noun]:
    return [value for field in query.__slots__ if isinstance(value := getattr(query, field), Noun)]


def _names_held_out(query: Query, targets: Sequence[int], view: View) -> bool:
    nouns = _nouns(query)
    pairs = {(noun.colour, noun.kind) for noun in nouns} | {(noun.without, noun.kind) for noun in nouns}
    if isinstance(query, For) and not targets:
        pairs |= {(query.colour, kind) for kind in uses_of(view.scene.world)[query.use]}
    return bool((pairs | {(view.thing(t).colour, view.thing(t).kind) for t in targets}) & RICH_HELD_OUT)


# --- one maker per type: words, meaning and thinking of a random instruction, or None


def _attribute(speaker: Speaker) -> Draft | None:
    thing = choice(clear_things(speaker.view), speaker.rng)
    noun = unique_noun(thing, speaker.view, speaker.rng, colour_only=True) if thing else None
    if thing is None or noun is None:
        return None
    return Draft(speaker.frame(f"the {speaker.noun(noun)}"), One(noun), (*spot(thing), "."))


def _spatial(speaker: Speaker) -> Draft | None:
    how = speaker.rng.random()
    if how < 0.35:
        return _extreme(speaker)
    return _relation(speaker) if how < 0.8 else _nearest(speaker)


def _extreme(speaker: Speaker) -> Draft | None:
    group = group_of_kind(speaker, 2)
    which = speaker.pick(get_args(Extreme))
    query = Most(Noun(group[0].kind), which) if group else None  # type: ignore[arg-type]
    thing = found_one(query, speaker.view) if query else None
    if query is None or thing is None:
        return None
    phrase = speaker.word(words.EXTREMES[query.which]).format(speaker.noun(query.noun))
    return Draft(speaker.frame(f"the {phrase}"), query, (*listed(group), *conclude(query.which.capitalize(), thing)))


def _subject_and_anchor(speaker: Speaker) -> tuple[Noun, Noun] | None:
    """A noun to be told apart by its place, and a noun that fits one landmark only.

    Three times of four the first fits several things.
    """
    thing = choice(
        group_of_kind(speaker, 2) if speaker.rng.random() < 0.75 else clear_things(speaker.view), speaker.rng
    )
    stone = choice([t for t in clear_things(speaker.view) if thing is not None and t.id != thing.id], speaker.rng)
    anchor = unique_noun(stone, speaker.view, speaker.rng) if stone else None
    return (Noun(thing.kind), anchor) if thing and anchor else None


def _relation(speaker: Speaker) -> Draft | None:
    pair = _subject_and_anchor(speaker)
    if pair is None:
        return None
    noun, anchor = pair
    sides = [side for side in get_args(Side) if found_one(Beside(noun, side, anchor), speaker.view)]
    side = choice(sides, speaker.rng)
    if side is None:
        return None
    query = Beside(noun, side, anchor)
    text = _say_related(speaker, words.SIDES[side], noun, anchor)
    return Draft(text, query, think_related(speaker.view, query, words.SIDE_NAMES[side]))


def _nearest(speaker: Speaker) -> Draft | None:
    pair = _subject_and_anchor(speaker)
    if pair is None or found_one(Nearest(*pair), speaker.view) is None:
        return None
    text = _say_related(speaker, words.NEAREST, *pair)
    return Draft(text, Nearest(*pair), think_related(speaker.view, Nearest(*pair), "Nearest"))


def _say_related(speaker: Speaker, wordings: Wordings, noun: Noun, anchor: Noun) -> str:
    return speaker.frame(speaker.word(wordings).format(f"the {speaker.noun(noun)}", f"the {speaker.noun(anchor)}"))


def _comparison(speaker: Speaker) -> Draft | None:
    group = group_of_kind(speaker, 2)
    which = choice(get_args(Size), speaker.rng)
    query = Sized(Noun(group[0].kind), which) if group and which else None
    thing = found_one(query, speaker.view) if query else None
    if query is None or thing is None:
        return None
    of_two = len(group) == 2 and speaker.rng.random() < 0.5
    noun = speaker.simple_noun(query.noun)
    phrase = speaker.word((words.SIZES_OF_TWO if of_two else words.SIZES)[query.which]).format(
        noun, s=words.plural(noun)
    )
    return Draft(speaker.frame(f"the {phrase}"), query, (*listed(group), *conclude(query.which.capitalize(), thing)))


def _function(speaker: Speaker) -> Draft | None:
    known = speaker.lexicon
    uses = [use for use in known.uses if found_one(For(use), speaker.view)]
    use = choice(uses, speaker.rng)
    thing = found_one(For(use), speaker.view) if use else None
    if use is None or thing is None:
        return None
    return Draft(
        speaker.word(speaker.lexicon.use_wordings[use]),
        For(use),
        (f"{speaker.lexicon.purposes[use]}: ", *spot(thing), "."),
    )


def _several(speaker: Speaker) -> Draft | None:
    by_colour = speaker.rng.random() < 0.3
    thing = choice(clear_things(speaker.view), speaker.rng)
    if thing is None:
        return None
    noun = Noun(None, thing.colour) if by_colour else Noun(thing.kind)
    found = meaning(Every(noun), speaker.view)
    if found is None or not 2 <= len(found) <= 4:
        return None
    things = [speaker.view.thing(number) for number in found]
    return Draft(_say_several(speaker, noun, len(things)), Every(noun), _think_several(speaker, things))


def _think_several(speaker: Speaker, things: Sequence[SeenThing]) -> tuple[Piece, ...]:
    """The things left to right; how many and which number each has, unless the grammar is the plain one."""
    if speaker.grammar != "plain":
        return (f"{len(things)}: ", *numbered(things), ".")
    return (*(listed(things) if len(things) <= 3 else named(things)), ".")


def _say_several(speaker: Speaker, noun: Noun, number: int) -> str:
    single = speaker.simple_noun(noun)
    wording = speaker.word(words.COUNTED if speaker.rng.random() < 0.35 else words.EVERY)
    if "both" in wording and number != 2:
        wording = "all {n} {s}"
    phrase = wording.format(single, n=words.NUMBERS[number], s=words.plural(single))
    return speaker.frame(phrase, words.FRAMES_PLURAL if words.plural(single) in phrase else words.FRAMES)


def _absent(speaker: Speaker) -> Draft | None:
    how = speaker.rng.random()
    if how < 0.15:
        return _useless(speaker)
    noun = _absent_noun(speaker, how)
    if noun is None or meaning(One(noun), speaker.view) != ():
        return None
    clear = clear_things(speaker.view)
    near = [t for t in clear if t.kind == noun.kind] or [t for t in clear if t.colour == noun.colour]
    name = f"{noun.colour} {noun.kind}" if noun.colour else str(noun.kind)
    seen: list[Piece] = [*listed(near[:2]), ". "] if near else []
    return Draft(speaker.frame(f"the {speaker.noun(noun)}"), One(noun), (*seen, f"No {name}."))


def _absent_noun(speaker: Speaker, how: float) -> Noun | None:
    """The right kind in another colour, another kind in the right colour, a kind that is not there, or anything."""
    rng, thing = speaker.rng, choice(speaker.view.things, speaker.rng)
    if thing is None:
        return None
    colours: tuple[Colour, ...] = speaker.lexicon.colours
    kinds = speaker.lexicon.kinds
    kind: Kind = thing.kind if how < 0.6 else kinds[int(rng.integers(len(kinds)))]
    colour: Colour = thing.colour if 0.6 <= how < 0.8 else colours[int(rng.integers(len(colours)))]
    if how >= 0.92:
        return Noun(kind)
    return Noun(kind, colour) if allowed(colour, kind, speaker.split) else None


def _useless(speaker: Speaker) -> Draft | None:
    use: Use | None = choice(
        [use for use in speaker.lexicon.uses if meaning(For(use), speaker.view) == ()], speaker.rng
    )
    if use is None:
        return None
    return Draft(
        speaker.word(speaker.lexicon.use_wordings[use]), For(use), (f"{speaker.lexicon.purposes[use]}: nothing.",)
    )


_MAKERS: Mapping[Type, Callable[[Speaker], Draft | None]] = {
    "attribute": _attribute,
    "spatial": _spatial,
    "comparison": _comparison,
    "function": _function,
    "several": _several,
    "absent": _absent,
}
