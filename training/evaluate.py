"""Scores a bundle on scenes whose truth is known, through the robot's own pipeline: no torch, no second path.

    segzero eval --data tabletop --split test --seed 7 --count 300

Every sample counts; an answer that cannot be read, or an engine that fails, is a wrong answer with its code.
"""

import json
import os
import platform
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from segzero_ros.command import read_command
from segzero_ros.commands.ground import add_bundle_options, open_engines
from segzero_ros.commands.parser import OK, Parser, at_least, one_of
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Pipeline, Segmentation
from segzero_ros.scores import all_matched, overlap
from training.summary import STAGES, Record, summarise, table

Box = tuple[float, float, float, float]

DATA = ("tabletop",)
SPLITS = ("train", "val", "test")
EXAMPLES = (
    "segzero eval --data tabletop --split test --seed 7 --count 300",
    "segzero eval --count 50 --seed 1 --samples worst.jsonl --json summary.json",
)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A question with its truth.

    ``rgb``: uint8 (H, W, 3). ``mask``: bool (H, W), all pixels meant. ``boxes``: of the visible part of each object
    meant, source pixels, half-open; none for an absent one. ``unseen_*``: kept out of training.
    """

    number: int
    type: str
    text: str
    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    boxes: tuple[Box, ...]
    unseen_pair: bool = False
    unseen_wording: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    options = read_arguments(sys.argv[1:] if arguments is None else arguments)
    pipeline = open_engines(options.bundle, options.backend)
    samples = tabletop_samples(options.split, options.seed, options.count)
    began = time.monotonic()
    records = list(run(pipeline, samples, progress(options.count, options.samples)))
    summary = about(options, time.monotonic() - began) | summarise(records)
    print(table(summary))
    if options.json:
        options.json.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return OK


def read_arguments(arguments: Sequence[str]) -> Namespace:
    """Return the options of `segzero eval`."""
    parser = Parser(
        "segzero eval", "Score a bundle on scenes whose truth is known, through the robot's pipeline.", EXAMPLES
    )
    parser.add_argument(
        "--data", type=one_of(DATA), default="tabletop", metavar="NAME", help=f"{', '.join(DATA)} (default)"
    )
    split = "test holds compositions and wordings that training never saw (default)"
    parser.add_argument(
        "--split", type=one_of(SPLITS), default="test", metavar="NAME", help=f"{', '.join(SPLITS)}: {split}"
    )
    parser.add_argument("--seed", type=at_least(0), default=7, help="another seed gives other scenes (default 7)")
    parser.add_argument("--count", type=at_least(1), default=300, help="scenes, one question each (default 300)")
    add_bundle_options(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--samples", type=Path, metavar="FILE", help="write one JSON line per sample")
    return parser.read(arguments)


def tabletop_samples(split: str, seed: int, count: int) -> Iterator[Sample]:
    """Yield questions about rendered scenes of the demo world, the same for the same arguments."""
    from segzero_ros.tabletop.samples import samples

    for sample in samples(split, seed, count):  # type: ignore[arg-type]
        view, asked = sample.view, sample.instruction
        boxes = tuple(view.thing(target).box for target in asked.targets)
        mask = np.isin(view.labels, asked.targets)
        unseen = asked.unseen_pair, asked.unseen_wording
        yield Sample(sample.index, asked.type, asked.text, view.rgb, mask, boxes, *unseen)


def run(pipeline: Pipeline, samples: Iterable[Sample], seen: Callable[[Record], None]) -> Iterator[Record]:
    """Ask every question and score its answer; ``seen`` gets each record at once."""
    for sample in samples:
        command = read_command(sample.text, f"sample-{sample.number}")
        record = score(sample, pipeline.ground(Frame(sample.rgb, 0), command))
        seen(record)
        yield record


def score(sample: Sample, result: Segmentation) -> Record:
    """Compare an answer with the truth."""
    boxes = tuple(instance.box for instance in result.instances)
    both, either = overlap(result.labels > 0, sample.mask)
    return Record(
        number=sample.number,
        type=sample.type,
        text=sample.text,
        unseen_pair=sample.unseen_pair,
        unseen_wording=sample.unseen_wording,
        code=result.code.name,
        detail=result.detail,
        answer=result.text,
        boxes=boxes,
        true_boxes=sample.boxes,
        matched=all_matched(boxes, sample.boxes),
        intersection=both,
        union=either,
        tokens=result.timing.tokens,
        milliseconds={stage: round(getattr(result.timing, stage), 2) for stage in STAGES},
    )


def progress(count: int, samples: Path | None) -> Callable[[Record], None]:
    """Return what is done with each record: a line in the file, and on a terminal a count of those right so far."""
    lines: TextIO | None = samples.open("w", encoding="utf-8") if samples else None
    right = done = 0

    def seen(record: Record) -> None:
        nonlocal right, done
        right, done = right + record.right, done + 1
        if lines:
            print(record.line(), file=lines, flush=True)
        if sys.stderr.isatty():
            end = "\n" if done == count else ""
            print(f"\r{done}/{count}, {right} right", end=end, file=sys.stderr, flush=True)

    return seen


def about(options: Namespace, seconds: float) -> dict[str, Any]:
    """Return what was evaluated, when, and on which machine."""
    return {
        "data": options.data,
        "split": options.split,
        "seed": options.seed,
        "bundle": Path(options.bundle).name,
        "backend": options.backend,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "seconds": round(seconds, 1),
    }


def processor() -> str:
    """Return the CPU's name as Linux tells it, else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
