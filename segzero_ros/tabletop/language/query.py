"""The meaning of an instruction as a small value that can be asked of any view: which things does it mean *there*?

`meaning(query, view)` answers with ids left to right, `()` when there is no such thing, and None when people would not
agree: two things fit, a relation holds only barely, or a thing that might matter is largely hidden. Left and right are
the viewer's; behind and in front of are farther from and nearer to the camera along the table; nearest is by the
distance on the table, and the picture must agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from segzero_ros.tabletop.language.holding import held_by, looks_into
from segzero_ros.tabletop.language.uses import Use, uses_of
from segzero_ros.tabletop.rich.parts import How
from segzero_ros.tabletop.scene import Thing
from segzero_ros.tabletop.things import Colour, Kind
from segzero_ros.tabletop.view import SeenThing, View

Point = tuple[float, float]

Extreme = Literal["leftmost", "rightmost", "frontmost", "rearmost"]
Side = Literal["left", "right", "behind", "front"]
Size = Literal["biggest", "smallest"]
Rank = Literal[2, 3]
SIDE_MARGIN = 0.05  # of the picture's width between two things of which one is "left"
DEPTH_MARGIN_M = 0.06  # between two things of which one is "behind"
BETWEEN = (0.0, 0.4)  # of `_betweenness`: certainly not up to here, certainly from here on
NEARER = 1.3  # the nearest is at most 1 / 1.3 as far as the next
BIGGER = 1.25  # the biggest is at least so much bigger than the next


@dataclass(frozen=True, slots=True)
class Noun:
    """Things of a kind, of a colour, or both, or of any colour but one ("not red"); `Noun()` is anything."""

    kind: Kind | None = None
    colour: Colour | None = None
    without: Colour | None = None

    def fits(self, thing: SeenThing | Thing) -> bool:
        """Whether the thing is one of those."""
        return self.kind in (None, thing.kind) and self.colour in (None, thing.colour) and self.without != thing.colour


@dataclass(frozen=True, slots=True)
class One:
    """The one thing a noun fits, or none: "the red mug"."""

    noun: Noun


@dataclass(frozen=True, slots=True)
class Every:
    """All things a noun fits: "all the balls"."""

    noun: Noun


@dataclass(frozen=True, slots=True)
class For:
    """The one thing that serves a purpose: "something to drink from"; of a colour, if one is said."""

    use: Use
    colour: Colour | None = None


@dataclass(frozen=True, slots=True)
class Most:
    """The outermost of several: "the leftmost can"."""

    noun: Noun
    which: Extreme


@dataclass(frozen=True, slots=True)
class Nth:
    """One of several counted from a side, 2 or 3: "the second mug from the left". None where there are fewer."""

    noun: Noun
    rank: Rank
    side: Extreme


@dataclass(frozen=True, slots=True)
class Between:
    """The one between two other things: "the ball between the mug and the lamp"."""

    noun: Noun
    anchor: Noun
    other: Noun


@dataclass(frozen=True, slots=True)
class Beside:
    """The one on a side of another thing: "the bottle left of the bowl"."""

    noun: Noun
    side: Side
    anchor: Noun


@dataclass(frozen=True, slots=True)
class Nearest:
    """The one nearest to another thing: "the ball nearest to the lamp"."""

    noun: Noun
    anchor: Noun


@dataclass(frozen=True, slots=True)
class Sized:
    """The biggest or smallest of one kind: "the biggest box"."""

    noun: Noun
    which: Size


@dataclass(frozen=True, slots=True)
class Placed:
    """The one that is in, on or under another thing: "the ball in the blue box"."""

    noun: Noun
    how: How
    anchor: Noun


@dataclass(frozen=True, slots=True)
class EveryPlaced:
    """All that are in, on or under another thing: "everything on the shelf"."""

    noun: Noun
    how: How
    anchor: Noun


@dataclass(frozen=True, slots=True)
class Holding:
    """The one that has such a thing in, on or under it: "the box with an apple in it"."""

    noun: Noun
    how: How
    content: Noun


Query = One | Every | For | Most | Nth | Between | Beside | Nearest | Sized | Placed | EveryPlaced | Holding


class _UnclearError(Exception):
    """People would not agree on the answer."""


def meaning(query: Query, view: View) -> tuple[int, ...] | None:
    """Ids of the things meant, left to right; () for none; None for "unclear"."""
    try:
        if isinstance(query, Placed | EveryPlaced | Holding):
            return tuple(thing.id for thing in _meant_by_holding(query, view))
        return tuple(thing.id for thing in _meant(query, view))
    except _UnclearError:
        return None


def _meant(
    query: One | Every | For | Most | Nth | Between | Beside | Nearest | Sized, view: View
) -> Sequence[SeenThing]:
    match query:
        case One(noun):
            return _at_most_one(candidates(noun, view))
        case Every(noun):
            return candidates(noun, view)
        case For(use, colour):
            serving = _unless_hidden([t for t in view.things if t.kind in uses_of(view.scene.world)[use]])
            return _at_most_one([t for t in serving if colour in (None, t.colour)])
        case Nth(noun, rank, side):
            return _nth(candidates(noun, view), rank, side, view)
        case Between(noun, anchor, other):
            return _between(noun, anchor, other, view)
        case Most(noun, which):
            return _most(candidates(noun, view), which, view)
        case Beside(noun, side, anchor):
            return _beside(noun, side, anchor, view)
        case Nearest(noun, anchor):
            return _nearest(noun, anchor, view)
        case Sized(noun, which):
            return _sized(candidates(noun, view), which)


def _meant_by_holding(query: Placed | EveryPlaced | Holding, view: View) -> Sequence[SeenThing]:
    if isinstance(query, Holding):
        return _holding(query, view)
    found = _placed(query, view)
    return _at_most_one(found) if isinstance(query, Placed) else found


def candidates(noun: Noun, view: View) -> list[SeenThing]:
    """The things a noun fits, left to right.

    `_UnclearError` when one of them is largely hidden, or when "green" might mean a plant's leaves.
    """
    if (
        noun.colour == "green"
        and noun.kind is None
        and any(t.kind == "plant" and t.colour != "green" for t in view.things)
    ):
        raise _UnclearError
    return _unless_hidden([thing for thing in view.things if noun.fits(thing)])


def _unless_hidden(things: list[SeenThing]) -> list[SeenThing]:
    if not all(thing.clear for thing in things):
        raise _UnclearError
    return things


def _at_most_one(things: list[SeenThing]) -> list[SeenThing]:
    if len(things) > 1:
        raise _UnclearError
    return things


def _exactly_one(things: list[SeenThing]) -> SeenThing:
    if len(things) != 1:
        raise _UnclearError
    return things[0]


def rightness(thing: SeenThing, view: View) -> float:
    """Where the middle of the thing is across the picture, 0 left to 1 right."""
    return thing.centre[0] / view.size[0]


def farness(thing: SeenThing, view: View) -> float:
    """How far the thing stands from the camera along the table, metres."""
    ahead = np.asarray(view.camera.rotation)[:2, 2]
    ahead = ahead / np.linalg.norm(ahead)
    return float((np.asarray(thing.position[:2]) - np.asarray(view.camera.position[:2])) @ ahead)


def sideness(thing: SeenThing, view: View) -> float:
    """How far the thing stands to the right of the camera's axis, metres."""
    right = np.asarray(view.camera.rotation)[:2, 0]
    right = right / np.linalg.norm(right)
    return float((np.asarray(thing.position[:2]) - np.asarray(view.camera.position[:2])) @ right)


def _first(things: Sequence[SeenThing], value: Callable[[SeenThing], float], margin: float) -> list[SeenThing]:
    """The thing with the smallest value, if there are at least two and it wins by the margin."""
    ranked = sorted(things, key=value)
    if len(ranked) < 2 or value(ranked[1]) - value(ranked[0]) < margin:
        raise _UnclearError
    return ranked[:1]


def _along(which: Extreme, view: View) -> tuple[Callable[[SeenThing], float], float]:
    """How far a thing is from this end, and by how much two must differ."""
    match which:
        case "leftmost":
            return lambda t: rightness(t, view), SIDE_MARGIN
        case "rightmost":
            return lambda t: -rightness(t, view), SIDE_MARGIN
        case "frontmost":
            return lambda t: farness(t, view), DEPTH_MARGIN_M
        case "rearmost":
            return lambda t: -farness(t, view), DEPTH_MARGIN_M


def _most(things: list[SeenThing], which: Extreme, view: View) -> list[SeenThing]:
    return _first(things, *_along(which, view)) if things else []


def counted_from(things: Sequence[SeenThing], which: Extreme, view: View) -> list[SeenThing]:
    """The things in the order in which one counts them from this end."""
    return sorted(things, key=_along(which, view)[0])


def _nth(things: list[SeenThing], rank: Rank, side: Extreme, view: View) -> list[SeenThing]:
    """All up to the one after it must differ clearly; one thing alone is never counted."""
    if len(things) == 1:
        raise _UnclearError
    value, margin = _along(side, view)
    ranked = counted_from(things, side, view)
    if any(value(b) - value(a) < margin for a, b in pairwise(ranked[: rank + 1])):
        raise _UnclearError
    return ranked[rank - 1 : rank]


def _between(noun: Noun, anchor: Noun, other: Noun, view: View) -> list[SeenThing]:
    ends = [_exactly_one(candidates(end, view)) for end in (anchor, other)]
    things = [thing for thing in candidates(noun, view) if thing.id not in {end.id for end in ends}]
    depths = [_betweenness(thing, ends[0], ends[1]) for thing in things]
    if ends[0].id == ends[1].id or any(BETWEEN[0] < depth < BETWEEN[1] for depth in depths):
        raise _UnclearError
    return _at_most_one([thing for thing, depth in zip(things, depths, strict=True) if depth >= BETWEEN[1]])


def _betweenness(thing: SeenThing, one: SeenThing, other: SeenThing) -> float:
    """1 in the middle, 0 at an end or as far off the line as half its length; on the table or in the picture, the less.

    Opinions differ when one says yes and the other no, so that a thing is then neither: between the two thresholds.
    """
    on_table = _inwardness(thing.position[:2], one.position[:2], other.position[:2])
    in_picture = _inwardness(thing.centre, one.centre, other.centre)
    if (on_table <= BETWEEN[0]) != (in_picture <= BETWEEN[0]):
        return sum(BETWEEN) / 2
    return min(on_table, in_picture)


def _inwardness(point: Point, start: Point, end: Point) -> float:
    way = (end[0] - start[0], end[1] - start[1])
    off = (point[0] - start[0], point[1] - start[1])
    square = max(way[0] ** 2 + way[1] ** 2, 1e-12)
    along = (off[0] * way[0] + off[1] * way[1]) / square
    across = abs(off[0] * way[1] - off[1] * way[0]) / square
    return 1 - 2 * max(abs(along - 0.5), across)


def _beside(noun: Noun, side: Side, anchor: Noun, view: View) -> list[SeenThing]:
    stone = _exactly_one(candidates(anchor, view))
    things = [thing for thing in candidates(noun, view) if thing.id != stone.id]
    holds = [thing for thing in things if _is_beside(thing, side, stone, view)]
    doubtful = [thing for thing in things if thing not in holds and not _is_not_beside(thing, side, stone, view)]
    if doubtful or len(holds) > 1:
        raise _UnclearError
    return holds


def _offset(thing: SeenThing, side: Side, stone: SeenThing, view: View) -> tuple[float, float]:
    """How far the thing is towards the side of the stone, and how far off that direction.

    Shares of the width, or metres.
    """
    if side in ("left", "right"):
        width = view.size[0]
        along = (thing.centre[0] - stone.centre[0]) / width * (1 if side == "right" else -1)
        return along, abs(thing.centre[1] - stone.centre[1]) / width
    along = (farness(thing, view) - farness(stone, view)) * (1 if side == "behind" else -1)
    return along, abs(sideness(thing, view) - sideness(stone, view))


def _is_beside(thing: SeenThing, side: Side, stone: SeenThing, view: View) -> bool:
    along, across = _offset(thing, side, stone, view)
    if side in ("left", "right"):
        return along > SIDE_MARGIN and across < 1.5 * along
    agrees = (stone.box[3] - thing.box[3]) * (1 if side == "behind" else -1) > 0
    return along > DEPTH_MARGIN_M and across < 1.2 * along and agrees


def _is_not_beside(thing: SeenThing, side: Side, stone: SeenThing, view: View) -> bool:
    along, _ = _offset(thing, side, stone, view)
    return along < -0.3 * (SIDE_MARGIN if side in ("left", "right") else DEPTH_MARGIN_M)


def _nearest(noun: Noun, anchor: Noun, view: View) -> list[SeenThing]:
    stone = _exactly_one(candidates(anchor, view))
    things = [thing for thing in candidates(noun, view) if thing.id != stone.id]
    if not things:
        return []
    on_table = sorted(things, key=lambda t: math.dist(t.position[:2], stone.position[:2]))
    in_picture = sorted(things, key=lambda t: math.dist(t.centre, stone.centre))
    if len(things) < 2 or on_table[0] is not in_picture[0]:
        raise _UnclearError
    if math.dist(on_table[1].position[:2], stone.position[:2]) < NEARER * math.dist(
        on_table[0].position[:2], stone.position[:2]
    ):
        raise _UnclearError
    if math.dist(in_picture[1].centre, stone.centre) < 1.15 * math.dist(in_picture[0].centre, stone.centre):
        raise _UnclearError
    return on_table[:1]


def _sized(things: list[SeenThing], which: Size) -> list[SeenThing]:
    """By true size; the picture must not say the opposite."""
    if not things:
        return []
    if len(things) < 2 or len({thing.kind for thing in things}) > 1:
        raise _UnclearError
    ranked = sorted(things, key=lambda t: t.size, reverse=which == "biggest")
    first, second = ranked[0], ranked[1]
    ratio = first.size / second.size if which == "biggest" else second.size / first.size
    others = [thing.pixels for thing in ranked[1:]]
    agrees = first.pixels > 1.1 * max(others) if which == "biggest" else first.pixels * 1.1 < min(others)
    if ratio < BIGGER or not agrees:
        raise _UnclearError
    return [first]


def _placed(query: Placed | EveryPlaced, view: View) -> list[SeenThing]:
    """Whatever is there must be seen well if the noun fits it; that nothing is there must be seen, too."""
    noun = query.noun
    stone = _exactly_one(candidates(query.anchor, view))
    held = held_by(stone.id, query.how, view)
    for thing in view.scene.things:
        clear = any(seen.id == thing.id and seen.clear for seen in view.things)
        if thing.id in held and noun.fits(thing) and not clear:
            raise _UnclearError
    found = [thing for thing in view.things if thing.id in held and noun.fits(thing)]
    if not found and not looks_into(stone.id, query.how, view):
        raise _UnclearError
    return found


def _holding(query: Holding, view: View) -> list[SeenThing]:
    inside = {thing.id for thing in candidates(query.content, view)}
    return _at_most_one([t for t in candidates(query.noun, view) if held_by(t.id, query.how, view) & inside])
