"""What surrounds the things: patterns and colours of table, floor and wall, and the lights.

Grey patterns, drawn with numpy; the scene tints them.

Values 0.45..1, 256 x 256, seamless enough to repeat.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.scene import Colour3, Light, Room, triple

SIDE = 256
SURFACES = 10  # textures of `surfaces.py`


def _smooth_noise(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    """Random values on a coarse ring of rows x columns, interpolated linearly to SIDE x SIDE, 0..1."""
    coarse = rng.random((rows, columns))
    y, x = np.arange(SIDE) * rows / SIDE, np.arange(SIDE) * columns / SIDE
    y0, x0 = y.astype(int), x.astype(int)
    fy, fx = (y - y0)[:, None], (x - x0)[None, :]
    top = coarse[y0][:, x0] * (1 - fx) + coarse[y0][:, (x0 + 1) % columns] * fx
    below = coarse[(y0 + 1) % rows][:, x0] * (1 - fx) + coarse[(y0 + 1) % rows][:, (x0 + 1) % columns] * fx
    return np.asarray(top * (1 - fy) + below * fy)


def _wood(rng: np.random.Generator, boards: int) -> NDArray[np.float64]:
    grain = 0.6 * _smooth_noise(rng, 64, 4) + 0.4 * _smooth_noise(rng, 128, 8)
    rings = 0.5 + 0.5 * np.sin(10 * _smooth_noise(rng, 12, 3) * np.pi)
    image = 0.62 + 0.2 * grain + 0.16 * rings
    if boards:
        board = np.arange(SIDE) * boards // SIDE
        image = image * (0.82 + 0.18 * rng.random(boards))[board][:, None]
        image[np.diff(board, prepend=-1) != 0] *= 0.6
    return np.asarray(image)


def _checker(cells: int, dark: float) -> NDArray[np.float64]:
    cell = np.arange(SIDE) * cells // SIDE
    return np.where((cell[:, None] + cell[None, :]) % 2 == 0, 1.0, dark)


def _tiles(rng: np.random.Generator, cells: int) -> NDArray[np.float64]:
    cell = np.arange(SIDE) * cells // SIDE
    image = (0.85 + 0.12 * rng.random((cells, cells)))[cell][:, cell]
    joint = (np.arange(SIDE) % (SIDE // cells)) < 3
    image[joint] = image[:, joint] = 0.6
    return np.asarray(image)


def _cloth(rng: np.random.Generator) -> NDArray[np.float64]:
    thread = 0.5 + 0.5 * np.sin(np.arange(SIDE) * 2 * np.pi / 8)
    return np.asarray(0.78 + 0.1 * thread[:, None] + 0.08 * thread[None, :] + 0.04 * rng.random((SIDE, SIDE)))


def _plain(rng: np.random.Generator, speckle: float) -> NDArray[np.float64]:
    return np.asarray(0.9 + speckle * (_smooth_noise(rng, 8, 8) - 0.5) + speckle * (rng.random((SIDE, SIDE)) - 0.5))


def surfaces() -> list[NDArray[np.uint8]]:
    """The patterns, uint8 (SIDE, SIDE, 3): four woods, then plain, stone, cloth, tiles and two checkers.

    Always the same.
    """
    rng = np.random.default_rng(20261122)
    patterns = [
        _wood(rng, 0),
        _wood(rng, 3),
        _wood(rng, 5),
        _wood(rng, 0),
        _plain(rng, 0.02),
        _plain(rng, 0.35),
        _cloth(rng),
        _tiles(rng, 4),
        _checker(4, 0.72),
        _checker(8, 0.8),
    ]
    return [np.repeat((np.clip(p, 0, 1) * 255).astype(np.uint8)[:, :, None], 3, axis=2) for p in patterns]


def _grey_or_tint(rng: np.random.Generator, low: float, high: float, spread: float) -> Colour3:
    return triple(np.clip(rng.uniform(low, high) + rng.uniform(-spread, spread, 3), 0.05, 1.0))


def _wood_tint(rng: np.random.Generator) -> Colour3:
    light, dark = np.array([0.80, 0.62, 0.42]), np.array([0.36, 0.22, 0.13])
    mix = rng.uniform(0, 1)
    return triple(np.clip(light * mix + dark * (1 - mix) + rng.uniform(-0.04, 0.04, 3), 0.05, 1))


def sample_room(azimuth: float, rng: np.random.Generator) -> Room:
    """Table, floor, wall and one to three lights; the wall stands behind the table as seen from `azimuth`."""
    surface = int(rng.integers(SURFACES))
    tint = _wood_tint(rng) if surface < 4 else _grey_or_tint(rng, 0.3, 0.85, 0.12)
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
    return Light(position, triple(power * np.array([1 + warmth, 1.0, 1 - warmth])), index == 0)
