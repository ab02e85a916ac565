"""Parity of a smaller bundle with its parent: does it still answer as the 16-bit one does, question by question?

``python -m export.compare SMALLER --parent BUNDLE`` asks about the demo world, ``python -m training.evaluation.parity``
about any data set. Both bundles are asked the same questions through the robot's own pipeline. It passes with a median
box IoU against the parent of at least 0.9 and a gIoU against the truth that is at most one point lower; exit status 1
otherwise. 4-bit weights and 8-bit caches are reported to hurt boxes first, while the text still reads well: so boxes,
not texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from export.assignment import paired_mean
from export.checks import Check
from segzero_ros.backends import EngineOptions, open_pipeline
from segzero_ros.bundle import Bundle
from segzero_ros.command import read_command
from segzero_ros.frame import Frame
from segzero_ros.matching import Box, box_ious, mask_iou
from segzero_ros.pipeline import Pipeline, Segmentation
from segzero_ros.tabletop.samples import samples
from segzero_ros.tabletop.scene import Split

BOX_IOU = 0.9  # median over the questions, against the parent's boxes
GIOU_DROP = 0.01  # one point of the mean mask IoU against the truth
COUNT = 300  # questions: the drop is then known to about half a point


@dataclass(frozen=True, slots=True, eq=False)
class RenderedExample:
    """A question about the demo world: ``rgb`` uint8 (H, W, 3), ``mask`` (H, W) of all that is meant."""

    question: str
    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None


class ExampleLike(Protocol):
    """A question with its truth, as ``training.data.base.Example`` has it."""

    @property
    def question(self) -> str:
        """What is asked."""
        ...

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """The picture (H, W, 3)."""
        ...

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """All that is meant (H, W), None where it is not known."""
        ...


def check_parity(smaller: Bundle, parent: Bundle, examples: Iterable[ExampleLike], *, threads: int = 0) -> list[Check]:
    """Ask both bundles every question; return the checks, with the number of questions in their reference's name."""
    options = EngineOptions(threads=threads)
    ours, theirs = (open_pipeline(bundle, "onnx", options=options) for bundle in (smaller, parent))
    overlaps, drops = [], []
    for number, example in enumerate(examples):
        found, wanted = (_ask(pipeline, example, number) for pipeline in (ours, theirs))
        overlaps.append(paired_mean(box_ious(_boxes(found), _boxes(wanted))))
        if example.mask is not None:
            drops.append(_giou(wanted, example.mask) - _giou(found, example.mask))
    return checks(overlaps, drops)


def checks(overlaps: Sequence[float], drops: Sequence[float]) -> list[Check]:
    """Turn box IoUs and gIoU drops, one per question, into the two checks; no questions pass nothing."""
    reference = f"parent, {len(overlaps)}"
    median = float(np.median(overlaps)) if overlaps else float("nan")
    drop = float(np.mean(drops)) if drops else float("nan")
    return [
        Check("boxes: median IoU", reference, median, BOX_IOU, more=True),
        Check("masks: gIoU lost against the truth", reference, drop, GIOU_DROP),
    ]


def _ask(pipeline: Pipeline, example: ExampleLike, number: int) -> Segmentation:
    return pipeline.ground(
        Frame(np.ascontiguousarray(example.rgb), number), read_command(example.question, str(number))
    )


def _boxes(result: Segmentation) -> list[Box]:
    return [instance.box for instance in result.instances]


def _giou(result: Segmentation, truth: NDArray[np.bool_]) -> float:
    return mask_iou(result.labels > 0, truth)


def tabletop_examples(count: int, seed: int, split: Split = "val") -> Iterator[ExampleLike]:
    """Return questions about the demo world, of the split that nothing is tested on unless another is named."""
    for sample in samples(split, seed, count):
        mask = np.isin(sample.view.labels, sample.instruction.targets)
        yield RenderedExample(sample.instruction.text, sample.view.rgb, mask)
