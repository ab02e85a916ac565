"""Questions that join what the plain ones say apart: colour and kind with a place, a size, a number, a relation.

"The leftmost red mug", "the second can from the right", "the ball between the lamp and the box", "all mugs that are not
red", "something to drink from, the green one", and commands whose other words belong to other things ("after the soup,
clear away the red can"). What there is none of is a near miss: a blue mug, but no red one; a mug, but to the right.

The thinking has the forms of the plain ones; what is counted is numbered.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import get_args

from segzero_ros.tabletop.language import composed_wordings as composed
from segzero_ros.tabletop.language import wordings as words
from segzero_ros.tabletop.language.near_misses import absent
from segzero_ros.tabletop.language.phrases import (
    Form,
    Maker,
    joined,
    landmark,
    named_alone,
    phrase_of,
    pick_noun,
    said,
    say_nth,
    say_related,
    say_used,
    think_related,
)
from segzero_ros.tabletop.language.query import (
    Beside,
    Between,
    Every,
    Extreme,
    For,
    Most,
    Nearest,
    Noun,
    Nth,
    One,
    Rank,
    Side,
    Size,
    Sized,
    candidates,
    counted_from,
    meaning,
)
from segzero_ros.tabletop.language.speaker import (
    Draft,
    Mention,
    Piece,
    Speaker,
    choice,
    clear_things,
    conclude,
    found_one,
    listed,
    numbered,
    spot,
    unique_noun,
)

MAX_THINKING_TOKENS = 60  # numbers and a second landmark take their place
_MOST_PAIRS = 8  # of landmarks are tried
_TRIES = 4  # of one kind of question, so that the rarer ones are not crowded out

# --- one maker per type


def _attribute(speaker: Speaker) -> Draft | None:
    """Of any colour but one; or any name of a thing, in a clause that speaks of something else."""
    if speaker.rng.random() < 0.5:
        noun = pick_noun(speaker, ["without"], 1, One)
        thing = found_one(One(noun), speaker.view) if noun else None
        if noun is None or thing is None:
            return None
        kind = [t for t in clear_things(speaker.view) if t.kind == noun.kind]
        phrase = speaker.word(composed.WITHOUT).format(speaker.simple_noun(Noun(noun.kind)), c=noun.without)
        return Draft(
            said(speaker, f"the {phrase}"), One(noun), (*listed(kind), *conclude(f"Not {noun.without}", thing))
        )
    thing = choice(clear_things(speaker.view), speaker.rng)
    name = unique_noun(thing, speaker.view, speaker.rng, colour_only=True) if thing else None
    if thing is None or name is None:
        return None
    text = speaker.word(composed.CLAUSES).format(f"the {speaker.noun(name)}")
    return Draft(text, One(name), (*spot(thing), "."))


def _spatial(speaker: Speaker) -> Draft | None:
    how = speaker.rng.random()
    makers = ((_extreme, 0.25), (_nth, 0.45), (_relation, 0.7), (_between, 0.9), (_nearest, 1.0))
    maker = next(maker for maker, share in makers if how < share)
    drafts = (maker(speaker) for _ in range(_TRIES))
    return next((draft for draft in drafts if draft), None)


def _extreme(speaker: Speaker) -> Draft | None:
    which: Extreme = get_args(Extreme)[int(speaker.rng.integers(4))]
    noun = pick_noun(speaker, ["both", "colour", "without", "any"], 2, lambda noun: Most(noun, which))
    thing = found_one(Most(noun, which), speaker.view) if noun else None
    if noun is None or thing is None or not joined(speaker, which, noun):
        return None
    phrase = speaker.word(words.EXTREMES[which]).format(phrase_of(speaker, noun))
    group = candidates(noun, speaker.view)
    return Draft(
        said(speaker, f"the {phrase}"), Most(noun, which), (*listed(group), *conclude(which.capitalize(), thing))
    )


def _nth(speaker: Speaker) -> Draft | None:
    rank: Rank = 2 if speaker.rng.random() < 0.7 else 3
    side: Extreme = get_args(Extreme)[int(speaker.rng.integers(4))]
    noun = pick_noun(speaker, get_args(Form), rank, lambda noun: Nth(noun, rank, side))
    if noun is None:
        return None
    text = say_nth(speaker, Nth(noun, rank, side))
    if text is None:
        return None
    counted = counted_from(candidates(noun, speaker.view), side, speaker.view)[:rank]
    ordinal = composed.ORDINALS[rank].capitalize()
    return Draft(text, Nth(noun, rank, side), (*numbered(counted), *conclude(ordinal, counted[-1])))


def _relation(speaker: Speaker) -> Draft | None:
    side: Side = get_args(Side)[int(speaker.rng.integers(4))]
    mark = landmark(speaker)
    if mark is None:
        return None
    noun = pick_noun(speaker, ["both", "colour", "without"], 1, lambda noun: Beside(noun, side, mark[0]))
    if noun is None or not joined(speaker, side, noun):
        return None
    text, query = say_related(speaker, words.SIDES[side], noun, mark[0]), Beside(noun, side, mark[0])
    return Draft(text, query, think_related(speaker.view, query, words.SIDE_NAMES[side]))


def _nearest(speaker: Speaker) -> Draft | None:
    mark = landmark(speaker)
    if mark is None:
        return None
    noun = pick_noun(speaker, ["both", "colour", "without", "any"], 2, lambda noun: Nearest(noun, mark[0]))
    if noun is None or not joined(speaker, "nearest", noun):
        return None
    text = say_related(speaker, words.NEAREST, noun, mark[0])
    return Draft(text, Nearest(noun, mark[0]), think_related(speaker.view, Nearest(noun, mark[0]), "Nearest"))


def _between(speaker: Speaker) -> Draft | None:
    marks = [mark for thing in clear_things(speaker.view) if (mark := named_alone(speaker, thing))]
    pairs = [(one, other) for one in marks for other in marks if one[1].id != other[1].id]
    for n in speaker.rng.permutation(len(pairs))[:_MOST_PAIRS]:
        one, other = (mark[0] for mark in pairs[n])
        noun = pick_noun(speaker, get_args(Form), 1, functools.partial(Between, anchor=one, other=other))
        if noun is not None and joined(speaker, "between", noun):
            return _say_between(speaker, Between(noun, one, other))
    return None


def _say_between(speaker: Speaker, query: Between) -> Draft:
    anchors = (speaker.simple_noun(noun) for noun in (query.anchor, query.other))
    nouns = (f"the {noun}" for noun in (phrase_of(speaker, query.noun), *anchors))
    text = said(speaker, speaker.word(composed.BETWEEN).format(*nouns))
    return Draft(text, query, think_related(speaker.view, query, "Between"))


def _comparison(speaker: Speaker) -> Draft | None:
    which: Size = get_args(Size)[int(speaker.rng.integers(2))]
    noun = pick_noun(speaker, ["both", "without"], 2, lambda noun: Sized(noun, which))
    thing = found_one(Sized(noun, which), speaker.view) if noun else None
    if noun is None or thing is None or not joined(speaker, which, noun):
        return None
    group = candidates(noun, speaker.view)
    of_two = noun.without is None and len(group) == 2 and speaker.rng.random() < 0.4
    bare = phrase_of(speaker, noun)
    table = words.SIZES_OF_TWO if of_two else words.SIZES
    phrase = speaker.word(table[which]).format(bare, s=words.plural(bare))
    thinking = (*listed(group), *conclude(which.capitalize(), thing))
    return Draft(said(speaker, f"the {phrase}"), Sized(noun, which), thinking)


def _function(speaker: Speaker) -> Draft | None:
    """A use and a colour."""
    known = speaker.lexicon
    pairs = [
        (use, colour) for use in known.uses for colour in known.colours if found_one(For(use, colour), speaker.view)
    ]
    pair = choice(pairs, speaker.rng)
    thing = found_one(For(*pair), speaker.view) if pair else None
    if pair is None or thing is None:
        return None
    serving = [t for t in speaker.view.things if t.kind in known.uses[pair[0]]]
    end: list[Piece] = [f". The {pair[1]} one: ", Mention(thing.name, thing.id), "."]
    return Draft(say_used(speaker, *pair), For(*pair), (f"{known.purposes[pair[0]]}: ", *listed(serving), *end))


def _several(speaker: Speaker) -> Draft | None:
    noun = pick_noun(speaker, ["both", "without"], 2)
    found = meaning(Every(noun), speaker.view) if noun else None
    if noun is None or found is None or not 2 <= len(found) <= 4:
        return None
    things = [speaker.view.thing(number) for number in found]
    return Draft(_say_several(speaker, noun, len(things)), Every(noun), (f"{len(things)}: ", *numbered(things), "."))


def _say_several(speaker: Speaker, noun: Noun, number: int) -> str:
    single = speaker.simple_noun(Noun(noun.kind, noun.colour))
    if noun.without is not None:
        wording = speaker.word(composed.EVERY_WITHOUT)
    else:
        wording = speaker.word(words.COUNTED if speaker.rng.random() < 0.5 else words.EVERY)
    if "both" in wording and number != 2:
        wording = "all {n} {s}"
    many = words.plural(single)
    phrase = wording.format(single, n=words.NUMBERS[number], s=many, c=noun.without)
    if many not in phrase:
        return speaker.frame(phrase)
    if speaker.rng.random() < 0.2:
        return speaker.word(composed.CLAUSES_PLURAL).format(phrase)
    return speaker.frame(phrase, words.FRAMES_PLURAL)


MAKERS: Mapping[str, Maker] = {
    "attribute": _attribute,
    "spatial": _spatial,
    "comparison": _comparison,
    "function": _function,
    "several": _several,
    "absent": absent,
}
"""By type of question."""
