"""Picture to network input, in NumPy and OpenCV: squash, normalise, patchify, as the Hugging Face processors do it.

Covered: equal to ``PIL.Image.resize(..., BILINEAR)`` bit for bit on pictures that are not taller than wide, within one
level on others (Pillow may shrink those down first), and to ``Qwen2VLImageProcessor`` within rounding on the squashed
picture (tests/backends/decoding/test_preprocess.py). Not covered: aspect-keeping resizes; every profile squashes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Triple = tuple[float, float, float]

# Mean and deviation (RGB, of values in 0..1) of CLIP's training images, used by Qwen2-VL, and of ImageNet, by SAM 2.
CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)

_BLOCK = 8  # output rows per matrix product: long enough for BLAS, short enough that few weights are zero
# Multiply-adds per matrix product. BLAS wakes its threads above 2^18; for products this small they cost up to 40 times
# the work itself on a busy machine.
_PRODUCT = 250_000
# Pillow's weights are 22-bit fixed point; float64 holds their products with 8-bit values exactly, so ties break alike.
_FIXED_POINT = 1 << 22


class _Block(NamedTuple):
    """Output rows ``first``.. are ``weights`` (rows, hi - lo) times input rows ``lo``..``hi``."""

    first: int
    lo: int
    hi: int
    weights: NDArray[np.float64]


def resize_to(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize uint8 (H, W, 3) to ``size`` = (width, height), aspect not kept, by an antialiased triangle filter.

    Passes, weights and roundings are those of ``PIL.Image.BILINEAR``: across, round, down, round.
    """
    across = _resample(cv2.transpose(rgb), size[0]) if size[0] != rgb.shape[1] else None
    narrowed = rgb if across is None else cv2.transpose(across)
    return np.ascontiguousarray(_resample(narrowed, size[1]))


def normalise(rgb: NDArray[np.uint8], mean: Triple = CLIP_MEAN, std: Triple = CLIP_STD) -> NDArray[np.float32]:
    """Return float32 (3, H, W) = (rgb / 255 - mean) / std of uint8 (H, W, 3)."""
    gain = 1.0 / (255.0 * np.asarray(std))
    offset = -np.asarray(mean) / np.asarray(std)
    planes = rgb.transpose(2, 0, 1).astype(np.float32, order="C")
    planes *= gain.astype(np.float32)[:, None, None]
    planes += offset.astype(np.float32)[:, None, None]
    return planes


def patchify(pixels: NDArray[np.float32], patch: int = 14, merge: int = 2, temporal: int = 2) -> NDArray[np.float32]:
    """Return the patches (H * W / patch^2, 3 * temporal * patch^2) of normalised (3, H, W) in Qwen2-VL's order.

    Patches of one merge x merge block follow each other; within a patch the order is channel, time, row, column, and
    a still picture is repeated in time. Sides are multiples of patch * merge.
    """
    channels, height, width = pixels.shape
    blocks = pixels.reshape(
        channels, height // (patch * merge), merge, patch, width // (patch * merge), merge, patch
    ).transpose(1, 4, 2, 5, 0, 3, 6)
    repeated = np.broadcast_to(blocks[:, :, :, :, :, None], (*blocks.shape[:5], temporal, *blocks.shape[5:]))
    return repeated.reshape(height * width // patch**2, -1)


def _resample(image: NDArray[Any], size: int) -> NDArray[np.uint8]:
    """Resample the first axis of uint8 (n, m, 3) to ``size``."""
    if image.shape[0] == size:
        return image
    rows = image.reshape(image.shape[0], -1)
    out = np.empty((size, rows.shape[1]), np.uint8)
    for block in _blocks(image.shape[0], size):
        last = block.first + len(block.weights)
        step = max(64, _PRODUCT // block.weights.size)
        for column in range(0, rows.shape[1], step):
            mixed = block.weights @ rows[block.lo : block.hi, column : column + step].astype(np.float64)
            mixed += 0.5  # the cast truncates; the weights add up to one within 2^-19, so no value leaves 0..255
            out[block.first : last, column : column + step] = mixed
    return out.reshape(size, *image.shape[1:])


@lru_cache(maxsize=32)
def _blocks(source: int, target: int) -> tuple[_Block, ...]:
    weights = _triangle_weights(source, target)
    blocks = []
    for first in range(0, target, _BLOCK):
        part = weights[first : first + _BLOCK]
        used = np.flatnonzero(part.any(0))
        lo, hi = int(used[0]), int(used[-1]) + 1
        blocks.append(_Block(first, lo, hi, np.ascontiguousarray(part[:, lo:hi])))
    return tuple(blocks)


def _triangle_weights(source: int, target: int) -> NDArray[np.float64]:
    """Weights (target, source) of Pillow's BILINEAR: a triangle as wide as the scale, at least one pixel each way."""
    scale = source / target
    support = max(scale, 1.0)
    centre = (np.arange(target) + 0.5) * scale
    lowest = np.maximum((centre - support + 0.5).astype(int), 0)
    highest = np.minimum((centre + support + 0.5).astype(int), source)
    pixel = np.arange(source)
    inside = (pixel >= lowest[:, None]) & (pixel < highest[:, None])
    hat = np.clip(1.0 - np.abs(pixel + 0.5 - centre[:, None]) / support, 0.0, None) * inside
    weights: NDArray[np.float64] = np.floor(hat / hat.sum(1, keepdims=True) * _FIXED_POINT + 0.5) / _FIXED_POINT
    return weights
