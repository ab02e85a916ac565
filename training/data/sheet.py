"""Examples as a person checks them: the picture with boxes, first points and masks, the question below, on sheets."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.cli.output import write_picture
from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.overlay import draw_overlay
from segzero_ros.pipeline import Instance, Segmentation, Timing
from training.data.base import Example, Examples

WIDTH = 640  # pixels of a tile; wide enough for the overlay's text
COLUMNS, ROWS = 3, 4
GROUND = (24, 24, 27)


def write_sheets(examples: Examples, folder: Path) -> list[Path]:
    """Write sheet-01.png and so on, 12 examples each, into a folder (made when missing); return the files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RejectedInput(Code.CONFIG_VALUE, f"could not make {str(folder)!r} ({error.strerror or error})") from None
    files = []
    for first in range(0, len(examples), COLUMNS * ROWS):
        numbers = range(first, min(first + COLUMNS * ROWS, len(examples)))
        tiles = [draw_example(examples[n], examples.where(n)) for n in numbers]
        files.append(folder / f"sheet-{len(files) + 1:02}.png")
        write_picture(files[-1], tiled(tiles))
    return files


def draw_example(example: Example, where: str) -> NDArray[np.uint8]:
    """Return an example's picture 640 pixels wide with its truth, as the robot's overlay shows an answer."""
    factor = WIDTH / example.size[0]
    size = (WIDTH, max(1, round(example.size[1] * factor)))
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    rgb = np.asarray(cv2.resize(example.rgb, size, interpolation=interpolation), np.uint8)
    instances = tuple(
        Instance("", 1.0, _scaled(box, factor), _scaled(points[0], factor), n)
        for n, (box, points) in enumerate(zip(example.boxes, example.points, strict=True), start=1)
    )
    code = Code.OK if instances else Code.NO_TARGET
    asked = Command(example.id, example.question)
    labels = cv2.resize(example.label_image(), size, interpolation=cv2.INTER_NEAREST)
    count = {0: "no such object", 1: "1 object"}.get(len(instances), f"{len(instances)} objects")
    place = f"{Path(where).name} ({count})"
    return draw_overlay(
        Segmentation(asked, code, "", place, instances, np.asarray(labels, np.uint8), Frame(rgb, 0), Timing(), "")
    )


def _scaled(values: tuple[float, ...], factor: float) -> tuple[float, ...]:
    return tuple(value * factor for value in values)


def tiled(tiles: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return the tiles in rows of three, each as high as its highest."""
    rows = [tiles[first : first + COLUMNS] for first in range(0, len(tiles), COLUMNS)]
    return np.vstack([_row(row, min(COLUMNS, len(tiles))) for row in rows])


def _row(tiles: list[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    height = max(tile.shape[0] for tile in tiles)
    row = np.full((height, columns * WIDTH, 3), GROUND, np.uint8)
    for n, tile in enumerate(tiles):
        row[: tile.shape[0], n * WIDTH : (n + 1) * WIDTH] = tile
    return row
