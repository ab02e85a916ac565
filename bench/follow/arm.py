"""Whether things stay followed while an arm passes before them: `python -m bench.follow.arm --seeds 51 52 53 54 55`.

The table of `demo.launch.py` with other seeds, moving camera and pushes included, and the arm of its service `wave`,
which is grey. Each thing that is clearly seen at first is followed alone, from its true mask.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("LP_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from bench.record import record
from segzero_ros.errors import RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.matching import mask_iou
from segzero_ros.segmenter import Tracker
from segzero_ros.tabletop.scenarios import LiveWorld
from training.evaluation.tracking.trackers import open_tracker

BEGIN_S, WAVE_S, SECONDS, RATE_HZ = 6.0, 1.0, 8.4, 10.0
SEEN, HIDDEN = 60, 30  # pixels of a thing from which it counts as seen, and below which as hidden
LAST = 10  # frames in the end, in which the arm is gone


@dataclass(frozen=True, slots=True)
class Passed:
    """One thing: mean IoU where it is seen, over all frames and the last, and in how many hidden ones it was told."""

    seed: int
    name: str
    iou: float
    last: float
    hidden: int
    told_when_hidden: int


def passes(seed: int, trackers: Iterator[Tracker]) -> list[Passed]:
    """Follow all clear things of one table; ``trackers`` gives one for each."""
    with LiveWorld("demo", seed) as world:
        view = world.step(BEGIN_S)
        things = [thing for thing in view.things if thing.clear]
        followed = [next(trackers) for _ in things]
        for thing, tracker in zip(things, followed, strict=True):
            tracker.start(Frame(view.rgb, 0), (view.labels == thing.id)[None])
        seen: list[list[tuple[int, int, float]]] = [[] for _ in things]
        for step in range(1, round(SECONDS * RATE_HZ) + 1):
            if step == round(WAVE_S * RATE_HZ):
                world.wave()
            view = world.step(BEGIN_S + step / RATE_HZ)
            for row, (thing, tracker) in enumerate(zip(things, followed, strict=True)):
                told, truth = tracker.step(Frame(view.rgb, step)).masks[0], view.labels == thing.id
                seen[row].append((int(truth.sum()), int(told.sum()), mask_iou(told, truth)))
    return [_passed(seed, f"{thing.colour} {thing.kind}", frames) for thing, frames in zip(things, seen, strict=True)]


def _passed(seed: int, name: str, frames: Sequence[tuple[int, int, float]]) -> Passed:
    ious = [iou for pixels, _, iou in frames if pixels > SEEN]
    hidden = [told for pixels, told, _ in frames if pixels < HIDDEN]
    return Passed(
        seed,
        name,
        round(float(np.mean(ious)), 3),
        round(float(np.mean(ious[-LAST:])), 3),
        len(hidden),
        sum(told > 0 for told in hidden),
    )


def summary(things: Sequence[Passed]) -> dict[str, float]:
    """Means over things, and how many are on their thing in the end."""
    return {
        "things": len(things),
        "iou": round(float(np.mean([one.iou for one in things])), 3),
        "on_it_in_the_end": sum(one.last > 0.5 for one in things),
        "hidden_frames": sum(one.hidden for one in things),
        "told_when_hidden": sum(one.told_when_hidden for one in things),
    }


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[51, 52, 53, 54, 55], help="tables (default: 51 to 55)")
    parser.add_argument("--tracker", choices=("memory", "prompted", "stay"), default="memory")
    parser.add_argument("--bundle", default="tabletop", help="whose tracker it is (default: tabletop)")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    try:
        make = open_tracker(options.tracker, options.bundle)
    except RejectedInput as error:
        print(error, file=sys.stderr)
        return 2
    things = [one for seed in options.seeds for one in passes(seed, iter(make, None))]
    for one in things:
        told = f"told in {one.told_when_hidden} of {one.hidden} frames in which it is hidden"
        print(f"{one.seed} {one.name}: {one.iou:.2f}, {one.last:.2f} in the end, {told}")
    found = summary(things)
    print(json.dumps(found))
    if options.out:
        command = [
            "python",
            "-m",
            "bench.follow.arm",
            "--tracker",
            options.tracker,
            "--seeds",
            *map(str, options.seeds),
        ]
        settings = {"seconds": SECONDS, "rate_hz": RATE_HZ, "bundle": options.bundle}
        made = record("arm", command, settings, found | {"each": [asdict(one) for one in things]})
        options.out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
