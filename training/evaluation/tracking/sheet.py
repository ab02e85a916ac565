"""A clip as one picture: some of its frames in a row, as they are, with what was found, and with the truth."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from training.clips.truth import Clip
from training.evaluation.tracking.judge import Followed

# Okabe and Ito's palette without its black: distinguishable by colour-blind eyes too.
PALETTE = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167), (0, 114, 178))
WIDTH = 240
TINT = 0.55

Image = NDArray[np.uint8]


def contact_sheet(clip: Clip, rows: Sequence[int], followed: Followed, columns: int = 10) -> Image:
    """Frames in a row; above with the tracker's masks, below with the truth of the same things. RGB uint8."""
    times = np.unique(np.linspace(1, len(clip.frames) - 1, columns).round().astype(int))
    truth = [np.stack([clip.ids[t] == clip.things[row].id for row in rows]) for t in times]
    found = [followed.masks[t - 1] for t in times]
    lines = (
        np.concatenate([_small(painted(clip.frames[t], m)) for t, m in zip(times, masks, strict=True)], axis=1)
        for masks in (found, truth)
    )
    return np.concatenate(list(lines), axis=0)


def painted(rgb: Image, masks: NDArray[np.bool_]) -> Image:
    """The frame (H, W, 3) with masks (N, H, W) tinted, each in a colour of its own."""
    out = rgb.copy()
    for mask, colour in zip(masks, PALETTE * 3, strict=False):
        out[mask] = ((1 - TINT) * out[mask] + TINT * np.array(colour)).astype(np.uint8)
        outline, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(out, outline, -1, colour, 2)
    return out


def _small(rgb: Image) -> Image:
    height = round(WIDTH * rgb.shape[0] / rgb.shape[1])
    return np.asarray(cv2.resize(rgb, (WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)
