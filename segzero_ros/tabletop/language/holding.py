"""What is in, on or under what in a view, and whether one could see it if it were."""

from __future__ import annotations

import math

from segzero_ros.tabletop.rich.forms import form
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
    half = [side * scale for side, scale in zip(space.half, thing.scale[:2], strict=True)]
    if z <= height:
        return how == "under"
    away = math.hypot(x, y)
    passes = away * height / z  # so far from the middle the line of sight is at the height of rim or board
    if how == "in":
        return passes < WITHIN * min(half)
    return passes > max(half) and _open_towards(thing, x, y)


def _open_towards(shelf: Thing, x: float, y: float) -> bool:
    """Whether a shelf has no board on the side that this direction (x, y) of the world comes from."""
    w, _, _, sine = shelf.quaternion
    turn = 2 * math.atan2(sine, w)
    along = math.cos(turn) * x + math.sin(turn) * y
    ahead = -math.sin(turn) * x + math.cos(turn) * y
    sides = OPEN_SIDES[shelf.shape or 0]
    return sides == "all" or (abs(ahead) > abs(along) and (sides == "two" or ahead > 0))
