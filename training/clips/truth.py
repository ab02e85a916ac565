"""A script drawn: the frames of a clip, and where each thing is in each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.render import Renderer
from segzero_ros.tabletop.scene import Camera, Thing, corners
from segzero_ros.tabletop.view import View
from training.clips.script import Script

Where = Literal["seen", "hidden", "outside"]


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A script with its pictures.

    frames: uint8 (T, H, W, 3) RGB; ids: uint8 (T, H, W), the number of the thing each pixel shows, the same in all
    frames, 0 for none. Of each thing, in the order of its number, 1..K: pixels: int (T, K) how many show it; visible:
    float (T, K), the share of its camera-facing surface that shows, 0..1; where: (T, K) rows of `Where`.
    """

    script: Script
    frames: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    pixels: NDArray[np.int64]
    visible: NDArray[np.float64]
    where: tuple[tuple[Where, ...], ...]

    @property
    def things(self) -> tuple[Thing, ...]:
        """The things as they are in the first frame."""
        return self.script.scenes[0].things


def draw(script: Script, renderer: Renderer, *, rgb: bool = True) -> Clip:
    """Render every frame of the script, at the renderer's size; without `rgb` the frames stay black."""
    views = [renderer.render(scene, rgb=rgb) for scene in script.scenes]
    numbers = [thing.id for thing in script.scenes[0].things]
    pixels = np.array([[int((view.labels == number).sum()) for number in numbers] for view in views])
    seen = [{thing.id: thing.visible for thing in view.things} for view in views]
    return Clip(
        script,
        np.stack([view.rgb for view in views]),
        np.stack([view.labels for view in views]),
        pixels,
        np.array([[shares.get(number, 0.0) for number in numbers] for shares in seen]),
        tuple(
            tuple(_where(thing, int(count), view) for thing, count in zip(view.scene.things, row, strict=True))
            for view, row in zip(views, pixels, strict=True)
        ),
    )


def _where(thing: Thing, pixels: int, view: View) -> Where:
    if pixels:
        return "seen"
    return "hidden" if _in_picture(thing, view.scene.camera, view.size) else "outside"


def _in_picture(thing: Thing, camera: Camera, size: tuple[int, int]) -> bool:
    """Whether the middle of the thing is within the picture."""
    middle = corners(thing).mean(axis=0)
    if camera.to_camera(middle)[2] <= 0:
        return False
    x, y = camera.project(middle, *size)
    return bool(0 <= x < size[0] and 0 <= y < size[1])
