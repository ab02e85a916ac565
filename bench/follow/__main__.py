"""How well masks fit the world when they are published: `python -m bench.follow --tracker prompted --bundle tabletop`.

A thing moves at one of three speeds under a camera at one of three speeds. A command comes with the first frame, the
answer is ready some seconds later; its mask is the bundle's segmenter's, of the true box. It is published as it is,
and followed to now by the node's own code first. IoU with the truth of its own frame (that of the header) and of now.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("LP_NUM_THREADS", "1")

import numpy as np

from bench.follow.carry import Published, carry, first_mask, publish_at_once
from bench.follow.world import ORBITS, SPEEDS, Camera, make_world
from bench.record import record
from segzero_ros.backends import open_pipeline
from segzero_ros.bundle import open_bundle, resolve_bundle
from segzero_ros.command import read_command
from segzero_ros.errors import RejectedInput
from segzero_ros.matching import mask_iou
from segzero_ros.segmenter import Segmenter, Tracker
from segzero_ros.tabletop.render import Renderer
from training.evaluation.tracking.trackers import TRACKERS, open_segmenter_of, open_tracker

OWN_COMMANDS = 3


@dataclass(frozen=True, slots=True)
class Case:
    """One mask: of which world, published how, IoU with the truth of its frame and of now, its age in seconds."""

    seed: int
    speed: float
    orbit: float
    delay_s: float
    followed: bool
    own: float
    now: float
    age_s: float
    note: str


def measure(
    delay_s: float,
    seeds: Sequence[int],
    rate_hz: float,
    segmenter: Segmenter | None,
    new_tracker: Callable[[], Tracker],
) -> list[Case]:
    """Every world of every pair of speeds, as it is and followed."""
    cases = []
    with Renderer(640, 480) as renderer:
        for speed, orbit, seed in ((s, o, n) for s in SPEEDS for o in ORBITS for n in seeds):
            camera = Camera(make_world(seed, speed, orbit, renderer), renderer, rate_hz)
            mask = first_mask(camera, segmenter)
            for followed in (False, True):
                made = carry(camera, mask, delay_s, new_tracker) if followed else publish_at_once(mask, delay_s)
                cases.append(_case(camera, seed, delay_s, followed, made))
            print(f"\r{len(cases) // 2} of {9 * len(seeds)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return cases


def _case(camera: Camera, seed: int, delay_s: float, followed: bool, made: Published) -> Case:
    return Case(
        seed,
        camera.world.speed,
        camera.world.orbit,
        delay_s,
        followed,
        own=round(mask_iou(made.mask, camera.truth(made.frame)), 4),
        now=round(mask_iou(made.mask, camera.truth_at(made.at_s)), 4),
        age_s=round(made.at_s - camera.time_of(made.frame), 4),
        note=made.note,
    )


def summary(cases: Sequence[Case]) -> dict[str, Any]:
    """Means of the two IoUs and the median age."""
    return {
        "worlds": len(cases),
        "own": round(float(np.mean([case.own for case in cases])), 3),
        "now": round(float(np.mean([case.now for case in cases])), 3),
        "age_s": round(float(np.median([case.age_s for case in cases])), 3),
    }


def table(cases: Sequence[Case]) -> str:
    """Means by delay and speeds, as Markdown."""
    lines = [
        "| ready after | thing m/s | camera rad/s | as it is: own frame, now, age s | followed: the same |",
        "|---|---|---|---|---|",
    ]
    for delay_s in dict.fromkeys(case.delay_s for case in cases):
        for speed, orbit in ((s, o) for s in SPEEDS for o in ORBITS):
            here = [c for c in cases if (c.delay_s, c.speed, c.orbit) == (delay_s, speed, orbit)]
            lines.append(f"| {delay_s:.2f} s | {speed} | {orbit} | {_cells(here)} |")
        lines.append(f"| {delay_s:.2f} s | all | all | {_cells([c for c in cases if c.delay_s == delay_s])} |")
    return "\n".join(lines)


def _cells(cases: Sequence[Case]) -> str:
    made = [summary([case for case in cases if case.followed is followed]) for followed in (False, True)]
    return " | ".join(f"{one['own']:.3f}, {one['now']:.3f}, {one['age_s']:.2f}" for one in made)


def own_delay_s(bundle: str) -> float:
    """The median time of a command of the bundle itself, each on a picture that it has not seen, seconds."""
    pipeline = open_pipeline(open_bundle(resolve_bundle(bundle)))
    took = []
    with Renderer(640, 480) as renderer:
        for seed in range(OWN_COMMANDS + 1):
            camera = Camera(make_world(seed, 0.0, 0.0, renderer), renderer, 15.0)
            command = read_command(f"the {camera.seen(0).name}", "bench")
            took.append(pipeline.ground(camera.frame(0), command).timing.total_ms / 1000)
    return round(float(np.median(took[1:])), 2)  # the first one warms up


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracker", choices=TRACKERS, required=True)
    parser.add_argument("--bundle", help="name or folder of the bundle whose segmenter and tracker it is")
    parser.add_argument("--delays", type=float, nargs="+", default=[1.0], metavar="S", help="seconds (default: 1)")
    parser.add_argument("--own-delay", action="store_true", help="the time of the bundle's own commands as well")
    parser.add_argument("--worlds", type=int, default=4, help="for each pair of speeds (default: 4)")
    parser.add_argument("--first", type=int, default=0, help="number of the first world (default: 0)")
    parser.add_argument("--rate", type=float, default=15.0, help="of the camera, Hz (default: 15)")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    try:
        new_tracker = open_tracker(options.tracker, options.bundle)
        segmenter = open_segmenter_of(options.bundle) if options.bundle else None
        delays = options.delays + ([own_delay_s(options.bundle)] if options.own_delay and options.bundle else [])
    except RejectedInput as error:
        print(error, file=sys.stderr)
        return 2
    seeds = range(options.first, options.first + options.worlds)
    cases = [case for delay in delays for case in measure(delay, seeds, options.rate, segmenter, new_tracker)]
    print(table(cases))
    if options.out:
        settings = {"tracker": options.tracker, "rate_hz": options.rate, "delays_s": delays, "worlds": options.worlds}
        figures = {
            "as_it_is": summary([case for case in cases if not case.followed]),
            "followed": summary([case for case in cases if case.followed]),
            "cases": [asdict(case) for case in cases],
        }
        asked = ["--tracker", options.tracker, "--delays", *map(str, delays), "--worlds", str(options.worlds)]
        made = record("follow", ["python", "-m", "bench.follow", *asked], settings, figures)
        options.out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
