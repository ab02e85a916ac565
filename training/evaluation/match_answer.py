"""One answer against the truth: boxes (and masks, where they are known) by the best assignment, nothing dropped."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.assignment import paired_mean
from segzero_ros.answer import Target, parse_answer
from segzero_ros.errors import RejectedInput
from segzero_ros.matching import all_matched, box_ious
from segzero_ros.profile import Profile
from training.rewards.truth import Truth

Ious = NDArray[np.float64]


def read_targets(text: str, profile: Profile, size: tuple[int, int]) -> tuple[Target, ...] | None:
    """Targets in pixels of `size`; None for a text that is no answer."""
    try:
        return parse_answer(text, profile, size).targets
    except RejectedInput:
        return None


def match_answer(text: str, truth: Truth, profile: Profile, masks: Ious | None = None) -> dict[str, Any]:
    """One answer against the truth, no answer dropped.

    `iou`, `mask`: mean over the larger number of objects, best assignment, 1 for a right "no such object"; `hit`: the
    answer is right (docs/decisions/0006); `empty`: it says there is none; `valid`: it could be read.
    """
    targets = read_targets(text, profile, truth.size)
    if targets is None:
        return {"valid": False, "empty": False, "iou": 0.0, "mask": 0.0, "hit": False}
    boxes = [target.box for target in targets]
    ious = box_ious(boxes, truth.boxes)
    masks = masks if ious.size else ious
    return {
        "valid": True,
        "empty": not targets,
        "iou": paired_mean(ious),
        "mask": float("nan") if masks is None or masks.shape != ious.shape else paired_mean(masks),
        "hit": all_matched(boxes, truth.boxes),
    }
