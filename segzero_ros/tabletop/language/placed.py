"""Questions about what is in, on or under what, and about what is not: of the rich world only.

"The ball in the blue box", "what is on the book?", "everything under the shelf", "the basket with an apple in it". What
there is none of is a near miss: the same thing elsewhere, another thing there, or an empty vessel one can look into.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from segzero_ros.tabletop.language import rich_words as rich
from segzero_ros.tabletop.language import wordings as words
from segzero_ros.tabletop.language.holding import can_hold, held_by
from segzero_ros.tabletop.language.phrases import Form, Maker, form_of, phrase_of, said
from segzero_ros.tabletop.language.query import EveryPlaced, Holding, Noun, Placed, candidates, meaning
from segzero_ros.tabletop.language.speaker import (
    Draft,
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
from segzero_ros.tabletop.rich.parts import How
from segzero_ros.tabletop.scene import Relation, allowed
from segzero_ros.tabletop.view import SeenThing

SHARES: Mapping[str, float] = {"spatial": 0.5, "several": 0.4, "absent": 0.35}
"""How much of each type is about this where anything holds anything."""
APART: frozenset[tuple[How, Form]] = frozenset({("in", "without"), ("on", "colour"), ("under", "both")})
"""What is joined with which form of noun in the test split only."""
HOWS: tuple[How, ...] = get_args(How)


def _joined(speaker: Speaker, how: How, noun: Noun) -> bool:
    apart = (how, form_of(noun)) in APART
    if apart and speaker.split != "test":
        return False
    speaker.unseen = speaker.unseen or apart
    return True


def _seen_relation(speaker: Speaker) -> tuple[Relation, SeenThing, SeenThing] | None:
    """One whose both things may be asked about: relation, what is held, what holds it."""
    clear = {thing.id: thing for thing in clear_things(speaker.view)}
    both = [r for r in speaker.view.scene.relations if r.subject in clear and r.anchor in clear]
    relation = choice(both, speaker.rng)
    return (relation, clear[relation.subject], clear[relation.anchor]) if relation else None


def _names(speaker: Speaker, thing: SeenThing) -> Noun:
    """What one may call a thing that is told apart by where it is."""
    options = [Noun(thing.kind), Noun(thing.kind, thing.colour), Noun(thing.kind), Noun(None, thing.colour)]
    others = [t.colour for t in clear_things(speaker.view) if t.kind == thing.kind and t.colour != thing.colour]
    if others and thing.kind != "plant":
        options.append(Noun(thing.kind, None, others[0]))
    return options[int(speaker.rng.integers(len(options)))]


def _anchor(speaker: Speaker, thing: SeenThing) -> Noun | None:
    return unique_noun(thing, speaker.view, speaker.rng)


def _spatial(speaker: Speaker) -> Draft | None:
    how = speaker.rng.random()
    return _what(speaker) if how < 0.3 else _holding(speaker) if how < 0.5 else _placed(speaker)


def _placed(speaker: Speaker) -> Draft | None:
    """The one in, on or under something, by a noun that often fits others elsewhere."""
    found = _seen_relation(speaker)
    anchor = _anchor(speaker, found[2]) if found else None
    if found is None or anchor is None:
        return None
    relation, thing, _ = found
    query = Placed(_names(speaker, thing), relation.how, anchor)
    if not _joined(speaker, query.how, query.noun) or found_one(query, speaker.view) is None:
        return None
    return Draft(_say(speaker, query), query, _think(speaker, query))


def _what(speaker: Speaker) -> Draft | None:
    """What is there, whatever it is."""
    found = _seen_relation(speaker)
    anchor = _anchor(speaker, found[2]) if found else None
    if found is None or anchor is None:
        return None
    query = Placed(Noun(), found[0].how, anchor)
    if found_one(query, speaker.view) is None:
        return None
    text = speaker.word(rich.WHAT[query.how]).format(f"the {speaker.simple_noun(anchor)}")
    return Draft(text, query, _think(speaker, query))


def _holding(speaker: Speaker) -> Draft | None:
    """What holds such a thing."""
    found = _seen_relation(speaker)
    if found is None:
        return None
    relation, content, holder = found
    coloured = speaker.rng.random() < 0.5
    query = Holding(Noun(holder.kind), relation.how, Noun(content.kind, content.colour if coloured else None))
    if found_one(query, speaker.view) is None:
        return None
    return Draft(_say_holding(speaker, query), query, (*listed([content, holder]), *conclude("With it", holder)))


def _say(speaker: Speaker, query: Placed) -> str:
    phrase = speaker.word(rich.PLACED[query.how]).format(
        f"the {phrase_of(speaker, query.noun)}", f"the {speaker.simple_noun(query.anchor)}"
    )
    return said(speaker, phrase)


def _say_holding(speaker: Speaker, query: Holding) -> str:
    holder, content = (speaker.simple_noun(noun) for noun in (query.noun, query.content))
    return said(speaker, speaker.word(rich.HOLDING[query.how]).format(f"the {holder}", rich.with_article(content)))


def _there(speaker: Speaker, query: Placed | EveryPlaced) -> tuple[SeenThing, list[SeenThing]]:
    """What the anchor is, and what is seen in, on or under it."""
    (stone,) = candidates(query.anchor, speaker.view)
    held = held_by(stone.id, query.how, speaker.view)
    return stone, [thing for thing in clear_things(speaker.view) if thing.id in held]


def _think(speaker: Speaker, query: Placed) -> tuple[Piece, ...]:
    """The anchor, what is there, and which of it is meant."""
    stone, there = _there(speaker, query)
    found = found_one(query, speaker.view)
    name = rich.HOW_NAMES[query.how]
    inside: list[Piece] = listed(there) if there else ["nothing"]
    end: list[Piece] = conclude("So", found) if found else [f". No {_bare(query.noun)}."]
    return (*spot(stone), f". {name}: ", *inside, *end)


def _bare(noun: Noun) -> str:
    if noun.without is not None:
        return f"{noun.kind} that is not {noun.without}"
    return " ".join(part for part in (noun.colour, noun.kind or "thing") if part)


def _several(speaker: Speaker) -> Draft | None:
    """All that is there, or all of a kind that is there."""
    found = _seen_relation(speaker)
    anchor = _anchor(speaker, found[2]) if found else None
    if found is None or anchor is None:
        return None
    relation, thing, _ = found
    noun = Noun() if speaker.rng.random() < 0.6 else Noun(thing.kind)
    query = EveryPlaced(noun, relation.how, anchor)
    ids = meaning(query, speaker.view)
    if ids is None or not 2 <= len(ids) <= 4:
        return None
    things = [speaker.view.thing(number) for number in ids]
    stone = f"the {speaker.simple_noun(anchor)}"
    if noun == Noun():
        text = speaker.frame(speaker.word(rich.EVERYTHING[query.how]).format(stone), words.FRAMES)
    else:
        every = f"all the {words.plural(speaker.simple_noun(noun))}"
        text = speaker.frame(
            speaker.word(rich.PLACED[query.how]).format(every, stone).replace(" is ", " are "), words.FRAMES_PLURAL
        )
    return Draft(text, query, (f"{len(things)}: ", *numbered(things), "."))


def _absent(speaker: Speaker) -> Draft | None:
    """Not in this one, or nothing such in it, or nothing that holds it."""
    if speaker.rng.random() < 0.25:
        return _none_holding(speaker)
    able = [
        (how, thing)
        for scene_thing in speaker.view.scene.things
        for how in HOWS
        if can_hold(scene_thing, how)
        for thing in clear_things(speaker.view)
        if thing.id == scene_thing.id
    ]
    pair = choice(able, speaker.rng)
    anchor = _anchor(speaker, pair[1]) if pair else None
    subject = choice(clear_things(speaker.view), speaker.rng)
    if pair is None or anchor is None or subject is None or subject.id == pair[1].id:
        return None
    colours = speaker.lexicon.colours
    colour = subject.colour if speaker.rng.random() < 0.7 else colours[int(speaker.rng.integers(len(colours)))]
    noun = Noun(subject.kind) if speaker.rng.random() < 0.5 else Noun(subject.kind, colour)
    query = Placed(noun, pair[0], anchor)
    if noun.colour and not allowed(noun.colour, subject.kind, speaker.split):
        return None
    if not _joined(speaker, query.how, noun) or meaning(query, speaker.view) != ():
        return None
    return Draft(_say(speaker, query), query, _think(speaker, query))


def _none_holding(speaker: Speaker) -> Draft | None:
    """A holder with something in it that is elsewhere."""
    found, content = _seen_relation(speaker), choice(clear_things(speaker.view), speaker.rng)
    if found is None or content is None or content.kind == found[2].kind:
        return None
    query = Holding(Noun(found[2].kind), found[0].how, Noun(content.kind, content.colour))
    if meaning(query, speaker.view) != ():
        return None
    holders = [thing for thing in clear_things(speaker.view) if thing.kind == found[2].kind]
    return Draft(_say_holding(speaker, query), query, (*listed([content, *holders[:2]]), ". None holds it."))


MAKERS: Mapping[str, Maker] = {"spatial": _spatial, "several": _several, "absent": _absent}
"""By type of question."""
