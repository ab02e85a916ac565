"""Scenes of the rich world from seeds: things that hold others, clutter, and a camera from almost anywhere above."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.rich.choosing import Choice, choose_things, turned
from segzero_ros.tabletop.rich.finish import FINISHES
from segzero_ros.tabletop.rich.forms import CLUTTER
from segzero_ros.tabletop.rich.palette import RICH_COLOURS
from segzero_ros.tabletop.rich.parts import How
from segzero_ros.tabletop.rich.shot import Shot
from segzero_ros.tabletop.scene import (
    Camera,
    Colour3,
    Prop,
    Relation,
    Scene,
    Sensor,
    Split,
    Thing,
    corners,
    distance_to_fit,
    look_at,
    scene_rng,
    triple,
)
from segzero_ros.tabletop.surfaces import sample_room

PURPOSE = 10  # of the random numbers: no scene of the simple world shares them
COUNTS = (0.06, 0.12, 0.18, 0.22, 0.19, 0.13, 0.10)  # how often a scene has 3, 4, ... 9 things
ELEVATIONS = (20.0, 75.0)  # degrees the camera looks down
FIELDS = (35.0, 90.0)  # degrees of its vertical field of view
GAP_M = 0.012  # between things on the table
MOST_CLUTTER = 6
LEAST_DISTANCE_M = 0.4  # of the camera from what it looks at
CLUTTER_COLOURS: tuple[Colour3, ...] = (
    *((0.62, 0.56, 0.45), (0.46, 0.47, 0.36), (0.35, 0.37, 0.40), (0.72, 0.68, 0.58), (0.30, 0.40, 0.42)),
)
"""Beige, olive, slate, sand, petrol: none that a question names."""

Point = tuple[float, float]


def sample_rich_scene(seed: int, split: Split, *, count: int | None = None, alike: float) -> Scene:
    """A scene drawn from its seed: 3 to 9 things (or `count`), some in, on or under others.

    alike: how often a thing has colour and kind of another. Pairs in `RICH_HELD_OUT` occur in the test split only.
    """
    rng = scene_rng(seed, split, PURPOSE)
    wanted = count if count is not None else 3 + int(rng.choice(len(COUNTS), p=COUNTS))
    standing = choose_things(wanted, split, alike, rng)
    spots = _spread([choice.reach for choice in standing], rng)
    things, relations = _stand(standing, spots, rng)
    clutter = _litter(standing, spots, rng)
    azimuth = _side_to_look_from(things, relations, rng)
    camera = _aim(things, relations, azimuth, rng)
    room = sample_room(azimuth, rng)
    edge = max(float(np.abs(corners(thing)[:, :2]).max()) for thing in things) + 0.1
    table = (max(room.table_size[0], edge), max(room.table_size[1], edge))
    room = replace(room, table_size=table, wall_distance=max(room.wall_distance, 1.45 * edge))
    sensor = Sensor(float(rng.uniform(0.85, 1.2)), float(rng.uniform(0.88, 1.12)), (1.0, 1.0, 1.0), 0.0, 0)
    return Scene(
        things,
        camera,
        room,
        sensor,
        world="rich",
        relations=relations,
        clutter=clutter,
        shot=sample_shot(rng),
    )


def sample_shot(rng: np.random.Generator) -> Shot:
    """Noise of every kind, each sometimes hardly any."""
    length, angle = rng.uniform(0, 0.012) if rng.random() < 0.35 else 0.0, rng.uniform(0, 2 * math.pi)
    return Shot(
        blur=(float(length * math.cos(angle)), float(length * math.sin(angle))),
        balance=triple(rng.uniform(0.92, 1.08, 3)),
        read=float(rng.uniform(0.3, 3.0)),
        shot=float(rng.uniform(0.0, 5.0)),
        quality=int(rng.integers(35, 96)) if rng.random() < 0.6 else 0,
        depth=float(rng.uniform(0.001, 0.006)),
        holes=float(rng.uniform(0.0, 0.01)),
        seed=int(rng.integers(1 << 30)),
    )


def _spread(radii: Sequence[float], rng: np.random.Generator) -> list[Point]:
    """A spot for each circle so that none touch, drawn in an area that grows when it is too tight."""
    area = math.sqrt(sum(r * r for r in radii)) * rng.uniform(1.05, 1.6)
    spots: list[Point] = []
    tries = 0
    while len(spots) < len(radii):
        x, y = rng.uniform(-1, 1, 2) * [area, area * 0.8]
        mine = radii[len(spots)]
        if all(math.dist((x, y), spot) > mine + r + GAP_M for spot, r in zip(spots, radii, strict=False)):
            spots.append((float(x), float(y)))
        tries += 1
        if tries % 60 == 0:
            spots, area = [], area * 1.1
    return spots


def _stand(
    standing: Sequence[Choice], spots: Sequence[Point], rng: np.random.Generator
) -> tuple[tuple[Thing, ...], tuple[Relation, ...]]:
    """Everything where it stands; what a thing holds follows it."""
    things: list[Thing] = []
    relations: list[Relation] = []
    for choice, spot in zip(standing, spots, strict=True):
        yaw = float(rng.uniform(0, 2 * math.pi))
        holder = len(things) + 1
        things.append(_thing(holder, choice, (*spot, 0.0), yaw, rng))
        taken: list[tuple[How, Point, float]] = []
        for how, held in choice.held:
            space = choice.space(how)
            beside = [(point, reach) for where, point, reach in taken if where == how]
            at = _spot_in(held.play(space), space.round, held.reach, beside, rng) if space else None
            if space is None or at is None:
                continue
            taken.append((how, at, held.reach))
            dx, dy = turned(at, yaw)
            relations.append(Relation(len(things) + 1, how, holder))
            place = (spot[0] + dx, spot[1] + dy, space.floor)
            things.append(_thing(len(things) + 1, held, place, float(rng.uniform(0, 2 * math.pi)), rng))
    return tuple(things), tuple(relations)


def _spot_in(
    play: Point, round_: bool, reach: float, taken: Sequence[tuple[Point, float]], rng: np.random.Generator
) -> Point | None:
    """Where within its play a thing stands without touching the others; None when a few tries find no place."""
    for _ in range(40):
        x, y = rng.uniform(-1, 1, 2)
        if round_ and math.hypot(x, y) > 1:
            continue
        at = (float(x * play[0]), float(y * play[1]))
        if all(math.dist(at, other) > reach + r + 0.003 for other, r in taken):
            return at
    return None


def _thing(
    number: int, choice: Choice, place: tuple[float, float, float], yaw: float, rng: np.random.Generator
) -> Thing:
    base = np.asarray(RICH_COLOURS[choice.colour])
    rgb = triple(np.clip(base * rng.uniform(0.9, 1.06) + rng.uniform(-0.02, 0.02, 3), 0.02, 1.0))
    finishes = FINISHES[choice.kind]
    finish = finishes[int(rng.integers(len(finishes)))]
    if choice.colour == "silver":
        finish = "metal"
    elif finish == "glass" and choice.colour in ("white", "black"):
        finish = "gloss"
    light = choice.colour in ("white", "yellow", "pink", "silver")
    accent = rng.uniform(0.10, 0.22, 3) if light else rng.uniform(0.86, 0.97) * np.array([1.0, 0.98, 0.94])
    return Thing(
        number,
        choice.kind,
        choice.colour,
        choice.size,
        choice.scale,
        place,
        (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)),
        rgb,
        choice.shape,
        finish,
        triple(accent),
    )


def _litter(standing: Sequence[Choice], spots: Sequence[Point], rng: np.random.Generator) -> tuple[Prop, ...]:
    """Small things on the table between the others, never in, on or under one of them."""
    taken = [(spot, choice.reach) for choice, spot in zip(standing, spots, strict=True)]
    reach = max(math.hypot(*spot) + r for spot, r in taken) + 0.05
    props = []
    for _ in range(int(rng.integers(0, MOST_CLUTTER + 1))):
        at = triple(np.append(rng.uniform(-reach, reach, 2), 0.0))
        scale, yaw = float(rng.uniform(0.8, 1.3)), float(rng.uniform(0, 2 * math.pi))
        name = CLUTTER[int(rng.integers(len(CLUTTER)))]
        rgb = CLUTTER_COLOURS[int(rng.integers(len(CLUTTER_COLOURS)))]
        if any(math.dist(at[:2], spot) < r + 0.1 * scale for spot, r in taken):
            continue
        taken.append((at[:2], 0.1 * scale))
        props.append(Prop(name, (scale,) * 3, at, (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)), rgb))
    return tuple(props)


def _side_to_look_from(things: Sequence[Thing], relations: Sequence[Relation], rng: np.random.Generator) -> float:
    """An azimuth, radians; three times of four one from which one sees under a shelf that has something under it."""
    azimuth = float(rng.uniform(0, 2 * math.pi))
    under = [relation for relation in relations if relation.how == "under"]
    if not under or rng.random() < 0.25:
        return azimuth
    w, _, _, z = things[under[0].anchor - 1].quaternion
    return float(2 * math.atan2(z, w) + math.pi / 2 + rng.uniform(-0.9, 0.9))


def _aim(things: Sequence[Thing], relations: Sequence[Relation], azimuth: float, rng: np.random.Generator) -> Camera:
    """A camera that has all things in view, as near as that allows, times a margin.

    Three times of four low enough to see what is under a shelf, high enough for what is in a box.
    """
    low, high = ELEVATIONS
    hows = {relation.how for relation in relations}
    if rng.random() < 0.75 and len(hows & {"in", "under"}) == 1:
        low, high = (low, 42.0) if "under" in hows else (38.0, high)
    elevation, field = math.radians(rng.uniform(low, high)), float(rng.uniform(*FIELDS))
    roll = math.radians(rng.normal(0, 2.0))
    points: NDArray[np.float64] = np.concatenate([corners(thing) for thing in things])
    target = (points.min(axis=0) + points.max(axis=0)) / 2
    for _ in range(3):
        ahead = look_at(target, azimuth, elevation, 1.0, field, roll)
        distance = max(distance_to_fit(points - target, ahead), LEAST_DISTANCE_M)
        target = _centred(points, target, look_at(target, azimuth, elevation, distance, field, roll))
    distance = max(distance_to_fit(points - target, ahead), LEAST_DISTANCE_M) * rng.uniform(1.0, 1.2)
    return look_at(target, azimuth, elevation, distance, field, roll)


def _centred(points: NDArray[np.float64], target: NDArray[np.float64], camera: Camera) -> NDArray[np.float64]:
    """The target moved across the line of sight so that what is seen of the points is in the middle."""
    seen = camera.to_camera(points)
    flat = seen[:, :2] / seen[:, 2:]
    across = (flat.min(axis=0) + flat.max(axis=0)) / 2 * float(camera.to_camera(target)[2])
    return np.asarray(target + np.asarray(camera.rotation)[:, :2] @ across)
