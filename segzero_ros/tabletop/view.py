"""What a camera sees of a scene, with the truth about it.

Picture, depth, label image and one entry per thing that is in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.rich.forms import patches_of
from segzero_ros.tabletop.scene import Camera, Scene, Thing, corners, rotation_of
from segzero_ros.tabletop.things import Colour, Kind

CLEAR_FRACTION = 0.6  # less of a thing visible than this, and nobody should be asked about it
CLEAR_SIDE = 9.5 / 168  # smallest side of a box as a share of the picture: 9 pixels of the demo model's square


@dataclass(frozen=True, slots=True)
class SeenThing:
    """A thing with at least one visible pixel.

    box: x0 y0 x1 y1 half-open, pixels of this view, of the visible part; point: x y, the middle of a pixel deep inside
    the visible part; pixels: how many; visible: the share of its camera-facing surface that is neither hidden nor out
    of the picture, 0..1; clear: whether that and the box are large enough for the thing to be asked about; position: of
    its base in the world, metres.
    """

    id: int
    kind: Kind
    colour: Colour
    size: float
    box: tuple[float, float, float, float]
    point: tuple[float, float]
    pixels: int
    visible: float
    clear: bool
    position: tuple[float, float, float]

    @property
    def name(self) -> str:
        """Colour and kind: "red mug"."""
        return f"{self.colour} {self.kind}"

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One picture with its truth.

    rgb uint8 (H, W, 3); labels uint8 (H, W), 0 for no thing, else `Thing.id`; depth_m float32 (H, W), metres along the
    optical axis, or None when it was not asked for; things: those seen, left to right by the left edge of the box.
    """

    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    depth_m: NDArray[np.float32] | None
    scene: Scene
    things: tuple[SeenThing, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.labels.shape[1], self.labels.shape[0]

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """K (3, 3) as `sensor_msgs/CameraInfo` means it: the middle of the first pixel is (0, 0)."""
        matrix = self.scene.camera.matrix(*self.size)
        matrix[:2, 2] -= 0.5
        return matrix

    @property
    def camera(self) -> Camera:
        """The camera and its pose."""
        return self.scene.camera

    def thing(self, number: int) -> SeenThing:
        """The seen thing with this id. KeyError when it is not in the picture."""
        for thing in self.things:
            if thing.id == number:
                return thing
        raise KeyError(number)

    def mask(self, number: int) -> NDArray[np.bool_]:
        """The visible pixels (H, W) of the thing with this id."""
        return np.asarray(self.labels == number)


def see_things(scene: Scene, labels: NDArray[np.uint8]) -> tuple[SeenThing, ...]:
    """Measure every thing in the label image; left to right."""
    counts = np.bincount(labels.ravel(), minlength=len(scene.things) + 1)
    seen = [_see(thing, scene.camera, labels, int(counts[thing.id])) for thing in scene.things if counts[thing.id]]
    return tuple(sorted(seen, key=lambda thing: (thing.box[0], thing.id)))


def _see(thing: Thing, camera: Camera, labels: NDArray[np.uint8], pixels: int) -> SeenThing:
    x0, y0, x1, y1 = _window(thing, camera, labels)
    mask = labels[y0:y1, x0:x1] == thing.id
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    mask = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    left, top = x0 + int(columns[0]), y0 + int(rows[0])
    box = (float(left), float(top), float(left + mask.shape[1]), float(top + mask.shape[0]))
    x, y = inner_point(mask)
    visible = _visible_fraction(thing, camera, labels)
    large = mask.shape[1] >= CLEAR_SIDE * labels.shape[1] and mask.shape[0] >= CLEAR_SIDE * labels.shape[0]
    clear = large and visible >= CLEAR_FRACTION
    return SeenThing(
        thing.id, thing.kind, thing.colour, thing.size, box, (left + x, top + y), pixels, visible, clear, thing.position
    )


def _window(thing: Thing, camera: Camera, labels: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Where in the label image to look for the thing.

    Around the corners of its bounding box, or everywhere when one is behind the camera.
    """
    height, width = labels.shape
    points = corners(thing)
    if (camera.to_camera(points)[:, 2] < 0.02).any():
        return 0, 0, width, height
    pixels = camera.project(points, width, height)
    low, high = np.floor(pixels.min(axis=0)).astype(int) - 2, np.ceil(pixels.max(axis=0)).astype(int) + 2
    return max(0, low[0]), max(0, low[1]), min(width, high[0]), min(height, high[1])


def inner_point(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """The middle x, y of a pixel as far from the mask's edge as any, and among those the nearest to the centre of mass.

    The mask must not be empty.
    """
    stride = max(1, min(mask.shape) // 14)
    thin = mask[::stride, ::stride]
    if not thin.any():
        stride, thin = 1, mask
    rest = np.pad(thin, 1)
    while True:
        core = rest[1:-1, 1:-1] & rest[:-2, 1:-1] & rest[2:, 1:-1] & rest[1:-1, :-2] & rest[1:-1, 2:]
        if not core.any():
            break
        rest[1:-1, 1:-1] = core
    rows, columns = np.nonzero(rest[1:-1, 1:-1])
    all_rows, all_columns = np.nonzero(thin)
    pick = int(np.argmin((rows - all_rows.mean()) ** 2 + (columns - all_columns.mean()) ** 2))
    return float(columns[pick] * stride) + 0.5, float(rows[pick] * stride) + 0.5


def _visible_fraction(thing: Thing, camera: Camera, labels: NDArray[np.uint8]) -> float:
    """The share of the camera-facing surface whose pixel carries the thing's label.

    Measured on the patches of its kind, each weighted by the area it would fill in the picture.
    """
    surface = patches_of(thing.kind, thing.shape)
    rotation, scale = rotation_of(thing.quaternion), np.asarray(thing.scale)
    centres = (surface.centres * scale) @ rotation.T + thing.position
    normals = (surface.normals / scale) @ rotation.T * scale.prod()
    towards = np.asarray(camera.position) - centres
    distance = np.linalg.norm(towards, axis=1)
    weight = np.maximum((normals * towards).sum(axis=1), 0) / distance**3
    height, width = labels.shape
    seen = camera.to_camera(centres)
    weight[seen[:, 2] < 0.01] = 0
    keep = weight > 0
    if not keep.any():
        return 0.0
    pixels = np.floor(camera.project(centres[keep], width, height)).astype(np.int64)
    inside = ((pixels >= 0) & (pixels < [width, height])).all(axis=1)
    hit = np.zeros(len(pixels), dtype=bool)
    hit[inside] = labels[pixels[inside, 1], pixels[inside, 0]] == thing.id
    return float(weight[keep][hit].sum() / weight[keep].sum())
