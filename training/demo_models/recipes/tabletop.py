"""The command line of `segzero train data`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from segzero_ros.cli.parser import Parser, at_least
from training.data.tabletop import SPLITS

ABOUT = """Render shards of the tabletop world for the trainings: pictures, label images, instructions with their truth.

    segzero train data --out /tmp/data/train --split train --shards 60

Each shard is a directory `shard-00000/` with images.npy uint8 (N, H, W, 3), labels.npy uint8 (N, H, W) and
scenes.jsonl, one line per picture. It appears all at once, so that a training may read the directory while it fills.
Shards that are there already are left alone: the same command goes on after a stop. Several processes may share the
work: `--shards 30` and `--start 30 --shards 30`.
"""
WORLDS = ("simple", "rich")
GRAMMARS = ("plain", "composed", "mixed")  # tabletop/scene.py's, which needs MuJoCo


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; --help and wrong usage end the process."""
    parser = Parser("segzero train data", ABOUT)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="directory of the shards; made when missing")
    add("--split", choices=SPLITS, default="train", metavar="NAME", help=f"{', '.join(SPLITS)} (default train)")
    add("--shards", type=at_least(1), default=1, metavar="N", help="how many shards (default 1)")
    add("--start", type=at_least(0), default=0, metavar="N", help="number of the first shard (default 0)")
    add("--count", type=at_least(1), default=1000, metavar="N", help="pictures in a shard (default 1000)")
    add("--seed", type=at_least(0), default=0, metavar="N", help="another seed gives other scenes (default 0)")
    add("--size", type=at_least(8, 8192), nargs=2, default=(320, 240), metavar=("W", "H"), help="pixels (320 240)")
    squash = "write pictures of N x N, as the reasoner sees them, instead of whole ones; no segmenter learns from these"
    add("--squash", type=at_least(8, 1024), metavar="N", help=squash)
    add("--grammar", choices=GRAMMARS, default="plain", help="composed: every question joins several things (plain)")
    add("--world", choices=WORLDS, default="simple", help="rich: more kinds, shapes, in, on, under, noise (simple)")
    return parser.parse_args(arguments)
