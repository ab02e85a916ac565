"""Renders clips of the tabletop world in shards, for the tracker's training.

    python -m training.clips.render --out DIR --clips 2000 --seed 0

A shard is a directory `clips-00000/` as `shards.py` describes it. It appears all at once, so that a training may read
the folder while it fills. Shards that are there already are left alone: the same command goes on after a stop.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's software driver: one process per core is faster than many threads

from segzero_ros.cli.parser import Parser, at_least
from segzero_ros.tabletop.render import Renderer
from segzero_ros.tabletop.scene import SPLITS, Split
from training.clips.script import MOTIONS, SEEDS_PER_SET, SETS, Motion, clip_seed, write_script
from training.clips.shards import ShardWriter, shard_path
from training.clips.truth import draw

CAMERA = (640, 480)  # what is drawn, and then squashed to a square as the segmenter does it


@dataclass(frozen=True, slots=True)
class Order:
    """Which clips one shard holds: `count` from number `first` of the set on."""

    path: Path
    split: Split
    set_number: int
    first: int
    count: int
    frames: int
    side: int
    motion: Motion | None


def write_shard(order: Order) -> float:
    """Render one shard, if it is not there; returns seconds per frame, 0 if it was there."""
    if order.path.exists():
        return 0.0
    began = time.monotonic()
    with (
        ShardWriter(order.path, order.count, order.frames, order.side) as writer,
        Renderer(*CAMERA) as renderer,
    ):
        for index in range(order.first, order.first + order.count):
            script = write_script(clip_seed(order.set_number, index), order.split, order.frames, motion=order.motion)
            writer.add(draw(script, renderer))
    return (time.monotonic() - began) / (order.count * order.frames)


def _written(orders: list[Order], processes: int) -> Iterator[tuple[Order, float]]:
    """Each order with its seconds per frame, in turn. New processes are spawned: OpenGL does not survive a fork."""
    if processes == 1:
        yield from ((order, write_shard(order)) for order in orders)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from zip(orders, pool.map(write_shard, orders), strict=True)


FIRST, SET = at_least(0, SEEDS_PER_SET - 1), at_least(0, SETS - 1)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = Parser("python -m training.clips.render", __doc__ or "")
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards; made when missing")
    parser.add_argument("--clips", type=at_least(1, SEEDS_PER_SET), default=2000, help="how many in all (default 2000)")
    parser.add_argument("--first", type=FIRST, default=0, help="number of the first clip, a multiple of --shard (0)")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--seed", type=SET, default=0, help="another one gives other clips (default 0)")
    parser.add_argument("--frames", type=at_least(1, 10_000), default=8, help="of a clip (default 8)")
    parser.add_argument("--side", type=at_least(32, 4096), default=256, help="of the square, pixels (default 256)")
    parser.add_argument("--shard", type=at_least(1, 10_000), default=50, help="clips in a shard (default 50)")
    parser.add_argument("--motion", choices=MOTIONS, help="only this one (default: all, mixed)")
    parser.add_argument("--processes", type=at_least(1, 256), default=1, help="how many at once (default 1)")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    orders = [
        Order(
            shard_path(options.out, first // options.shard),
            options.split,
            options.seed,
            first,
            min(options.shard, options.first + options.clips - first),
            options.frames,
            options.side,
            options.motion,
        )
        for first in range(options.first, options.first + options.clips, options.shard)
    ]
    for order, seconds in _written(orders, options.processes):
        print(f"{order.path} {1000 * seconds:.0f} ms a frame" if seconds else f"{order.path} is there", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
