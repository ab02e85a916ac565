"""Grey patterns for table, floor and wall, drawn with numpy; the scene tints them.

Values 0.45..1, 256 x 256, seamless enough to repeat.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 256


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
