"""Questions that join several things and mean none here: near misses, as a blue mug where a red one is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from segzero_ros.tabletop.language import composed_wordings as composed
from segzero_ros.tabletop.language import wordings as words
from segzero_ros.tabletop.language.phrases import (
    joined,
    landmark,
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
    Every,
    Extreme,
    For,
    Most,
    Noun,
    Nth,
    One,
    Query,
    Side,
    Size,
    Sized,
    candidates,
    counted_from,
    meaning,
)
from segzero_ros.tabletop.language.speaker import Draft, Speaker, choice, clear_things, listed, numbered
from segzero_ros.tabletop.language.uses import Use
from segzero_ros.tabletop.scene import allowed
from segzero_ros.tabletop.things import Colour


def absent(speaker: Speaker) -> Draft | None:
    """A question whose answer is that there is none."""
    how = speaker.rng.random()
    for maker, share in ((_none_of_noun, 0.4), (_none_there, 0.65), (_none_other, 0.75), (_none_left_to_count, 0.85)):
        if how < share:
            return maker(speaker)
    return _none_of_use(speaker)


def _missing(speaker: Speaker) -> Noun | None:
    """A kind that is here and a colour, mostly another thing's, that it does not have here."""
    thing = choice(clear_things(speaker.view), speaker.rng)
    if thing is None:
        return None
    other = choice([t for t in speaker.view.things if t.id != thing.id], speaker.rng)
    colour: Colour = other.colour if other and speaker.rng.random() < 0.7 else _any_colour(speaker)
    there = any((t.kind, t.colour) == (thing.kind, colour) for t in speaker.view.things)
    return None if there or not allowed(colour, thing.kind, speaker.split) else Noun(thing.kind, colour)


def _any_colour(speaker: Speaker) -> Colour:
    colours: Sequence[Colour] = speaker.lexicon.colours
    return colours[int(speaker.rng.integers(len(colours)))]


def _none_of_noun(speaker: Speaker) -> Draft | None:
    """Outermost, biggest, all of what is not there, though things of that kind are."""
    noun = _missing(speaker)
    if noun is None:
        return None
    bare = speaker.simple_noun(noun)
    near = [t for t in clear_things(speaker.view) if t.kind == noun.kind]
    text, query = _ask_missing(speaker, noun, bare)
    return Draft(text, query, (*listed(near[:2]), f". No {noun.colour} {noun.kind}."))


def _ask_missing(speaker: Speaker, noun: Noun, bare: str) -> tuple[str, Query]:
    how = int(speaker.rng.integers(4))
    if how == 0:
        which: Extreme = get_args(Extreme)[int(speaker.rng.integers(4))]
        phrase = speaker.word(words.EXTREMES[which]).format(bare)
        return said(speaker, f"the {phrase}"), Most(noun, which)
    if how == 1:
        size: Size = get_args(Size)[int(speaker.rng.integers(2))]
        phrase = speaker.word(words.SIZES[size]).format(bare)
        return said(speaker, f"the {phrase}"), Sized(noun, size)
    if how == 2:
        phrase = speaker.word(words.EVERY).format(bare, s=words.plural(bare))
        return speaker.frame(phrase, words.FRAMES_PLURAL if words.plural(bare) in phrase else words.FRAMES), Every(noun)
    return speaker.word(composed.CLAUSES).format(f"the {bare}"), One(noun)


def _none_there(speaker: Speaker) -> Draft | None:
    """On that side of a landmark there is none, though the picture has some."""
    noun, mark = pick_noun(speaker, ["both", "kind"], 1), landmark(speaker)
    if noun is None or mark is None:
        return None
    side: Side = get_args(Side)[int(speaker.rng.integers(4))]
    query = Beside(noun, side, mark[0])
    others = [t for t in speaker.view.things if noun.fits(t) and t.id != mark[1].id]
    if meaning(query, speaker.view) != () or not others or not joined(speaker, side, noun):
        return None
    text = say_related(speaker, words.SIDES[side], noun, mark[0])
    return Draft(text, query, think_related(speaker.view, query, words.SIDE_NAMES[side]))


def _none_other(speaker: Speaker) -> Draft | None:
    """All of the kind have the colour that is not wanted."""
    thing = choice(clear_things(speaker.view), speaker.rng)
    if thing is None or thing.kind == "plant":
        return None
    noun = Noun(thing.kind, None, thing.colour)
    kind = [t for t in clear_things(speaker.view) if t.kind == thing.kind]
    return Draft(
        said(speaker, f"the {phrase_of(speaker, noun)}"),
        One(noun),
        (*listed(kind[:2]), f". No {thing.kind} that is not {thing.colour}."),
    )


def _none_left_to_count(speaker: Speaker) -> Draft | None:
    """The third of two."""
    noun = pick_noun(speaker, ["both", "colour", "kind", "without"], 2)
    side: Extreme = get_args(Extreme)[int(speaker.rng.integers(4))]
    if noun is None or meaning(Nth(noun, 3, side), speaker.view) != ():
        return None
    text = say_nth(speaker, Nth(noun, 3, side))
    counted = counted_from(candidates(noun, speaker.view), side, speaker.view)
    return Draft(text, Nth(noun, 3, side), (*numbered(counted), ". No third.")) if text else None


def _none_of_use(speaker: Speaker) -> Draft | None:
    """Something serves the purpose, in another colour."""
    uses = speaker.lexicon.uses
    served: list[Use] = [use for use in uses if any(t.kind in uses[use] for t in clear_things(speaker.view))]
    use, colour = choice(served, speaker.rng), _any_colour(speaker)
    if use is None or meaning(For(use, colour), speaker.view) != ():
        return None
    if not all(allowed(colour, kind, speaker.split) for kind in uses[use]):
        return None
    serving = [t for t in clear_things(speaker.view) if t.kind in uses[use]]
    return Draft(
        say_used(speaker, use, colour),
        For(use, colour),
        (f"{speaker.lexicon.purposes[use]}: ", *listed(serving[:2]), f". No {colour} one."),
    )
