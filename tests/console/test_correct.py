"""Masks of what a person points at: boxes around them, nothing far away, and words where nothing is left."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from segzero_ros.answer import Target
from segzero_ros.command import Command
from segzero_ros.config import NodeConfig
from segzero_ros.console.correct import fitted, open_host, pieces_in
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Instance, Segmentation, Timing

ROOT = Path(__file__).parents[2]
FRAME = Frame(np.zeros((60, 80, 3), np.uint8), 1, "camera")
BOX = (10.0, 5.0, 30.0, 25.0)


def masked(labels: np.ndarray, *boxes: tuple[float, float, float, float]) -> Segmentation:
    instances = tuple(Instance("mug", 0.9, box, (box[0], box[1]), k) for k, box in enumerate(boxes, start=1))
    return Segmentation(Command("7", "mug"), Code.OK, "", "", instances, labels, FRAME, Timing(), "")


def test_the_box_is_that_around_the_mask_and_the_point_in_it() -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[8:20, 12:28] = 1
    (found,) = fitted(masked(labels, BOX)).instances
    assert found.box == (12, 8, 28, 20) and labels[int(found.point[1]), int(found.point[0])] == 1


def test_pieces_that_lie_wholly_outside_the_box_are_left_out_and_no_others() -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[20:28, 25:35] = 1  # over the edge: it belongs to the object
    labels[8:10, 12:14] = 1
    labels[50:55, 70:75] = 1  # far away
    labels[0:4, 0:4] = 2
    found = fitted(masked(labels, BOX, (0.0, 0.0, 5.0, 5.0)))
    assert (found.labels == 1).sum() == 80 + 4 and (found.labels == 2).sum() == 16
    assert found.instances[0].box == (12, 8, 35, 28)


def test_a_box_between_two_pixels_keeps_what_it_touches() -> None:
    mask = np.zeros((4, 4), np.bool_)
    mask[1, 1] = True
    assert pieces_in(mask, (1.9, 1.9, 2.1, 2.1)).sum() == 1
    assert pieces_in(mask, (2.0, 2.0, 3.0, 3.0)).sum() == 0


def test_an_object_of_which_nothing_is_left_is_named() -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[50:55, 70:75] = 1
    with pytest.raises(RejectedInput, match="nothing is left of object 1"):
        fitted(masked(labels, BOX))


def test_beside_a_node_with_engines_of_its_own_the_segmenter_alone_is_opened() -> None:
    """A real process with the demo bundle's segmenter."""
    rgb = cv2.cvtColor(cv2.imread(str(ROOT / "docs" / "images" / "table.jpg")), cv2.COLOR_BGR2RGB)
    host = open_host(NodeConfig.from_mapping({"bundle": str(ROOT / "bundles" / "tabletop")}))
    try:
        height, width = rgb.shape[:2]
        box = (0.4 * width, 0.4 * height, 0.6 * width, 0.6 * height)
        found = host.mask(Frame(rgb, 1), Command("7", "mug"), (Target(box, ()),))
        assert (found.code, found.labels.shape) == (Code.OK, (height, width))
        assert "segmenter" in host.state().opened.engines and "reasoner" not in host.state().opened.engines
    finally:
        host.close()
