"""Small pictures whose truth is known, and answers to them, for the tests of the evaluation."""

import json

import numpy as np

from segzero_ros.errors import Code, RejectedInput
from training.data.base import Example

SIZE = 84  # a tenth of the profile's picture, so that its coordinates are ten times these
MUG, BOWL = (10.0, 10.0, 30.0, 40.0), (50.0, 50.0, 80.0, 70.0)


def mask_of(*boxes):
    mask = np.zeros((SIZE, SIZE), bool)
    for x0, y0, x1, y1 in boxes:
        mask[int(y0) : int(y1), int(x0) : int(x1)] = True
    return mask


def example(name, *boxes, kind="attribute", question="the mug", **more):
    points = tuple((((x0 + x1) / 2, (y0 + y1) / 2),) for x0, y0, x1, y1 in boxes)
    fields = {"mask": mask_of(*boxes), "object_masks": tuple(mask_of(box) for box in boxes), "kind": kind} | more
    return Example(name, question, np.zeros((SIZE, SIZE, 3), np.uint8), boxes, points, **fields)


def said(*boxes, thinking="so"):
    items = [{"bbox_2d": [10 * int(v) for v in box], "point_2d": [10 * int(box[0]), 10 * int(box[1])]} for box in boxes]
    return f"<think>{thinking}</think><answer>{json.dumps(items)}</answer>"


class Made:
    """Examples of a list; where the list has an exception, it is raised."""

    name = "made"

    def __init__(self, *given):
        self._given = given

    def __len__(self):
        return len(self._given)

    def __getitem__(self, n):
        if isinstance(self._given[n], Exception):
            raise self._given[n]
        return self._given[n]


def bad_row():
    return RejectedInput(Code.IMAGE_UNREADABLE, "data.jsonl line 2: got no picture; put it there")
