"""What an answer is rewarded against, what a reward is, and upstream's ``solution`` texts read and written.

A ``Truth`` is in the coordinates the model speaks in: the profile's frame, 840 x 840 for the published checkpoints.
Seg-Zero's dataset (v1) writes one object as ``<box>(x1,y1),(x2,y2)</box><points>(x,y),(x,y)</points>``;
VisionReasoner's (v2) writes ``[{"bbox_2d": [x1,y1,x2,y2], "point_2d": [x,y]}, ...]``. Both count whole pixels.
"""

import functools
import json
import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segzero_ros.answer import Point
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.matching import Box

_SHOWN = 80  # characters of a bad solution quoted in an error
_PAIR = r"\((\d{1,9}),(\d{1,9})\),\((\d{1,9}),(\d{1,9})\)"
_BOX = re.compile(rf"<box>{_PAIR}</box>", re.ASCII)
_POINTS = re.compile(rf"<points>{_PAIR}</points>", re.ASCII)


@dataclass(frozen=True, slots=True)
class Truth:
    """The objects meant by a question; none of them = "no such object".

    ``boxes``: x0 y0 x1 y1 per object. ``points``: per object one or two (x, y) inside it. ``size``: (width, height) of
    the frame both are in, which is the profile's ``coordinate_size()``. Raises ``ValueError`` when the lists do not
    pair off or a number is none; whether coordinates lie inside the frame is for ``fit_profile`` to say.
    """

    boxes: tuple[Box, ...]
    points: tuple[tuple[Point, ...], ...]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if len(self.boxes) != len(self.points):
            raise ValueError(f"got {len(self.boxes)} boxes and points for {len(self.points)} objects, want as many")
        if any(len(box) != 4 for box in self.boxes) or not all(1 <= len(points) <= 2 for points in self.points):
            raise ValueError("want four numbers per box and one or two points per object")
        if not all(math.isfinite(number) for numbers in (*self.boxes, *sum(self.points, ())) for number in numbers):
            raise ValueError("got NaN or infinity among the coordinates, want numbers")
        if min(self.size) < 1:
            raise ValueError(f"got the frame size {self.size}, want (width, height) in pixels")


@dataclass(frozen=True, slots=True)
class Reward:
    """One answer's reward by part, in the order in which they are added up; ``total`` is their sum."""

    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        """The parts added one by one, from the first on: ``sum`` compensates for rounding in newer Pythons."""
        return functools.reduce(operator.add, self.parts.values(), 0.0)


def read_solution_v1(text: str, size: tuple[int, int]) -> Truth:
    """Read Seg-Zero's ``solution``: its box and its two points; CONFIG_VALUE unless there is one of each."""
    box, points = _BOX.search(text), _POINTS.search(text)
    if box is None or points is None or text.count("<box>") > 1 or text.count("<points>") > 1:
        raise _unusable(text, "one <box>(x1,y1),(x2,y2)</box><points>(x,y),(x,y)</points> in whole pixels")
    x0, y0, x1, y1 = (float(number) for number in box.groups())
    ax, ay, bx, by = (float(number) for number in points.groups())
    return Truth(((x0, y0, x1, y1),), (((ax, ay), (bx, by)),), size)


def read_solution_v2(text: str, size: tuple[int, int]) -> Truth:
    """Read VisionReasoner's ``solution``, a JSON list; ``[]`` is "no such object". CONFIG_VALUE for anything else."""
    try:
        items = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _unusable(text, 'a JSON list [{"bbox_2d": [x1, y1, x2, y2], "point_2d": [x, y]}, ...]')
    boxes = tuple(_numbers(item.get("bbox_2d"), 4, text) for item in items)
    points = tuple((_numbers(item.get("point_2d"), 2, text),) for item in items)
    return Truth(boxes, points, size)


def write_solution_v1(truth: Truth) -> str:
    """Write the one object of ``truth`` as Seg-Zero's dataset does, in whole pixels; CONFIG_VALUE if not one."""
    if len(truth.boxes) != 1 or len(truth.points[0]) != 2:
        raise RejectedInput(
            Code.CONFIG_VALUE,
            f"got {len(truth.boxes)} objects with {[len(points) for points in truth.points]} points, want one object "
            "with two points; write the others as v2",
        )
    x0, y0, x1, y1 = map(round, truth.boxes[0])
    (ax, ay), (bx, by) = (map(round, point) for point in truth.points[0])
    return f"<box>({x0},{y0}),({x1},{y1})</box><points>({ax},{ay}),({bx},{by})</points>"


def write_solution_v2(truth: Truth) -> str:
    """Write ``truth`` as VisionReasoner's dataset does: whole pixels, the first point of each object."""
    return json.dumps(
        [
            {"bbox_2d": [round(value) for value in box], "point_2d": [round(value) for value in points[0]]}
            for box, points in zip(truth.boxes, truth.points, strict=True)
        ]
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; ValueError for a key given twice, of which the last would count."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


def _numbers(value: Any, count: int, text: str) -> Any:
    plain = isinstance(value, list) and all(type(number) in (int, float) for number in value)
    if not plain or len(value) != count or not all(abs(number) < 1e9 for number in value):
        raise _unusable(text, "four finite numbers under 'bbox_2d' and two under 'point_2d' for every object")
    return tuple(float(number) for number in value)


def _unusable(text: str, wanted: str) -> RejectedInput:
    return RejectedInput(
        Code.CONFIG_VALUE, f"got the solution {text[:_SHOWN]!r}, want {wanted}; mend the row, or leave it out"
    )
