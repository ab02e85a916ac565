"""How fast things are followed: `python -m bench.follow.speed`.

The demo bundle's memory by number of objects and size of picture, stage by stage, in CPU time; the same random
weights in our graphs and in transformers' ``Sam2VideoModel``, frame by frame in turn: a busy machine slows both.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("LP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from bench.figures import markdown_table, ratio, spread, spreads
from bench.follow.endurance import to_and_fro
from bench.follow.stages import STAGES, StagedTracker
from bench.follow.stock import STRUCTURES, StockTracker, write_checkpoint
from bench.record import record
from export.segmenter_onnx import export_segmenter
from export.tracker.graphs import export_tracker
from segzero_ros.backends import EngineOptions
from segzero_ros.backends.tracker import SMALL
from segzero_ros.bundle import open_bundle, resolve_bundle
from segzero_ros.errors import RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.matching import mask_iou
from training.clips.truth import Clip
from training.evaluation.tracking.clips import evaluation_clips
from training.evaluation.tracking.events import startable

OBJECTS = (1, 2, 4, 8)
SIZES = ((640, 480), (1280, 720))
WARM = 8  # steps until seven pictures are remembered, and one


def frames_of(clip: Clip) -> Iterator[Frame]:
    """The clip to and fro, each time as a new frame."""
    for count, number in enumerate(to_and_fro(len(clip.frames))):
        yield Frame(clip.frames[number], count * 50_000_000)


def starts(clip: Clip, objects: int) -> NDArray[np.bool_]:
    """Masks (N, H, W) of things of the first frame, some of them twice where there are fewer."""
    rows = startable(clip)
    numbers = [clip.things[rows[place % len(rows)]].id for place in range(objects)]
    return np.stack([clip.ids[0] == number for number in numbers])


def measure_bundle(
    bundle: str, clips: Sequence[Clip], objects: Sequence[int], steps: int, options: EngineOptions
) -> list[dict[str, Any]]:
    """Milliseconds by stage for every number of objects and size of picture; each frame of all of them in turn."""
    opened = open_bundle(resolve_bundle(bundle))
    part = opened.segmenter
    cases = []
    for clip in clips:
        for count in objects:
            tracker = StagedTracker(part.files, part.image_size, options, guarded=part.image_size[0] < SMALL)
            frames = frames_of(clip)
            tracker.tracker.start(next(frames), starts(clip, count))
            cases.append((clip, count, tracker, frames, list[dict[str, float]]()))
    for step in range(WARM + steps):
        for _, _, tracker, frames, spent in cases:
            tracker.step(next(frames))
            if step >= WARM:
                spent.append(tracker.spent)
    return [
        {"size": list(clip.frames.shape[2:0:-1]), "objects": count, "ms": spreads(spent), "fps": _fps(spent)}
        for clip, count, _, _, spent in cases
    ]


def _fps(spent: Sequence[dict[str, float]]) -> float:
    """Frames a second of one core that nothing else uses: with one thread, CPU time is what a step takes there."""
    return round(1e3 / float(np.median([one["cpu"] for one in spent])), 1)


def measure_beside(
    structure: str, clip: Clip, objects: Sequence[int], steps: int, options: EngineOptions
) -> list[dict[str, Any]]:
    """Our graphs and transformers on the same random weights: ratio of times, and how much the masks agree."""
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = write_checkpoint(structure, Path(scratch, "checkpoint"))
        files = export_segmenter(checkpoint, Path(scratch), store="float")
        files |= export_tracker(checkpoint, Path(scratch), store="float")
        stock = StockTracker(checkpoint)
        side = int(json.loads((checkpoint / "config.json").read_text())["image_size"])
        return [
            {"structure": structure, "objects": count}
            | _beside(StagedTracker(files, (side, side), options, guarded=False), stock, clip, count, steps)
            for count in objects
        ]


def _beside(ours: StagedTracker, stock: StockTracker, clip: Clip, objects: int, steps: int) -> dict[str, Any]:
    frames, masks = frames_of(clip), starts(clip, objects)
    first = next(frames)
    ours.tracker.start(first, masks)
    stock.start(first, masks)
    times: dict[str, list[dict[str, float]]] = {"ours": [], "transformers": []}
    agree = []
    for step, frame in enumerate(islice(frames, WARM + steps)):
        tracks, theirs, took = None, None, {}
        for name in ("ours", "transformers") if step % 2 else ("transformers", "ours"):
            before, cpu = time.perf_counter(), time.process_time()
            if name == "ours":
                tracks = ours.step(frame)
            else:
                theirs = stock.step(frame)
            took[name] = {"total": 1e3 * (time.perf_counter() - before), "cpu": 1e3 * (time.process_time() - cpu)}
        if step >= WARM and tracks is not None and theirs is not None:
            agree += [mask_iou(one, other) for one, other in zip(tracks.masks, theirs, strict=True) if other.any()]
            for name, one in took.items():
                times[name].append(one)
    figures: dict[str, Any] = {
        name: {key: spread([one[key] for one in rows]) for key in rows[0]} for name, rows in times.items()
    }
    for key in ("total", "cpu"):
        slower, faster = ([one[key] for one in times[name]] for name in ("transformers", "ours"))
        figures[f"times_{key}"] = ratio(slower, faster)
    return figures | {"masks": len(agree), "least_iou": round(min(agree), 3) if agree else None}


def bundle_table(rows: Sequence[dict[str, Any]]) -> str:
    """Milliseconds of each stage, as Markdown."""
    heads = ["picture", "objects", *STAGES, "CPU ms a step", "steps a second", "by the wall's clock, ms"]
    lines = [
        [
            f"{row['size'][0]} x {row['size'][1]}",
            str(row["objects"]),
            *(f"{row['ms'][name]['p50']:.1f}" for name in (*STAGES, "cpu")),
            f"{row['fps']:.1f}",
            f"{row['ms']['total']['p50']:.0f}",
        ]
        for row in rows
    ]
    return markdown_table(heads, lines)


def beside_table(rows: Sequence[dict[str, Any]]) -> str:
    """How many times longer transformers takes, as Markdown."""
    heads = ["structure", "objects", "ours ms (CPU)", "transformers ms (CPU)", "times longer", "of CPU", "least IoU"]
    return markdown_table(heads, [_beside_line(row) for row in rows])


def _beside_line(row: dict[str, Any]) -> list[str]:
    sides = [f"{row[side]['total']['p50']:.0f} ({row[side]['cpu']['p50']:.0f})" for side in ("ours", "transformers")]
    factors = [row[f"times_{key}"] for key in ("total", "cpu")]
    ratios = [f"{one['ratio']:.2f} [{one['low']:.2f}, {one['high']:.2f}]" for one in factors]
    return [row["structure"], str(row["objects"]), *sides, *ratios, f"{row['least_iou']} of {row['masks']}"]


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="tabletop", help="one with a memory (default: tabletop)")
    parser.add_argument("--objects", type=int, nargs="+", default=list(OBJECTS), help="default: 1 2 4 8")
    parser.add_argument("--steps", type=int, default=40, help="of each case (default: 40)")
    parser.add_argument("--threads", type=int, default=1, help="of every engine and of torch (default: 1)")
    parser.add_argument("--structures", nargs="*", choices=STRUCTURES, default=list(STRUCTURES), metavar="NAME")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    engines = EngineOptions(threads=options.threads, provider="cpu")
    try:
        clips = [next(evaluation_clips(1, 0, frames=20, size=size)) for size in SIZES]
        rows = measure_bundle(options.bundle, clips, options.objects, options.steps, engines)
    except RejectedInput as error:
        print(error, file=sys.stderr)
        return 2
    print(bundle_table(rows), flush=True)
    beside = []
    for structure in options.structures:
        large = structure != STRUCTURES[0]
        counts, steps = ([2], max(4, options.steps // 4)) if large else (options.objects, options.steps)
        beside += measure_beside(structure, clips[0], counts, steps, engines)
    if beside:
        print("\n" + beside_table(beside))
    if options.out:
        settings = {"steps": options.steps, "threads": options.threads, "warm": WARM}
        command = [
            "python",
            "-m",
            "bench.follow.speed",
            "--steps",
            str(options.steps),
            "--threads",
            str(options.threads),
        ]
        made = record("follow speed", command, settings, {"bundle": rows, "beside": beside})
        options.out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
