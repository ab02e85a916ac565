"""Renders shards of the tabletop world for the trainings: pictures, label images, instructions with their truth.

    python -m training.demo_models.render_tabletop --out /tmp/data/train --split train --shards 60

Each shard is a directory `shard-00000/` with images.npy uint8 (N, H, W, 3), labels.npy uint8 (N, H, W) and
scenes.jsonl, one line per picture. It appears all at once, so that a training may read the directory while it fills.
Shards that are there already are left alone: the same command goes on after a stop. Several processes may share the
work: `--shards 30` and `--start 30 --shards 30`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's software driver: one process per core is faster than many threads

from segzero_ros.cli.parser import OK, refuse
from segzero_ros.tabletop.language.instructions import Instruction, instructions
from segzero_ros.tabletop.language.speaker import At, Mention, Piece
from segzero_ros.tabletop.render import Renderer
from segzero_ros.tabletop.sampling import sample_scene
from segzero_ros.tabletop.scene import Grammar, Split
from segzero_ros.tabletop.view import SeenThing, View
from training.demo_models.recipes.tabletop import read_arguments
from training.demo_models.shards import load_shard, nearest

LEAST_INSTRUCTIONS = 3  # a picture with fewer is not worth its place


def piece_record(piece: Piece) -> str | dict[str, Any]:
    """One piece of thinking as JSON."""
    match piece:
        case Mention(words, number):
            return {"say": words, "id": number}
        case At(number):
            return {"at": number}
    return piece


def thing_record(thing: SeenThing, view: View) -> dict[str, Any]:
    """A seen thing as JSON; box and point as shares of the picture; in the rich world what its surface is, too."""
    width, height = view.size
    x0, y0, x1, y1 = thing.box
    shown = next(one for one in view.scene.things if one.id == thing.id)
    surface = {"finish": shown.finish} if view.scene.world == "rich" else {}
    return {
        "id": thing.id,
        "kind": thing.kind,
        "colour": thing.colour,
        "size": round(thing.size, 3),
        "box": [round(x0 / width, 5), round(y0 / height, 5), round(x1 / width, 5), round(y1 / height, 5)],
        "point": [round(thing.point[0] / width, 5), round(thing.point[1] / height, 5)],
        "visible": round(thing.visible, 3),
        "xy": [round(thing.position[0], 4), round(thing.position[1], 4)],
    } | surface


def instruction_record(instruction: Instruction) -> dict[str, Any]:
    """An instruction as JSON."""
    return {
        "type": instruction.type,
        "text": instruction.text,
        "targets": list(instruction.targets),
        "thinking": [piece_record(piece) for piece in instruction.thinking],
        "unseen_pair": instruction.unseen_pair,
        "unseen_wording": instruction.unseen_wording,
    }


def world_record(view: View) -> dict[str, Any]:
    """The world and who is in, on or under whom; nothing for the simple world, as its shards always were."""
    if view.scene.world == "simple":
        return {}
    relations = [{"id": r.subject, "how": r.how, "of": r.anchor} for r in view.scene.relations]
    return {"world": view.scene.world, "relations": relations}


def pictures(
    renderer: Renderer, split: Split, seeds: Iterator[int], grammar: Grammar
) -> Iterator[tuple[View, dict[str, Any]]]:
    """Views worth training on, with their line of scenes.jsonl."""
    for seed in seeds:
        view = renderer.render(sample_scene(seed, split, grammar=grammar, world=renderer.world))
        made = instructions(view, seed, split, grammar=grammar)
        if len(made) >= LEAST_INSTRUCTIONS:
            record = world_record(view) | {
                "seed": seed,
                "split": split,
                "objects": [thing_record(t, view) for t in view.things],
                "instructions": [instruction_record(i) for i in made],
            }
            yield view, record


def write_shard(
    path: Path,
    renderer: Renderer,
    split: Split,
    count: int,
    first_seed: int,
    grammar: Grammar = "plain",
    squash: int | None = None,
) -> None:
    """Render `count` pictures from `first_seed` on and put the finished shard at `path`.

    `squash`: the side of the squares that are kept instead of the pictures, see `squash_shard`.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    seen = itertools.islice(pictures(renderer, split, itertools.count(first_seed), grammar), count)
    try:
        write_pictures(partial, seen, (count, renderer.height, renderer.width))
        if squash:
            squash_shard(partial, squash)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_pictures(folder: Path, seen: Iterable[tuple[View, Mapping[str, Any]]], shape: tuple[int, int, int]) -> None:
    """Write the three files of a shard; `shape`: pictures, height, width."""
    images, labels = np.empty((*shape, 3), dtype=np.uint8), np.empty(shape, dtype=np.uint8)
    with (folder / "scenes.jsonl").open("w", encoding="utf-8") as lines:
        for index, (view, record) in enumerate(seen):
            images[index], labels[index] = view.rgb, view.labels
            lines.write(json.dumps(record) + "\n")
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)


def squash_shard(folder: Path, size: int) -> None:
    """Keep pictures and labels of size x size only, as `load_shard` makes and reads them: half of the disk's room."""
    shard = load_shard(folder, size)
    np.save(folder / "labels.npy", nearest(np.load(folder / "labels.npy"), size))
    assert len(shard.images) == len(shard.scenes)
    (folder / "images.npy").unlink()


def render(options: argparse.Namespace) -> None:
    """Render the shards that are not there yet."""
    options.out.mkdir(parents=True, exist_ok=True)
    with Renderer(*options.size, world=options.world) as renderer:
        for number in range(options.start, options.start + options.shards):
            path = options.out / f"shard-{number:05d}"
            if path.exists():
                continue
            began = time.monotonic()
            # Twice as many seeds as pictures are set aside for each shard, since some scenes are passed over.
            first_seed = options.seed * 100_000_000 + number * 2 * options.count
            write_shard(path, renderer, options.split, options.count, first_seed, options.grammar, options.squash)
            print(f"{path} {options.count / (time.monotonic() - began):.1f} pictures/s", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; a place that takes no files is one line and status 2."""
    options = read_arguments(arguments)
    try:
        render(options)
    except OSError as error:
        mend = "make room or name another --out; the same command goes on from the last whole shard"
        return refuse("segzero train data", f"could not write {options.out} ({error}); {mend}")
    return OK


if __name__ == "__main__":
    sys.exit(main())
