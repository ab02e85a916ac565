"""An example and how one is read: what every format of data shares, from the fields of a row to a question with truth.

A row that cannot be used raises ``BadRow``, which names the file, the row and the mend.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segzero_ros.answer import MAX_TARGETS, Point
from segzero_ros.command import read_command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.matching import Box
from segzero_ros.profile import Profile
from training.rewards.truth import Truth

Mask = NDArray[np.bool_]

# A box of s x s pixels whose corners are rounded to whole pixels keeps an IoU of ((s - 1) / s)^2 at worst: over the
# 0.5 that every score asks for from 4 pixels on.
LEAST_SIDE = 4.0
BORDER = 1.0  # pixels; a rounded box may reach less than that beyond its picture
LEAST_PICTURE = 28  # pixels: one visual token of Qwen2.5-VL, patch 14 x merge 2


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A picture, a question, and what is meant by it.

    ``question``: as a person says it; the profile makes the prompt of it. ``rgb``: uint8 (H, W, 3), the source
    picture. ``boxes``: half-open x0 y0 x1 y1 in source pixels, one per object meant; none = no such object.
    ``points``: per object one or two (x, y) inside its box, source pixels, the middle of the first pixel at 0.5.
    ``mask``: (H, W), all pixels meant, or None where the data has boxes only. ``ignore``: (H, W), pixels that LISA's
    protocol does not count. ``object_masks``: (H, W) per box, or none where they are not known one by one. ``kind``:
    the type of question, where the data tells. ``unseen_*``: the demo world keeps it out of training.
    """

    id: str
    question: str
    rgb: NDArray[np.uint8]
    boxes: tuple[Box, ...]
    points: tuple[tuple[Point, ...], ...]
    mask: Mask | None
    ignore: Mask | None = None
    object_masks: tuple[Mask, ...] = ()
    kind: str = ""
    unseen_pair: bool = False
    unseen_wording: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture."""
        return self.rgb.shape[1], self.rgb.shape[0]

    def label_image(self) -> NDArray[np.uint8]:
        """(H, W) what the true masks cover: n on object n, 1 everywhere where only their union is known."""
        labels = np.zeros(self.rgb.shape[:2], np.uint8)
        if self.mask is not None:
            labels[self.mask] = 1
        for n, mask in enumerate(self.object_masks, start=1):
            labels[mask] = n
        return labels


class Examples(Protocol):
    """A data set: examples by number, decoded when they are asked for, the same each time."""

    @property
    def name(self) -> str:
        """What data this is and how it was read, in a few words."""
        ...

    def where(self, n: int) -> str:
        """File and row of example ``n``, as errors name it."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, n: int) -> Example:
        """Example ``n`` from 0 on. ``BadRow`` where the data is wrong, IndexError beyond the last."""
        ...


class BadRow(RejectedInput):
    """A row of a data set that cannot be used; ``where`` names file and row, ``why`` what is wrong and the mend."""

    def __init__(self, where: str, code: Code, why: str) -> None:
        super().__init__(code, f"{where}: {why}")
        self.where, self.why = where, why


@contextmanager
def at_row(where: str) -> Iterator[None]:
    """Say of what is refused inside where it stands."""
    try:
        yield
    except BadRow:
        raise
    except RejectedInput as error:
        raise BadRow(where, error.code, error.detail) from None


class Rows:
    """``Examples`` whose rows are known, ``_rows``; a format says where one of them stands, and reads it."""

    name: str
    _rows: Sequence[Any]

    def _where(self, row: Any) -> str:
        raise NotImplementedError

    def _read(self, row: Any) -> Example:
        raise NotImplementedError

    def where(self, n: int) -> str:
        """File and row of example ``n``."""
        return self._where(self._rows[n])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, n: int) -> Example:
        row = self._rows[n]
        with at_row(self._where(row)):
            return self._read(row)


def unusable(detail: str) -> RejectedInput:
    """Return the error of data that is wrong as a whole or in a row; ``detail`` says what came and what to do."""
    return RejectedInput(Code.CONFIG_VALUE, detail)


# ---- from the fields of a row to an example ----


def read_question(text: object) -> str:
    """Return a question as the robot hears it (command.py); ``RejectedInput`` where it would refuse it."""
    if not isinstance(text, str):
        raise unusable(f"got the question {quote(text)}, want text; write what to find, for example 'the red mug'")
    return read_command(text, "question").text


def read_boxes(value: object, size: tuple[int, int]) -> tuple[Box, ...]:
    """Return boxes of a list of [x0, y0, x1, y1]; ``RejectedInput`` naming all that are wrong.

    ``size``: (width, height) of the picture they must lie in; what is rounded beyond its border by less than a pixel
    ends there.
    """
    if not isinstance(value, list):
        raise unusable(f"got boxes {quote(value)}, want a list of [x0, y0, x1, y1]; [] means there is no such object")
    if len(value) > MAX_TARGETS:
        raise unusable(f"got {len(value)} boxes, want at most {MAX_TARGETS}; ask for fewer objects at once")
    faults = [fault for box in value if (fault := _box_fault(box, size))]
    if faults:
        raise unusable("; ".join(faults))
    return tuple(_within(box, size) for box in value)


def _within(box: Sequence[float], size: tuple[int, int]) -> Box:
    """Return the box cut at the picture's border."""
    x0, x1 = (min(max(float(x), 0.0), float(size[0])) for x in box[::2])
    y0, y1 = (min(max(float(y), 0.0), float(size[1])) for y in box[1::2])
    return x0, y0, x1, y1


def _box_fault(box: object, size: tuple[int, int]) -> str:
    if not are_numbers(box, 4):
        return f"got the box {quote(box)}, want four plain numbers [x0, y0, x1, y1]"
    assert isinstance(box, list)
    x0, y0, x1, y1 = box
    if not (x0 < x1 and y0 < y1):
        return f"got the box {quote(box)} without area, want x0 < x1 and y0 < y1 (corners, not width and height)"
    beyond = max(-x0, -y0, x1 - size[0], y1 - size[1])
    if beyond >= BORDER or x1 <= 0 or y1 <= 0 or x0 >= size[0] or y0 >= size[1]:
        return (
            f"got the box {quote(box)} outside the picture of {size[0]} x {size[1]} pixels; "
            "give pixels of this very file, as [x0, y0, x1, y1] from its top left corner"
        )
    return ""


def read_points(value: object, boxes: Sequence[Box]) -> tuple[tuple[Point, ...], ...]:
    """Return the points of each box, from one [x, y] or a list of one or two of them per box."""
    if not isinstance(value, list) or len(value) != len(boxes):
        got = f"{len(value)} points" if isinstance(value, list) else f"points {quote(value)}"
        raise unusable(f"got {got} for {len(boxes)} boxes, want one [x, y], or [[x, y], [x, y]], per box, or no points")
    several = [[item] if are_numbers(item, 2) else item for item in value]
    faults = [fault for item, box in zip(several, boxes, strict=True) if (fault := _point_fault(item, box))]
    if faults:
        raise unusable("; ".join(faults))
    return tuple(tuple((float(x), float(y)) for x, y in item) for item in several)


def _point_fault(points: object, box: Box) -> str:
    if not isinstance(points, list) or len(points) not in (1, 2) or not all(are_numbers(p, 2) for p in points):
        return f"got the points {quote(points)}, want one or two [x, y]"
    x0, y0, x1, y1 = box
    outside = [point for point in points if not (x0 <= point[0] <= x1 and y0 <= point[1] <= y1)]
    return f"got the point {quote(outside[0])} outside its box {quote(list(box))}; move one of them" if outside else ""


def are_numbers(value: object, count: int) -> bool:
    """Tell whether this is a list of so many finite numbers (True is none)."""
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(number, int | float) and not isinstance(number, bool) for number in value)
        and all(abs(number) < 1e6 and math.isfinite(number) for number in value)
    )


def quote(value: object) -> str:
    """Return a value of the data as an error quotes it: one short line."""
    if isinstance(value, list) and all(isinstance(item, int | float) for item in value) and len(value) <= 4:
        return "[" + ", ".join(f"{item:g}" if abs(item) < 1e9 else str(item)[:12] for item in value) + "]"
    text = ascii(value) if not isinstance(value, str) else repr(value[:60])
    return text if len(text) <= 60 else text[:57] + "..."


# ---- from the source's pixels to the model's coordinates ----


def fit_profile(example: Example, profile: Profile) -> Truth:
    """Return what is meant in the coordinates the profile's model speaks in, not rounded.

    A v1 profile gets two points per object (the only one twice where the data has one), the others the first one.
    Raises ``RejectedInput`` CONFIG_VALUE for what the profile cannot say or no model of it could see: no object where
    it was not trained to abstain, several where it names one, a picture or a box too small.
    """
    faults = profile_faults(example, profile)
    if faults:
        raise unusable("; ".join(faults))
    width, height = profile.coordinate_size()
    across, down = width / example.size[0], height / example.size[1]
    boxes = tuple((x0 * across, y0 * down, x1 * across, y1 * down) for x0, y0, x1, y1 in example.boxes)
    wanted = 2 if profile.grammar == "v1" else 1
    points = tuple(tuple((x * across, y * down) for x, y in (given * 2)[:wanted]) for given in example.points)
    return Truth(boxes, points, (width, height))


def profile_faults(example: Example, profile: Profile) -> list[str]:
    """Return why this example cannot teach or test a model of this profile; nothing where it can."""
    faults = _count_faults(len(example.boxes), profile)
    if min(example.size) < LEAST_PICTURE:
        faults.append(f"got a picture of {example.size[0]} x {example.size[1]}, want sides of at least {LEAST_PICTURE}")
    across, down = (frame / side for frame, side in zip(profile.image_size, example.size, strict=True))
    for box in example.boxes:
        width, height = (box[2] - box[0]) * across, (box[3] - box[1]) * down
        if min(width, height) < LEAST_SIDE:
            faults.append(
                f"got the box {quote(list(box))}, which is {width:.1f} x {height:.1f} pixels once the picture is "
                f"{profile.image_size[0]} x {profile.image_size[1]}, want at least {LEAST_SIDE:g}; crop the picture"
            )
    return faults


def _count_faults(count: int, profile: Profile) -> list[str]:
    if not count and not profile.abstains:
        return [f"got no object, which the profile {profile.name} cannot say; use abstaining_v2 or leave this row out"]
    if profile.grammar == "v1" and count > 1:
        return [f"got {count} objects, and the profile {profile.name} names one; use a v2 profile or one row each"]
    return []
