"""Picture to network input, in Pillow and NumPy: resize, normalise, patchify, as the Hugging Face processors do it.

Covered: equal to ``Qwen2VLImageProcessor`` within rounding on the resized picture. Not covered: resizes that keep the
aspect; every profile's picture has one size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Triple = tuple[float, float, float]

# Mean and deviation (RGB, of values in 0..1) of CLIP's training images, used by Qwen2-VL, and of ImageNet, by SAM 2.
CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


def resize_to(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize uint8 (H, W, 3) to ``size`` = (width, height), aspect not kept, by an antialiased triangle filter."""
    bilinear = Image.BILINEAR  # type: ignore[attr-defined] # set by name; Ubuntu 22.04 has no Image.Resampling yet
    return np.asarray(Image.fromarray(rgb).resize(size, bilinear))


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
