"""Which things a scene of the rich world has: kinds, colours, shapes, sizes, and which of them belong together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from segzero_ros.tabletop.rich.forms import RICH_KINDS, SHAPES, extent_of, form, form_outline, form_reach
from segzero_ros.tabletop.rich.palette import PALETTES, RICH_HELD_OUT
from segzero_ros.tabletop.rich.parts import How, Space
from segzero_ros.tabletop.scene import Split, allowed
from segzero_ros.tabletop.things import Colour, Kind

MOST_OF_A_KIND = 4
SIZES = (0.75, 1.3)
HOWS: tuple[How, ...] = ("in", "on", "under")
HOW_SHARES = (0.48, 0.32, 0.20)
STACKS = (0.10, 0.42, 0.36, 0.12)  # how often a scene has 0, 1, 2, 3 things that hold others
HOLDERS: dict[How, tuple[Kind, ...]] = {
    "in": ("box", "box", "bowl", "basket", "bucket", "pan", "bin", "bin"),
    "on": ("book", "plate", "shelf", "box"),
    "under": ("shelf",),
}
HELD: dict[How, tuple[Kind, ...]] = {
    "in": ("ball", "apple", "banana", "can", "candle", "car", "remote", "phone", "mug", "clock", "jar", "bottle"),
    "on": (
        *("mug", "bottle", "can", "bowl", "ball", "book", "plant", "lamp", "jar", "jug", "teapot", "vase", "candle"),
        *("apple", "banana", "car", "clock", "phone", "remote", "box"),
    ),
    "under": ("ball", "car", "apple", "banana", "can", "mug", "book", "bowl", "phone", "remote", "jar", "box", "plate"),
}
ROOMY: frozenset[Kind] = frozenset({"shelf", "bin", "basket", "box"})  # may hold more than one thing
_TRIES = 14


@dataclass(slots=True)
class Choice:
    """A thing before it has a place; `held`: what is in, on or under it."""

    kind: Kind
    colour: Colour
    shape: int
    scale: tuple[float, float, float]
    held: list[tuple[How, Choice]] = field(default_factory=list)

    @property
    def reach(self) -> float:
        """The radius of the circle it fits into, metres."""
        return form_reach(self.kind, self.shape) * max(self.scale[:2])

    @property
    def height(self) -> float:
        """Metres."""
        return float(extent_of(self.kind, self.shape)[1][2]) * self.scale[2]

    @property
    def size(self) -> float:
        """The side in decimetres of the cube that has as much volume as its bounding box."""
        low, high = extent_of(self.kind, self.shape)
        return 10 * float(np.cbrt(np.prod((high - low) * self.scale)))

    def space(self, how: How) -> Space | None:
        """Its room for others at this scale, metres; None where it has none."""
        room = form(self.kind, self.shape).spaces.get(how)
        if room is None:
            return None
        x, y, z = self.scale
        walls = tuple((radius * min(x, y), height * z) for radius, height in room.walls)
        half = (room.half[0] * x, room.half[1] * y)
        return Space(room.floor * z, half, room.round, room.height * z, walls, room.above * z)

    def play(self, space: Space) -> tuple[float, float]:
        """How far from the middle of a space this may stand along x and y, metres; negative where it does not fit."""
        if not space.walls:
            return space.half[0] - self.reach, space.half[1] - self.reach
        radii, heights = form_outline(self.kind, self.shape).T * [[max(self.scale[:2])], [self.scale[2]]]
        wall = np.interp(heights, [z for _, z in space.walls], [r for r, _ in space.walls], right=np.inf)
        free = float((wall - radii).min())
        return free, free


def choose_things(count: int, split: Split, alike: float, rng: np.random.Generator) -> list[Choice]:
    """What stands on the table, with what it holds: `count` things in all, with repetition to tell apart."""
    standing: list[Choice] = []
    stacks = int(rng.choice(len(STACKS), p=STACKS))
    while stacks and _number(standing) + 2 <= count:
        stacks -= 1
        standing += _stack(standing, count - _number(standing), split, alike, rng)
    while _number(standing) < count:
        standing += [_single(standing, split, alike, rng)]
    if split == "test" and rng.random() < 0.4:
        _recolour_one(standing, rng)
    return standing


def everything(standing: Sequence[Choice]) -> list[Choice]:
    """The things that stand on the table, each followed by what it holds."""
    return [choice for one in standing for choice in (one, *(held for _, held in one.held))]


def _number(standing: Sequence[Choice]) -> int:
    return len(everything(standing))


def _stack(standing: Sequence[Choice], most: int, split: Split, alike: float, rng: np.random.Generator) -> list[Choice]:
    """A thing that holds others; now and then a second like it, so that one has to look into both. [] if none fits."""
    how = HOWS[int(rng.choice(3, p=HOW_SHARES))]
    kind = HOLDERS[how][int(rng.integers(len(HOLDERS[how])))]
    shape = _shape_with(kind, how, rng)
    holder = _choice(kind, None, shape, standing, split, rng)
    before = [*everything(standing), holder]
    wanted = int(rng.choice([1, 2, 3], p=[0.6, 0.28, 0.12])) if kind in ROOMY else 1
    for _ in range(min(wanted, most - 1)):
        _put(holder, how, before, split, alike, rng)
        if kind == "shelf" and rng.random() < 0.35:
            how = "under" if how == "on" else "on"
    if not holder.held:
        return []
    used = 1 + len(holder.held)
    if used < most and rng.random() < 0.4 and _counts(before, kind) < MOST_OF_A_KIND:
        return [holder, _choice(kind, None, _shape_with(kind, how, rng), before, split, rng)]
    return [holder]


def _put(holder: Choice, how: How, before: list[Choice], split: Split, alike: float, rng: np.random.Generator) -> None:
    """Put one more thing there, if one is found that fits beside the others."""
    for _ in range(_TRIES):
        like = before[int(rng.integers(len(before)))]
        kinds = HELD[how]
        kind = like.kind if like.kind in kinds and rng.random() < 0.4 else kinds[int(rng.integers(len(kinds)))]
        if _counts(before, kind) >= MOST_OF_A_KIND or kind == holder.kind:
            continue
        colour = like.colour if rng.random() < alike and like.kind == kind else None
        held = _choice(kind, colour, int(rng.integers(SHAPES)), before, split, rng)
        if fits(held, holder, how):
            holder.held.append((how, held))
            before.append(held)
            return


def fits(held: Choice, holder: Choice, how: How) -> bool:
    """Whether there is room, beside what the holder has there already, and enough of it would be seen."""
    space = holder.space(how)
    if space is None:
        return False
    others = [other for where, other in holder.held if where == how]
    area = sum(other.reach**2 for other in (*others, held)) if others else 0.0
    wide = min(held.play(space)) > 0.001 and area <= 0.5 * space.half[0] * space.half[1]
    if how == "in":
        most = min(2.6 * space.height + 0.03, space.height + space.above)
        return wide and 0.35 * space.height <= held.height <= most
    return wide and held.height <= 0.94 * space.height


def _single(standing: Sequence[Choice], split: Split, alike: float, rng: np.random.Generator) -> Choice:
    before = everything(standing)
    while True:
        like = before[int(rng.integers(len(before)))] if before else None
        kind, colour = RICH_KINDS[int(rng.integers(len(RICH_KINDS)))], None
        how = rng.random()
        if like is not None and how < 0.45:
            kind, colour = like.kind, like.colour if how < alike else None
        elif like is not None and how < 0.62:
            colour = like.colour
        crowded = kind in ("shelf", "bin") and _counts(before, kind) > 1
        if _counts(before, kind) < MOST_OF_A_KIND and not crowded:
            return _choice(kind, colour, int(rng.integers(SHAPES)), before, split, rng)


def _counts(choices: Sequence[Choice], kind: Kind) -> int:
    return sum(choice.kind == kind for choice in choices)


def _shape_with(kind: Kind, how: How, rng: np.random.Generator) -> int:
    shapes = [shape for shape in range(SHAPES) if how in form(kind, shape).spaces]
    return shapes[int(rng.integers(len(shapes)))]


def _choice(
    kind: Kind, colour: Colour | None, shape: int, before: Sequence[Choice], split: Split, rng: np.random.Generator
) -> Choice:
    """A thing of this kind; of another colour and size than others of it more often than not."""
    options = [c for c in PALETTES[kind] if allowed(c, kind, split)]
    if colour not in options:
        colour = options[int(rng.integers(len(options)))]
        taken = {choice.colour for choice in before if choice.kind == kind}
        free = [c for c in options if c not in taken]
        if free and rng.random() < 0.6:
            colour = free[int(rng.integers(len(free)))]
    size = float(rng.uniform(*SIZES))
    if kind in ("shelf", "bin"):
        size = float(rng.uniform(0.85, 1.25))
    x, y, z = rng.uniform(0.93, 1.07, 3)
    if kind == "ball":
        x = y = z = 1.0
    elif kind not in ("book", "box", "shelf", "bin", "phone", "remote", "car", "banana"):
        y = x
    return Choice(kind, colour, shape, (float(size * x), float(size * y), float(size * z)))


def _recolour_one(standing: Sequence[Choice], rng: np.random.Generator) -> None:
    """Give one thing a colour that its kind never has in training."""
    pairs = sorted(RICH_HELD_OUT)
    options = [(choice, colour) for choice in everything(standing) for colour, kind in pairs if kind == choice.kind]
    if options:
        choice, colour = options[int(rng.integers(len(options)))]
        choice.colour = colour


def turned(point: tuple[float, float], yaw: float) -> tuple[float, float]:
    """A point turned about the origin, radians."""
    c, s = math.cos(yaw), math.sin(yaw)
    return c * point[0] - s * point[1], s * point[0] + c * point[1]
