"""The gate for a bundle made smaller: does it still answer as its 16-bit parent does, question by question?

    python -m export.gate SMALLER --parent BUNDLE --data tabletop --count 300

Both are asked the same questions through the robot's own pipeline. It passes with a median box IoU against the parent
of at least 0.9 and a gIoU against the truth that is at most one point lower; exit status 1 otherwise. 4-bit weights and
8-bit caches are reported to hurt boxes first, while the text still reads well: hence boxes, not texts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from export.compare import Check, format_table
from segzero_ros.bundle import Bundle, open_bundle
from segzero_ros.command import read_command
from segzero_ros.engines import EngineOptions, open_pipeline
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Pipeline, Segmentation
from segzero_ros.scores import Box, box_iou, mask_iou

if TYPE_CHECKING:
    from numpy.typing import NDArray

BOX_IOU = 0.9  # median over the questions, against the parent's boxes
GIOU_DROP = 0.01  # one point of the mean mask IoU against the truth
COUNT = 300  # questions: the drop is then known to about half a point


class Asked(Protocol):
    """A question with its truth, as ``training.data.Example`` has it."""

    question: str
    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None


def pass_gate(smaller: Bundle, parent: Bundle, examples: Iterable[Asked], *, threads: int = 0) -> list[Check]:
    """Ask both bundles every question; return the checks, with the number of questions in their reference's name."""
    options = EngineOptions(threads=threads)
    ours, theirs = (open_pipeline(bundle, "onnx", options=options) for bundle in (smaller, parent))
    overlaps, drops = [], []
    for number, example in enumerate(examples):
        found, wanted = (_ask(pipeline, example, number) for pipeline in (ours, theirs))
        overlaps.append(boxes_iou(_boxes(found), _boxes(wanted)))
        if example.mask is not None:
            drops.append(_giou(wanted, example.mask) - _giou(found, example.mask))
    return checks(overlaps, drops)


def checks(overlaps: Sequence[float], drops: Sequence[float]) -> list[Check]:
    """Turn box IoUs and gIoU drops, one per question, into the gate's two checks; no questions pass nothing."""
    reference = f"parent, {len(overlaps)}"
    median = float(np.median(overlaps)) if overlaps else float("nan")
    drop = float(np.mean(drops)) if drops else float("nan")
    return [
        Check("boxes: median IoU", reference, median, BOX_IOU, more=True),
        Check("masks: gIoU lost against the truth", reference, drop, GIOU_DROP),
    ]


def boxes_iou(found: Sequence[Box], wanted: Sequence[Box]) -> float:
    """Return the mean IoU of the best pairing; what is left over on either side counts 0, two empty answers 1."""
    if not found and not wanted:
        return 1.0
    table = np.array([[box_iou(one, other) for other in wanted] for one in found]).reshape(len(found), len(wanted))
    pairs = linear_sum_assignment(table, maximize=True)
    return float(table[pairs].sum() / max(len(found), len(wanted)))


def _ask(pipeline: Pipeline, example: Asked, number: int) -> Segmentation:
    return pipeline.ground(
        Frame(np.ascontiguousarray(example.rgb), number), read_command(example.question, str(number))
    )


def _boxes(result: Segmentation) -> list[Box]:
    return [instance.box for instance in result.instances]


def _giou(result: Segmentation, truth: NDArray[np.bool_]) -> float:
    return mask_iou(result.labels > 0, truth)


def main(arguments: Sequence[str] | None = None) -> int:
    """Hold one bundle against another from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m export.gate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--parent", type=Path, required=True, help="the 16-bit bundle it was made from")
    add_data_options(parser)
    options = parser.parse_args(arguments)
    found = pass_gate(open_bundle(options.bundle), open_bundle(options.parent), asked(options))
    print(format_table(found))
    return 0 if all(check.passed for check in found) else 1


def asked(options: argparse.Namespace) -> Iterator[Asked]:
    """Return the questions that the options name, one after the other."""
    from training.data import open_examples

    examples = open_examples(options.data, split=options.split, seed=options.seed, count=options.count)
    return (examples[n] for n in range(len(examples)))


def drawn_from_tabletop(count: int, seed: int) -> Iterator[Asked]:
    """Return validation questions about the demo world."""
    return asked(argparse.Namespace(data="tabletop", split="val", seed=seed, count=count))


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which questions the gate asks."""
    parser.add_argument("--data", default="tabletop", help="questions with their truth, as for `segzero eval`")
    parser.add_argument("--split", default="val", help="of the data (default val: the test set stays unseen)")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--count", type=int, default=COUNT, help=f"questions (default {COUNT})")


if __name__ == "__main__":
    sys.exit(main())
