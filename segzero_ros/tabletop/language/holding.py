"""What is in, on or under what in a view, and whether one could see it if it were."""

from __future__ import annotations

import math

from segzero_ros.tabletop.rich.forms import extent_of, form
from segzero_ros.tabletop.rich.parts import How
from segzero_ros.tabletop.scene import Thing
from segzero_ros.tabletop.view import View

WITHIN = 0.75  # of a vessel's half width: so far from its middle the line of sight to its floor passes its rim
OPEN_SIDES = {0: "all", 1: "two", 2: "one", 3: "all", 4: "two"}  # of a shelf, by its shape


def held_by(number: int, how: How, view: View) -> frozenset[int]:
    """The ids of the things that are in, on or under this one, seen or not."""
    return frozenset(r.subject for r in view.scene.relations if r.anchor == number and r.how == how)


def can_hold(thing: Thing, how: How) -> bool:
    """Whether there is room in, on or under a thing of this form."""
    return thing.shape is not None and how in form(thing.kind, thing.shape).spaces


def looks_into(number: int, how: How, view: View) -> bool:
    """Whether the camera sees the middle of the room in, on or under a thing, were all else away."""
    thing = next(thing for thing in view.scene.things if thing.id == number)
    if not can_hold(thing, how) or thing.shape is None:
        return False
    space = form(thing.kind, thing.shape).spaces[how]
    floor = thing.position[2] + space.floor * thing.scale[2]
    x, y, z = (at - to for at, to in zip(view.camera.position, (*thing.position[:2], floor), strict=True))
    if how == "on":
        return z > 0.05
    height = space.height * thing.scale[2]
    passes = math.hypot(x, y) * height / max(z, 1e-6)  # the line of sight is so far out at the height of rim or board
    if how == "in":
        half = min(side * scale for side, scale in zip(space.half, thing.scale[:2], strict=True))
        return z > height and passes < WITHIN * half
    return _looks_under(thing, x, y, math.inf if z <= height else passes)


def _looks_under(shelf: Thing, x: float, y: float, passes: float) -> bool:
    """Whether the line of sight from this direction (x, y) passes beside the board and between what carries it."""
    w, _, _, sine = shelf.quaternion
    turn, away = 2 * math.atan2(sine, w), max(math.hypot(x, y), 1e-6)
    along = abs(math.cos(turn) * x + math.sin(turn) * y) / away
    ahead = (-math.sin(turn) * x + math.cos(turn) * y) / away
    wide, deep = (float(side) for side in extent_of(shelf.kind, shelf.shape)[1][:2] * shelf.scale[:2])
    edge = min(wide / max(along, 1e-6), deep / max(abs(ahead), 1e-6))
    sides = OPEN_SIDES[shelf.shape or 0]
    open_there = sides == "all" or (abs(ahead) > along and (sides == "two" or ahead > 0))
    return open_there and passes > 1.1 * edge
