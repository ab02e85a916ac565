"""A scene: which things lie where on which table, under which light, seen by which camera.

Plain values; `sample_scene` draws one from a seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.things import COLOURS, HELD_OUT, KINDS, Colour, Kind, extent

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Grammar = Literal["plain", "composed", "mixed"]
"""What a seed asks: colour or kind, place, size and number apart; each question joining several of them; of both."""
GRAMMARS: tuple[Grammar, ...] = ("plain", "composed", "mixed")
MAX_SAME_KIND = 3  # how many of one kind the renderer holds ready
SIZES = (0.75, 1.35)
ALIKE: dict[Grammar, float] = {"plain": 0.09, "composed": 0.24, "mixed": 0.24}  # things of another's colour and kind
SURFACES = 10  # textures of `surfaces.py`

Colour3 = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing on the table.

    `id` 1..K as in the label image, `scale` along its own x, y, z axes (size and proportions), pose in the world.

    `position` is the point of its base, metres; `quaternion` w, x, y, z. The table's top is z = 0.
    """

    id: int
    kind: Kind
    colour: Colour
    size: float
    scale: tuple[float, float, float]
    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]
    rgb: Colour3


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera in ROS optical axes: x right, y down, z forward.

    position: metres in the world; rotation: (3, 3) camera -> world, row by row; fovy_deg: the vertical field of view.
    """

    position: tuple[float, float, float]
    rotation: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
    fovy_deg: float

    def matrix(self, width: int, height: int) -> NDArray[np.float64]:
        """Intrinsics K (3, 3) for an image of this size: square pixels, the principal point in the middle.

        Pixel coordinates count from the outer corner of the first pixel, whose middle is (0.5, 0.5).
        """
        focal = height / 2 / math.tan(math.radians(self.fovy_deg) / 2)
        return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])

    def to_camera(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """World points (..., 3) in metres -> camera coordinates (..., 3)."""
        return np.asarray((points - np.asarray(self.position)) @ np.asarray(self.rotation))

    def project(self, points: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
        """World points (..., 3) -> pixels (..., 2); meaningless for points behind the camera."""
        seen = self.to_camera(points)
        pixels = seen @ self.matrix(width, height).T
        return np.asarray(pixels[..., :2] / pixels[..., 2:])


def look_at(
    target: NDArray[np.float64], azimuth: float, elevation: float, distance: float, fovy_deg: float, roll: float = 0.0
) -> Camera:
    """A camera `distance` metres from the target (3,), on the side `azimuth`, looking down by `elevation`, radians."""
    forward = -np.array(
        [math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation)]
    )
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    right, down = right * math.cos(roll) + down * math.sin(roll), down * math.cos(roll) - right * math.sin(roll)
    rotation = np.stack([right, down, forward], axis=1)
    position = target - forward * distance
    return Camera(_triple(position), (_triple(rotation[0]), _triple(rotation[1]), _triple(rotation[2])), fovy_deg)


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


@dataclass(frozen=True, slots=True)
class Light:
    """A lamp of the room: position in metres, aimed at the table's centre, brightness per colour channel."""

    position: Colour3
    diffuse: Colour3
    shadow: bool


@dataclass(frozen=True, slots=True)
class Room:
    """Everything around the things.

    Textures (index into `surfaces.py`), tints, lights, where the wall stands (azimuth radians, distance metres).
    """

    table: tuple[int, Colour3]
    table_size: tuple[float, float]
    floor: tuple[int, Colour3]
    wall: tuple[int, Colour3]
    wall_azimuth: float
    wall_distance: float
    ambient: float
    lights: tuple[Light, ...]


@dataclass(frozen=True, slots=True)
class Sensor:
    """What the camera's chip does to the picture.

    Gain, gamma, white balance per channel, noise (standard deviation in grey levels) and its seed.
    """

    gain: float
    gamma: float
    balance: Colour3
    noise: float
    seed: int


@dataclass(frozen=True, slots=True)
class Rod:
    """A round rod with round ends, an arm that hides what is behind it; no thing, so its label is 0.

    From `start` to `end`, `radius`: metres in the world.
    """

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius: float
    rgb: Colour3


@dataclass(frozen=True, slots=True)
class Scene:
    """One moment of the table world."""

    things: tuple[Thing, ...]
    camera: Camera
    room: Room
    sensor: Sensor
    rods: tuple[Rod, ...] = ()


def scene_rng(seed: int, split: Split, purpose: int = 0) -> np.random.Generator:
    """The random numbers of one seed of one split; the split is part of the seed, so that splits share none."""
    return np.random.default_rng([SPLITS.index(split), seed, purpose])


def sample_scene(seed: int, split: Split, *, count: int | None = None, grammar: Grammar = "plain") -> Scene:
    """A scene drawn from its seed: 2 to 7 things (or `count`) upright on the table, not touching.

    Compositions in `HELD_OUT` occur in the test split only. For the grammars that join colour and kind with more, more
    things share both.
    """
    rng = scene_rng(seed, split)
    wanted = count if count is not None else int(rng.choice(np.arange(2, 8), p=[0.08, 0.18, 0.26, 0.24, 0.15, 0.09]))
    things = _place(_choose_things(wanted, split, ALIKE[grammar], rng), rng)
    azimuth = rng.uniform(0, 2 * math.pi)
    return Scene(things, _aim(things, azimuth, rng), sample_room(azimuth, rng), sample_sensor(rng))


def allowed(colour: Colour, kind: Kind, split: Split) -> bool:
    """Whether this composition may occur in the split."""
    return split == "test" or (colour, kind) not in HELD_OUT


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


def footprint(kind: Kind, scale: tuple[float, float, float]) -> float:
    """The radius in metres of the upright thing's footprint."""
    low, high = extent(kind)
    reach = np.maximum(np.abs(low[:2]), np.abs(high[:2])) * scale[:2]
    corner = float(np.hypot(*reach)) if kind in ("book", "box") else float(reach.max())
    return corner * (0.9 if kind in ("book", "box", "mug") else 1.0)


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
        _triple(rgb),
    )


def corners(thing: Thing) -> NDArray[np.float64]:
    """The eight corners (8, 3) of the thing's bounding box, turned with it, in the world, metres."""
    low, high = (bound * thing.scale for bound in extent(thing.kind))
    grid = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
    return np.asarray(grid @ rotation_of(thing.quaternion).T + thing.position)


def rotation_of(quaternion: tuple[float, float, float, float]) -> NDArray[np.float64]:
    """The rotation matrix (3, 3) of a unit quaternion w, x, y, z."""
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
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
        _distance_to_fit(points - target, look_at(target, azimuth, elevation, 1.0, fovy, roll)), 0.6
    ) * rng.uniform(0.94, 1.2)
    shift = rng.normal(0, 0.02, 3) * [1, 1, 0]
    return look_at(target + shift, azimuth, elevation, distance, fovy, roll)


def _distance_to_fit(offsets: NDArray[np.float64], camera: Camera) -> float:
    """How far from the target a camera of this direction sees all points at these offsets (N, 3) in a 4:3 picture."""
    x, y, z = (offsets @ np.asarray(camera.rotation)).T
    tangent = math.tan(math.radians(camera.fovy_deg) / 2) * 0.95
    return float(max((np.abs(x) / (tangent * 4 / 3) - z).max(), (np.abs(y) / tangent - z).max()))


def _grey_or_tint(rng: np.random.Generator, low: float, high: float, spread: float) -> Colour3:
    return _triple(np.clip(rng.uniform(low, high) + rng.uniform(-spread, spread, 3), 0.05, 1.0))


def _wood(rng: np.random.Generator) -> Colour3:
    light, dark = np.array([0.80, 0.62, 0.42]), np.array([0.36, 0.22, 0.13])
    mix = rng.uniform(0, 1)
    return _triple(np.clip(light * mix + dark * (1 - mix) + rng.uniform(-0.04, 0.04, 3), 0.05, 1))


def sample_room(azimuth: float, rng: np.random.Generator) -> Room:
    """Table, floor, wall and one to three lights; the wall stands behind the table as seen from `azimuth`."""
    surface = int(rng.integers(SURFACES))
    tint = _wood(rng) if surface < 4 else _grey_or_tint(rng, 0.3, 0.85, 0.12)
    ambient = float(rng.uniform(0.22, 0.38))
    lights = tuple(_light(index, ambient, rng) for index in range(int(rng.integers(1, 4))))
    return Room(
        table=(surface, tint),
        table_size=(float(rng.uniform(0.75, 1.3)), float(rng.uniform(0.75, 1.1))),
        floor=(int(rng.integers(SURFACES)), _grey_or_tint(rng, 0.25, 0.8, 0.1)),
        wall=(int(rng.integers(4, SURFACES)), _grey_or_tint(rng, 0.45, 0.95, 0.1)),
        wall_azimuth=float(azimuth + math.pi + rng.uniform(-0.4, 0.4)),
        wall_distance=float(rng.uniform(1.4, 2.6)),
        ambient=ambient,
        lights=lights,
    )


def _light(index: int, ambient: float, rng: np.random.Generator) -> Light:
    """The first light is the brightest and the only one that throws shadows."""
    angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0.2, 1.4)
    position = (float(reach * math.cos(angle)), float(reach * math.sin(angle)), float(rng.uniform(1.6, 2.4)))
    power = (rng.uniform(0.72, 1.0) - ambient) if index == 0 else rng.uniform(0.05, 0.2)
    warmth = rng.uniform(-0.06, 0.06)
    return Light(position, _triple(power * np.array([1 + warmth, 1.0, 1 - warmth])), index == 0)


def sample_sensor(rng: np.random.Generator) -> Sensor:
    """Brightness, gamma, white balance and noise of one camera."""
    return Sensor(
        float(rng.uniform(0.88, 1.2)),
        float(rng.uniform(0.9, 1.1)),
        _triple(rng.uniform(0.95, 1.05, 3)),
        float(rng.uniform(0.5, 5.0)),
        int(rng.integers(1 << 30)),
    )
