"""A scene: which things lie where on which table, under which light, seen by which camera.

Plain values; `sampling.sample_scene` draws one from a seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.rich.finish import Finish
from segzero_ros.tabletop.rich.forms import Clutter, extent_of
from segzero_ros.tabletop.rich.palette import RICH_HELD_OUT
from segzero_ros.tabletop.rich.parts import How
from segzero_ros.tabletop.rich.shot import Shot
from segzero_ros.tabletop.things import Colour, Kind

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
World = Literal["simple", "rich"]
WORLDS: tuple[World, ...] = ("simple", "rich")
"""The world of the shipped demo models, and the one with more kinds, shapes, finishes and relations."""
Grammar = Literal["plain", "composed", "mixed"]
"""What a seed asks: colour or kind, place, size and number apart; each question joining several of them; of both."""
GRAMMARS: tuple[Grammar, ...] = ("plain", "composed", "mixed")
MAX_SAME_KIND = 3  # how many of one kind the renderer holds ready


Colour3 = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing on the table.

    `id` 1..K as in the label image, `scale` along its own x, y, z axes (size and proportions), pose in the world.

    `position` is the point of its base, metres; `quaternion` w, x, y, z. The table's top is z = 0.

    Of the rich world: which `shape` of its kind (None: the simple world's only one), what its surface looks like, and a
    second colour, linear 0..1.
    """

    id: int
    kind: Kind
    colour: Colour
    size: float
    scale: tuple[float, float, float]
    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]
    rgb: Colour3
    shape: int | None = None
    finish: Finish = "plain"
    accent: Colour3 = (1.0, 1.0, 1.0)


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
    return Camera(triple(position), (triple(rotation[0]), triple(rotation[1]), triple(rotation[2])), fovy_deg)


def triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Three plain numbers of an array (3,)."""
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
class Relation:
    """One thing is in, on or under another: their ids."""

    subject: int
    how: How
    anchor: int


@dataclass(frozen=True, slots=True)
class Prop:
    """Unnamed clutter: no thing, so its label is 0. Pose as a thing's."""

    name: Clutter
    scale: tuple[float, float, float]
    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]
    rgb: Colour3


@dataclass(frozen=True, slots=True)
class Scene:
    """One moment of a world; relations, clutter and what the camera's shot suffered are the rich world's."""

    things: tuple[Thing, ...]
    camera: Camera
    room: Room
    sensor: Sensor
    rods: tuple[Rod, ...] = ()
    world: World = "simple"
    relations: tuple[Relation, ...] = ()
    clutter: tuple[Prop, ...] = ()
    shot: Shot | None = None


def scene_rng(seed: int, split: Split, purpose: int = 0) -> np.random.Generator:
    """The random numbers of one seed of one split; the split is part of the seed, so that splits share none."""
    return np.random.default_rng([SPLITS.index(split), seed, purpose])


def allowed(colour: Colour, kind: Kind, split: Split) -> bool:
    """Whether this composition may occur in the split."""
    return split == "test" or (colour, kind) not in RICH_HELD_OUT


def footprint(kind: Kind, scale: tuple[float, float, float]) -> float:
    """The radius in metres of the upright thing's footprint."""
    low, high = extent_of(kind, None)
    reach = np.maximum(np.abs(low[:2]), np.abs(high[:2])) * scale[:2]
    corner = float(np.hypot(*reach)) if kind in ("book", "box") else float(reach.max())
    return corner * (0.9 if kind in ("book", "box", "mug") else 1.0)


def corners(thing: Thing) -> NDArray[np.float64]:
    """The eight corners (8, 3) of the thing's bounding box, turned with it, in the world, metres."""
    low, high = (bound * thing.scale for bound in extent_of(thing.kind, thing.shape))
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


def distance_to_fit(offsets: NDArray[np.float64], camera: Camera) -> float:
    """How far from the target a camera of this direction sees all points at these offsets (N, 3) in a 4:3 picture."""
    x, y, z = (offsets @ np.asarray(camera.rotation)).T
    tangent = math.tan(math.radians(camera.fovy_deg) / 2) * 0.95
    return float(max((np.abs(x) / (tangent * 4 / 3) - z).max(), (np.abs(y) / tangent - z).max()))
