"""Questions of the second study: which of the like things comes first or second from a side, or next to another.

Composed of a scene's things alone, so that every one needs two steps: who is meant at all, and in what order they
stand. Nouns are kinds and colours, sides are left, right, front and back. A quarter of the pairs of noun and side is
out of distribution: in no text of base or arms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.tabletop.things import COLOURS, KINDS
from training.demo_models.reasoner_model import SIZE
from training.demo_models.shards import things_of
from training.demo_models.supervised_text import Thing
from training.grpo.study.splits import scenes_of, write_shard

SIDES: Mapping[str, tuple[int, int, str]] = {
    "left": (0, 1, "leftmost"),
    "right": (0, -1, "rightmost"),
    "front": (1, -1, "frontmost"),
    "back": (1, 1, "rearmost"),
}
"""Side -> axis of the picture, whether the first has the smallest (1) or largest (-1) value, its adjective."""
NOUNS = (*KINDS, *COLOURS)
EVERY = 4  # one pair of noun and side in so many is out of distribution
MARGIN = 8.0  # pixels between the place of the one meant and those of its neighbours
LEAST_VISIBLE = 0.4
TYPES = ("first", "second", "next")


def held_out(noun: str, side: str) -> bool:
    """Whether the pair is out of distribution."""
    return (NOUNS.index(noun) + list(SIDES).index(side)) % EVERY == 0


def place(thing: Thing, axis: int) -> float:
    """Middle from the left, or foot from above, in pixels: the nearer a thing, the lower its foot."""
    return (thing.box[0] + thing.box[2]) / 2 if axis == 0 else thing.box[3]


def groups(things: Mapping[int, Thing]) -> dict[str, list[Thing]]:
    """Noun -> the things it names, left to right; only nouns of at least one."""
    ordered = sorted(things.values(), key=lambda thing: place(thing, 0))
    found = {kind: [thing for thing in ordered if thing.kind == kind] for kind in KINDS}
    found |= {colour: [thing for thing in ordered if thing.colour == colour] for colour in COLOURS}
    return {noun: named for noun, named in found.items() if named}


def questions(things: Mapping[int, Thing]) -> list[dict[str, Any]]:
    """All that can be asked about a scene: text, `type` (of `TYPES`), `targets`, `candidates`, `ood`; no thinking."""
    made = []
    for noun, named in groups(things).items():
        if len(named) < 2 or min(thing.visible for thing in named) < LEAST_VISIBLE:
            continue
        for side, (axis, sign, _) in SIDES.items():
            ordered = sorted(named, key=lambda thing: sign * place(thing, axis))
            places = [place(thing, axis) for thing in ordered]
            if min(abs(a - b) for a, b in pairwise(places)) >= MARGIN:
                made += _of_order(noun, side, ordered)
    return made


def _of_order(noun: str, side: str, ordered: Sequence[Thing]) -> list[dict[str, Any]]:
    """Questions about things that stand in this order from `side`."""
    what = noun if noun in KINDS else f"{noun} thing"
    told = [("first", f"the {SIDES[side][2]} {what}", ordered[0])]
    if len(ordered) > 2:
        told.append(("second", f"the second {what} from the {side}", ordered[1]))
    if side in ("left", "right") and noun in KINDS:
        colours = [thing.colour for thing in ordered]
        told += [
            ("next", f"the next {noun} {side} of the {anchor.colour} {noun}", thing)
            for thing, anchor in pairwise(ordered)
            if colours.count(anchor.colour) == 1
        ]
    return [
        {
            "type": kind,
            "text": text,
            "targets": [thing.id],
            "candidates": [one.id for one in ordered],
            "thinking": [],
            "ood": held_out(noun, side),
        }
        for kind, text, thing in told
    ]


def write_questions(shards: Iterable[Path], out: Path, *, ood: bool) -> int:
    """Make `out`/shard-*/ of rendered shards, asking what is (or is not) out of distribution; returns how many.

    CONFIG_VALUE when nothing is left.
    """
    count = 0
    for path in shards:
        scenes = scenes_of(path)
        for scene in scenes:
            asked = questions(things_of(scene, SIZE))
            scene["instructions"] = [one for one in asked if one["ood"] == ood]
            count += len(scene["instructions"])
        write_shard(path, out, scenes)
    if not count:
        raise RejectedInput(Code.CONFIG_VALUE, f"got no question for {out}; render more with segzero train data")
    return count


def make_data(train: Path, test: Path, pilot: Path, out: Path) -> dict[str, int]:
    """OUT/train, OUT/pilot, OUT/in and OUT/ood of rendered shards; returns the number of questions of each."""
    sources = {"train": (train, False), "pilot": (pilot, False), "in": (test, False), "ood": (test, True)}
    return {
        name: write_questions(sorted(folder.glob("shard-*")), out / name, ood=ood)
        for name, (folder, ood) in sources.items()
    }
