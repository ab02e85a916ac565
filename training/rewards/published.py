"""The published rewards: Seg-Zero's (v1, arXiv 2503.06520) and VisionReasoner's (v2, arXiv 2505.12081).

Covered: for every text the value is the one that the published training code gives, odd ends included: v1 reads the
first ``{...}`` without a ``}`` inside, wherever it stands, and takes "12" for a coordinate; v2 pays for format item by
item until one cannot be read, and its integers wrap around as NumPy's do. Where that code takes quadratic or cubic
time (its patterns on tags and braces that do not close) or memory (a long text among the coordinates), this one is
linear. Nothing here raises on any text.
Not covered: JSON nested about as deep as Python's reader goes (1,000), where the published value depends on how deep
its caller is; too deep here earns no answer and no accuracy.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.assignment import paired_mean
from segzero_ros.matching import box_ious
from training.rewards.truth import Reward, Truth

MAX_OBJECTS = 120  # v2 counts no more, on either side
IOU_ABOVE = 0.5
BOX_L1_BELOW = 10.0  # pixels of the 840 x 840 frame, as the distances below
POINTS_BELOW_V1 = 100.0
POINT_BELOW_V2 = 30.0

# What a malformed answer makes of look-ups and arithmetic. It earns nothing; nothing else is caught.
_MALFORMED = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError)


def seg_zero_v1(text: str, truth: Truth, *, strict: bool = True) -> Reward:
    """Reward one object as Seg-Zero does, 0..5: five parts of 0 or 1 each.

    ``strict`` wants the keys bbox, points_1 and points_2, as the shipped configuration does; otherwise a key with
    "bbox" and two with "point" in them will do. Only the first object of ``truth`` counts; without one, or without
    its second point, the parts that need it are 0.
    """
    answer = _first_object(text)
    box = _earned(lambda: _box_v1(answer, strict))
    return Reward(
        {
            "thinking_format": float(thinks_then_answers(text)),
            "answer_format": float(_earned(lambda: _keys_fit(answer, strict)) or False),
            "box_iou": float(_earned(lambda: inclusive_iou(box, _whole(truth.boxes[0])) > IOU_ABOVE) or False),
            "box_l1": float(_earned(lambda: _l1(box, _whole(truth.boxes[0])) < BOX_L1_BELOW) or False),
            "points": float(_earned(lambda: _points_fit(answer, truth, strict)) or False),
        }
    )


def vision_reasoner_v2(text: str, truth: Truth) -> Reward:
    """Reward a list of objects as VisionReasoner does, 0..7: thinking 1, answer 2, accuracy 3, no repetition 1.

    A truth without objects is never paid for accuracy: so published, and why its model cannot abstain. Of several
    points per object the first counts.
    """
    answer = _earned(lambda: json.loads(_tagged(text)))
    return Reward(
        {
            "thinking_format": float(thinks_then_answers(text)),
            "answer_format": _items_format(answer),
            "accuracy": _earned(lambda: _accuracy(answer, truth)) or 0.0,
            "non_repeat": float(not repeats_itself(text)),
        }
    )


def _earned(rule: Callable[[], Any]) -> Any:
    """Return what ``rule`` makes of an answer, or None when the answer is not made for it."""
    try:
        return rule()
    except _MALFORMED:
        return None


# ---- form ----

_TURN = re.compile(r"</think>\s*<answer>")  # linear: a run of white space follows one tag only
_THINK, _ANSWER, _END = "<think>", "<answer>", "</answer>"


def thinks_then_answers(text: str) -> bool:
    """Return whether ``text`` is ``<think>...</think>``, white space or nothing, ``<answer>...</answer>``, no more.

    What stands inside may hold any of the tags again (both papers' thinking format).
    """
    if not (text.startswith(_THINK) and text.endswith(_END)):
        return False
    return _TURN.search(text, len(_THINK), len(text) - len(_END)) is not None


def repeats_itself(text: str) -> bool:
    """Return whether twice a sentence of ``text`` had been there before; sentences end at full stops (v2)."""
    sentences = [stripped for sentence in text.split(".") if (stripped := sentence.strip())]
    return len(sentences) - len(set(sentences)) >= 2


def _first_object(text: str) -> Any:
    """Return v1's answer: the JSON from the first ``{`` that is no ``{}`` up to the next ``}``; None if unreadable."""
    start = text.find("{")
    end = text.find("}", start + 1)
    while start >= 0 and end == start + 1:
        start = text.find("{", end)
        end = text.find("}", start + 1)
    if start < 0 or end < 0:
        return None
    return _earned(lambda: json.loads(text[start : end + 1]))


def _tagged(text: str) -> str:
    """Return what stands between the first ``<answer>`` and the first ``</answer>`` after it; else ``ValueError``."""
    start = text.index(_ANSWER) + len(_ANSWER)
    return text[start : text.index(_END, start)].strip()


# ---- v1 ----


def _box_key(answer: Mapping[str, Any], strict: bool) -> str:
    return "bbox" if strict else next(key for key in [*answer, "bbox"] if "bbox" in key.lower())


def _box_v1(answer: Mapping[str, Any], strict: bool) -> Any:
    box = answer[_box_key(answer, strict)]
    if len(box) != 4:
        raise ValueError("want four coordinates")
    return box


def _keys_fit(answer: Mapping[str, Any], strict: bool) -> bool:
    if strict:
        wanted = {"bbox": 4, "points_1": 2, "points_2": 2}
        return all(isinstance(answer[key], list) and len(answer[key]) == count for key, count in wanted.items())
    box = _box_key(answer, strict)
    first, second, *_ = (key for key in answer if key != box and "point" in key.lower())
    return len(answer[box]) == 4 and len(answer[first]) == len(answer[second]) == 2


def inclusive_iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the IoU of boxes whose last pixel belongs to them; sharing one row or column alone is no overlap (v1)."""
    left, top = max(first[0], second[0]), max(first[1], second[1])
    right, bottom = min(first[2], second[2]), min(first[3], second[3])
    both = _pixels((left, top, right, bottom)) if left < right and top < bottom else 0
    return float(both) / (_pixels(first) + _pixels(second) - both)


def _pixels(box: Sequence[float]) -> float:
    return (box[2] - box[0] + 1) * (box[3] - box[1] + 1)


def _l1(first: Sequence[float], second: Sequence[float]) -> float:
    left, top, right, bottom = (abs(one - other) for one, other in zip(first, second, strict=True))
    return (left + top + right + bottom) / 4


def _points_fit(answer: Mapping[str, Any], truth: Truth, strict: bool) -> bool:
    """Return whether both points lie in the answer's own box and near the true ones, in the better order."""
    box = _box_v1(answer, strict)
    keys = ["points_1", "points_2"] if strict else [key for key in answer if "points" in key.lower()][:2]
    first, second = ((int(answer[key][0]), int(answer[key][1])) for key in keys)
    if not all(box[0] <= x <= box[2] and box[1] <= y <= box[3] for x, y in (first, second)):
        return False
    true, other = (_whole(point) for point in truth.points[0])
    straight = _distance(first, true) + _distance(second, other)
    crossed = _distance(first, other) + _distance(second, true)
    return min(straight, crossed) / 2 < POINTS_BELOW_V1


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    return math.sqrt((one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2)


def _whole(numbers: Sequence[float]) -> tuple[float, ...]:
    """Return whole numbers as ints: the published truths are, and so is the arithmetic with them."""
    return tuple(int(number) if float(number).is_integer() else number for number in numbers)


# ---- v2 ----


def _items_format(answer: Any) -> float:
    """Return the mean over items of one for a box of four and one for a point of two, up to the first non-item."""
    earned = 0.0
    try:
        for item in answer:
            earned += _item_format(item) / len(answer)
    except _MALFORMED:
        pass  # what stands before the bad item stays paid
    return earned


def _item_format(item: Any) -> float:
    return sum(
        isinstance(item[key], list) and len(item[key]) == count
        for key, count in (("bbox_2d", 4), ("point_2d", 2))
        if key in item
    )


def _accuracy(answer: Any, truth: Truth) -> float:
    """Return 0..3: the best pairing's points, three for each pair that fits, over the longer of the two lists."""
    pairs = [(item["bbox_2d"], item["point_2d"]) for item in answer][:MAX_OBJECTS]
    boxes, points = _array([box for box, _ in pairs], 4), _array([point for _, point in pairs], 2)
    true_boxes = np.array([_whole(box) for box in truth.boxes[:MAX_OBJECTS]])
    true_points = np.array([_whole(points[0]) for points in truth.points[:MAX_OBJECTS]])
    if not len(true_boxes):
        return 0.0
    with np.errstate(all="ignore"):  # overflow and NaN fit nothing, or wrap around as published
        fits = (
            (box_ious(boxes, true_boxes, last_pixel=1) > IOU_ABOVE).astype(float)
            + (np.abs(boxes[:, None] - true_boxes).mean(axis=2) < BOX_L1_BELOW)
            + _points_near(points, boxes, true_points)
        )
    return paired_mean(fits)


def _array(rows: list[Any], count: int) -> NDArray[Any]:
    """Return ``rows`` as NumPy reads them, whole numbers staying whole; ``TypeError`` unless each is ``count`` numbers.

    Anything else fails further on in the published code, too: text, null and lists have no distance from a number.
    Asked beforehand, because NumPy would give every number the width of the longest text.
    """
    for row in rows:
        if not (isinstance(row, list) and len(row) == count and all(isinstance(at, int | float) for at in row)):
            raise TypeError(f"want {count} numbers")
    return np.array(rows).reshape(-1, count)


def _points_near(points: NDArray[Any], boxes: NDArray[Any], true: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the (M, N) whether a point lies in its own box and near the true one."""
    inside = ((points >= boxes[:, :2]) & (points <= boxes[:, 2:])).all(axis=1)
    return inside[:, None] & (np.sqrt(((points[:, None] - true) ** 2).sum(axis=2)) < POINT_BELOW_V2)
