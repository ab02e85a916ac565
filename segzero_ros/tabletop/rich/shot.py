"""What a camera does to a picture and to depth after the light has come in: pure numpy, the same for the same `Shot`.

Motion blur, white balance, shot and read noise of the gain, JPEG; for depth, noise that grows with the square of the
distance, steps of the disparity, and holes at edges.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour3 = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Shot:
    """How a picture suffers.

    blur: how far the picture moves during the exposure, shares of its width to the right and down; balance: gain per
    channel; read: noise of black, grey levels; shot: noise that grows with the root of brightness, grey levels at
    white; quality: of the JPEG, 1..100, 0 for none; depth: relative noise per metre of distance; holes: share of pixels
    without depth; seed: of all that is random.
    """

    blur: tuple[float, float] = (0.0, 0.0)
    balance: Colour3 = (1.0, 1.0, 1.0)
    read: float = 0.0
    shot: float = 0.0
    quality: int = 0
    depth: float = 0.0
    holes: float = 0.0
    seed: int = 0


def develop(rgb: NDArray[np.uint8], how: Shot) -> NDArray[np.uint8]:
    """The picture, uint8 (H, W, 3), as this shot has it."""
    image = _blurred(rgb.astype(np.float32), how.blur)
    image *= np.asarray(how.balance, dtype=np.float32)
    if how.read or how.shot:
        variance = np.clip(image, 0, 255) * np.float32(how.shot**2 / 255) + np.float32(how.read**2)
        image += np.sqrt(variance) * _grain(image.shape[0], image.shape[1], how.seed)
    np.clip(image, 0, 255, out=image)
    return compressed(image, how.quality) if how.quality else image.astype(np.uint8)


_SPARE = 128


@functools.cache
def _grain_sheet(height: int, width: int) -> NDArray[np.float32]:
    return np.random.default_rng(11).standard_normal((height + _SPARE, width + _SPARE, 3), dtype=np.float32)


def _grain(height: int, width: int, seed: int) -> NDArray[np.float32]:
    """Normal noise (H, W, 3) cut out of a larger sheet at a random place: drawing it anew costs as much as a JPEG."""
    row, column = np.random.default_rng(seed).integers(0, _SPARE, 2)
    return _grain_sheet(height, width)[row : row + height, column : column + width]


def _blurred(image: NDArray[np.float32], blur: tuple[float, float]) -> NDArray[np.float32]:
    """The mean of the picture at several moments of a straight movement."""
    width = image.shape[1]
    dx, dy = blur[0] * width, blur[1] * width
    steps = int(np.ceil(max(abs(dx), abs(dy)))) + 1
    if steps < 2:
        return image
    total = np.zeros_like(image)
    for part in np.linspace(-0.5, 0.5, steps):
        column, row = round(part * dx), round(part * dy)
        total += _shifted(image, row, column)
    return np.asarray(total / np.float32(steps))


def _shifted(image: NDArray[np.float32], row: int, column: int) -> NDArray[np.float32]:
    """The picture moved by whole pixels, its border repeated."""
    height, width = image.shape[:2]
    rows = np.clip(np.arange(height) - row, 0, height - 1)
    columns = np.clip(np.arange(width) - column, 0, width - 1)
    return image[rows][:, columns]


# --- JPEG: what the quantisation of ITU-T T.81 does to a picture, without the file

_LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=np.float32,
)
_CHROMA = np.full((8, 8), 99, dtype=np.float32)
_CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
_TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], dtype=np.float32)


@functools.cache
def _cosines() -> NDArray[np.float32]:
    """The orthonormal discrete cosine transform of eight values, (8, 8)."""
    k, n = np.mgrid[0:8, 0:8]
    table = np.sqrt(2 / 8) * np.cos((2 * n + 1) * k * np.pi / 16)
    table[0] /= np.sqrt(2)
    return np.asarray(table, dtype=np.float32)


def compressed(image: NDArray[np.float32], quality: int) -> NDArray[np.uint8]:
    """The picture (H, W, 3), 0..255, after a JPEG of this quality (1..100), colour at half the resolution."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    planes = np.round(image @ _TO_YCC.T) - np.array([128, 0, 0], dtype=np.float32)
    height, width = image.shape[:2]
    result = np.empty_like(planes)
    result[..., 0] = _quantised(planes[..., 0], _LUMA, scale)
    for channel in (1, 2):
        even = np.pad(planes[..., channel], ((0, height % 2), (0, width % 2)), mode="edge")
        small = np.round(even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2).mean(axis=(1, 3)))
        rough = _quantised(small, _CHROMA, scale)
        result[..., channel] = _doubled(_doubled(rough).T).T[:height, :width]
    back = (result + np.array([128, 0, 0], dtype=np.float32)) @ np.linalg.inv(_TO_YCC).T.astype(np.float32)
    return np.clip(np.round(back), 0, 255).astype(np.uint8)


def _doubled(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Twice as many rows: each a quarter of the way to its neighbour, as decoders do it."""
    before, after = np.vstack([plane[:1], plane[:-1]]), np.vstack([plane[1:], plane[-1:]])
    rows = np.stack([0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after], axis=1)
    return rows.reshape(-1, plane.shape[1])


def _quantised(plane: NDArray[np.float32], table: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    steps = np.clip(np.floor((table * scale + 50) / 100), 1, 255).astype(np.float32)
    height, width = plane.shape
    padded = np.pad(plane, ((0, -height % 8), (0, -width % 8)), mode="edge")
    high, wide = padded.shape[0] // 8, padded.shape[1] // 8
    cosines = _cosines()
    by_row = cosines @ padded.reshape(high, 8, 8 * wide)
    steps = steps[None, :, None, :]
    kept = np.round((by_row.reshape(-1, 8) @ cosines.T).reshape(high, 8, wide, 8) / steps) * steps
    by_column = (kept.reshape(-1, 8) @ cosines).reshape(high, 8, 8 * wide)
    return np.asarray((cosines.T @ by_column).reshape(padded.shape)[:height, :width])


# --- depth


def noisy_depth(depth_m: NDArray[np.float32], how: Shot) -> NDArray[np.float32]:
    """Depth (H, W) in metres as a stereo camera has it: noisy, in steps, 0 where it has none."""
    if not how.depth and not how.holes:
        return depth_m
    rng = np.random.default_rng([how.seed, 1])
    noisy = depth_m + (how.depth * depth_m**2 * rng.standard_normal(depth_m.shape)).astype(np.float32)
    step = max(how.depth, 1e-4)  # disparity comes in steps of this much per metre and metre
    stepped = 1 / (np.maximum(np.round(1 / np.maximum(noisy, 0.05) / step), 1) * step)
    across = np.abs(np.diff(depth_m, axis=1, prepend=depth_m[:, :1])) + np.abs(
        np.diff(depth_m, axis=0, prepend=depth_m[:1])
    )
    lost = (across > 0.03) & (rng.random(depth_m.shape) < 0.7) | (rng.random(depth_m.shape) < how.holes)
    return np.where(lost, 0, stepped).astype(np.float32)
