"""What pictures a bundle was made for: a caution for those that look like none it was trained on.

A bundle for one world only says so in its manifest: ``provenance.world`` has a name, and mean, inverse covariance and
limit of a few statistics of its training pictures. The caution goes by the Mahalanobis distance of a picture's.
Covered: photos, drawings, blank and noisy pictures beside a rendered world. Not covered: a picture that resembles the
world in all of these statistics, and a familiar picture of unfamiliar things.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.frame import Frame

STATISTICS = 9
SIZE = (96, 72)  # what a picture is reduced to; its statistics then depend little on the camera's resolution
_COARSE = (12, 9)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_BINS = 6  # per colour channel
_DARK = 20

Caution = Callable[[Frame], str]


def no_caution(_frame: Frame) -> str:
    """Return "": nothing is known of the pictures that this bundle is for."""
    return ""


def make_caution(name: str, provenance: Mapping[str, Any]) -> Caution:
    """Return what says of a frame, in one sentence or "", that the bundle ``name`` was not made for it."""
    world = provenance.get("world")
    if not isinstance(world, dict):
        return no_caution
    try:
        mean, inverse = np.asarray(world["mean"], np.float64), np.asarray(world["inverse_covariance"], np.float64)
        limit, said = float(world["limit"]), str(world["name"])[:200]
    except (KeyError, TypeError, ValueError, OverflowError):
        return no_caution
    if (mean.shape, inverse.shape) != ((STATISTICS,), (STATISTICS, STATISTICS)):
        return no_caution

    def caution(frame: Frame) -> str:
        away = picture_statistics(frame.rgb) - mean
        if float(away @ inverse @ away) <= limit**2:
            return ""
        return f"the bundle {name} knows {said} only and this picture looks like none of it: do not rely on the answer"

    return caution


def picture_statistics(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return nine numbers about an RGB picture (H, W, 3): colours, contrast and detail, most on a log scale."""
    small = cv2.resize(rgb, SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
    luma = small @ _LUMA
    across, down = np.diff(luma, axis=1)[:-1], np.diff(luma, axis=0)[:, :-1]
    steps = np.percentile(np.hypot(across, down), (50, 99))
    cells = (small * (_BINS / 256)).astype(np.int64) @ np.array([_BINS * _BINS, _BINS, 1])
    shares = np.bincount(cells.ravel(), minlength=_BINS**3) / cells.size
    scales = (
        (small.max(axis=2) - small.min(axis=2)).mean(),
        *steps,
        np.abs(cv2.Laplacian(luma, cv2.CV_32F)).mean(),
        cv2.resize(luma, _COARSE, interpolation=cv2.INTER_AREA).std(),
        (small[..., 0] - small[..., 1]).std(),
        luma.mean(axis=1).std(),
    )
    entropy = -float(np.sum(shares * np.log(np.where(shares > 0, shares, 1))))
    return np.array([*np.log(np.asarray(scales) + 0.5), entropy, 4 * float((luma < _DARK).mean())])


def describe_world(name: str, pictures: NDArray[np.float64], limit: float) -> dict[str, Any]:
    """Return ``provenance.world`` for training pictures whose statistics are the rows of ``pictures``."""
    inverse = np.linalg.inv(np.cov(pictures.T) + 1e-3 * np.eye(pictures.shape[1]))
    return {
        "name": name,
        "limit": limit,
        "mean": [float(f"{value:.5g}") for value in pictures.mean(axis=0)],
        "inverse_covariance": [[float(f"{value:.5g}") for value in row] for row in inverse],
    }
