"""One answer against the truth: boxes (and masks, where they are known) by the best assignment, nothing dropped."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from segzero_ros.answer import Target, parse_answer
from segzero_ros.errors import RejectedInput
from segzero_ros.matching import box_iou
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

    `iou`, `mask`: mean over the larger number of objects, best assignment, 1 for a right "no such object"; `hit`: as
    many boxes as objects and all above 0.5; `empty`: it says there is none; `valid`: it could be read.
    """
    targets = read_targets(text, profile, truth.size)
    if targets is None:
        return {"valid": False, "empty": False, "iou": 0.0, "mask": 0.0, "hit": False}
    if not truth.boxes or not targets:
        right = not truth.boxes and not targets
        return {"valid": True, "empty": not targets, "iou": float(right), "mask": float(right), "hit": right}
    ious = np.array([[box_iou(target.box, box) for box in truth.boxes] for target in targets])
    matched = _matched(ious)
    most = max(ious.shape)
    return {
        "valid": True,
        "empty": False,
        "iou": float(matched.sum() / most),
        "mask": float("nan") if masks is None or masks.shape != ious.shape else float(_matched(masks).sum() / most),
        "hit": len(targets) == len(truth.boxes) and bool((matched > 0.5).all()),
    }


def _matched(ious: Ious) -> Ious:
    return ious[linear_sum_assignment(-ious)]
