"""Scenes from seeds: things that stand apart on a table, a camera that sees them all, a room and a sensor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.rich.sampling import sample_rich_scene
from segzero_ros.tabletop.scene import (
    MAX_SAME_KIND,
    Camera,
    Grammar,
    Scene,
    Sensor,
    Split,
    Thing,
    World,
    allowed,
    corners,
    distance_to_fit,
    footprint,
    look_at,
    scene_rng,
    triple,
)
from segzero_ros.tabletop.surfaces import sample_room
from segzero_ros.tabletop.things import COLOURS, HELD_OUT, KINDS, Colour, Kind

SIZES = (0.75, 1.35)
ALIKE: dict[Grammar, float] = {"plain": 0.09, "composed": 0.24, "mixed": 0.24}  # things of another's colour and kind


def sample_scene(
    seed: int, split: Split, *, count: int | None = None, grammar: Grammar = "plain", world: World = "simple"
) -> Scene:
    """A scene drawn from its seed: 2 to 7 things (or `count`) upright on the table, not touching.

    Compositions in `HELD_OUT` occur in the test split only. For the grammars that join colour and kind with more, more
    things share both. Of the rich world: `rich.sampling.sample_rich_scene`.
    """
    if world == "rich":
        return sample_rich_scene(seed, split, count=count, alike=ALIKE[grammar])
    rng = scene_rng(seed, split)
    wanted = count if count is not None else int(rng.choice(np.arange(2, 8), p=[0.08, 0.18, 0.26, 0.24, 0.15, 0.09]))
    things = _place(_choose_things(wanted, split, ALIKE[grammar], rng), rng)
    azimuth = rng.uniform(0, 2 * math.pi)
    return Scene(things, _aim(things, azimuth, rng), sample_room(azimuth, rng), sample_sensor(rng))


@dataclass(slots=True)
class _Choice:
    kind: Kind
    colour: Colour
    size: float


def _choose_things(count: int, split: Split, alike: float, rng: np.random.Generator) -> list[_Choice]:
    """Kinds and colours with enough repetition that questions have something to tell apart."""
    chosen: list[_Choice] = []
    while len(chosen) < count:
        choice = _choose_one(chosen, alike, rng)
        if sum(c.kind == choice.kind for c in chosen) < MAX_SAME_KIND and allowed(choice.colour, choice.kind, split):
            chosen.append(choice)
    if split == "test" and rng.random() < 0.4:
        slot = int(rng.integers(count))
        colour, kind = sorted(HELD_OUT)[int(rng.integers(len(HELD_OUT)))]
        if sum(c.kind == kind for c in chosen) < MAX_SAME_KIND:
            chosen[slot] = _Choice(kind, colour, chosen[slot].size)
    return chosen


def _choose_one(chosen: list[_Choice], alike: float, rng: np.random.Generator) -> _Choice:
    kind, colour = KINDS[int(rng.integers(len(KINDS)))], tuple(COLOURS)[int(rng.integers(len(COLOURS)))]
    size = float(rng.uniform(*SIZES))
    like = chosen[int(rng.integers(len(chosen)))] if chosen else None
    how = rng.random()
    if like is not None and how < 0.45:
        kind = like.kind
        if how < alike:
            colour = like.colour
        if rng.random() < 0.65:
            size = _other_size(like.size, rng)
    elif like is not None and how < 0.62:
        colour = like.colour
    return _Choice(kind, colour, size)


def _other_size(size: float, rng: np.random.Generator) -> float:
    """A size clearly different from `size`."""
    smaller, bigger = (SIZES[0], size / 1.32), (size * 1.32, SIZES[1])
    ranges = [r for r in (smaller, bigger) if r[0] < r[1]]
    return float(rng.uniform(*ranges[int(rng.integers(len(ranges)))])) if ranges else size


def _proportions(choice: _Choice, rng: np.random.Generator) -> tuple[float, float, float]:
    if choice.kind in ("book", "box"):
        x, y, z = rng.uniform(0.88, 1.12), rng.uniform(0.88, 1.12), rng.uniform(0.85, 1.25)
    elif choice.kind == "ball":
        x = y = z = 1.0
    else:
        x = y = rng.uniform(0.93, 1.07)
        z = rng.uniform(0.92, 1.1)
    return float(x * choice.size), float(y * choice.size), float(z * choice.size)


def _place(choices: list[_Choice], rng: np.random.Generator) -> tuple[Thing, ...]:
    """Spots that do not touch: drawn at random in an area that grows when it is too tight."""
    scales = [_proportions(choice, rng) for choice in choices]
    radii = [footprint(choice.kind, scale) for choice, scale in zip(choices, scales, strict=True)]
    area = math.sqrt(sum(r * r for r in radii)) * rng.uniform(1.1, 1.7)
    spots: list[NDArray[np.float64]] = []
    tries = 0
    while len(spots) < len(choices):
        spot = rng.uniform(-1, 1, 2) * [area, area * 0.8]
        gaps = [
            float(np.linalg.norm(spot - other)) - radii[len(spots)] - r for other, r in zip(spots, radii, strict=False)
        ]
        if all(gap > 0.012 for gap in gaps):
            spots.append(spot)
        tries += 1
        if tries % 60 == 0:
            spots, area = [], area * 1.1
    turn = rng.uniform(0, 2 * math.pi)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return tuple(
        _thing(i + 1, c, s, rotation @ spot, rng)
        for i, (c, s, spot) in enumerate(zip(choices, scales, spots, strict=True))
    )


def _thing(
    number: int, choice: _Choice, scale: tuple[float, float, float], spot: NDArray[np.float64], rng: np.random.Generator
) -> Thing:
    yaw = rng.uniform(0, 2 * math.pi)
    base = np.asarray(COLOURS[choice.colour])
    rgb = np.clip(base * rng.uniform(0.9, 1.06) + rng.uniform(-0.02, 0.02, 3), 0.02, 1.0)
    quaternion = (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))
    return Thing(
        number,
        choice.kind,
        choice.colour,
        choice.size,
        scale,
        (float(spot[0]), float(spot[1]), 0.0),
        quaternion,
        triple(rgb),
    )


def _aim(things: tuple[Thing, ...], azimuth: float, rng: np.random.Generator) -> Camera:
    """A camera from which the things fill most of the picture.

    The smallest distance at which all corners are inside, times a random margin.
    """
    elevation, fovy, roll = (
        math.radians(rng.uniform(30, 60)),
        float(rng.uniform(36, 52)),
        math.radians(rng.normal(0, 1.5)),
    )
    points = np.concatenate([corners(thing) for thing in things])
    target = (points.min(axis=0) + points.max(axis=0)) / 2
    distance = max(
        distance_to_fit(points - target, look_at(target, azimuth, elevation, 1.0, fovy, roll)), 0.6
    ) * rng.uniform(0.94, 1.2)
    shift = rng.normal(0, 0.02, 3) * [1, 1, 0]
    return look_at(target + shift, azimuth, elevation, distance, fovy, roll)


def sample_sensor(rng: np.random.Generator) -> Sensor:
    """Brightness, gamma, white balance and noise of one camera."""
    return Sensor(
        float(rng.uniform(0.88, 1.2)),
        float(rng.uniform(0.9, 1.1)),
        triple(rng.uniform(0.95, 1.05, 3)),
        float(rng.uniform(0.5, 5.0)),
        int(rng.integers(1 << 30)),
    )
