"""The study's questions: which there are, and which of them nobody is trained on (out of distribution).

Rendered shards are not copied: a folder of the study links to their pictures and has lines of scenes of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.tabletop.things import COLOURS

Part = Literal["words", "four", "pair", ""]
PARTS: tuple[Part, ...] = ("words", "four", "pair")
KINDS = ("spatial", "comparison", "several")
LINKED = ("images.npy", "labels.npy")
FOUR = 4  # things in the groups that are held out

WORDS = frozenset({"tin", "tins", "dish", "dishes", "tiniest"})
RELATIONS: Mapping[str, frozenset[str]] = {
    "left": frozenset({"left", "leftmost"}),
    "right": frozenset({"right", "rightmost"}),
    "front": frozenset({"front", "frontmost", "closest", "nearest", "closer"}),
    "behind": frozenset({"behind", "back", "rearmost", "farthest", "furthest", "distant", "farther"}),
}
PAIRS = frozenset(
    {("left", "red"), ("left", "white"), ("right", "blue"), ("right", "black")}
    | {("front", "yellow"), ("front", "orange"), ("behind", "green"), ("behind", "purple")}
)


def held_out_part(instruction: Mapping[str, Any]) -> Part:
    """By what an instruction is out of distribution; "" for those that are trained on.

    "words": a word of `WORDS`; "four": a group of four or more; "pair": words of a relation and of a colour whose pair
    is held out. The first that holds counts.
    """
    said = set(re.findall(r"[a-z']+", instruction["text"].lower()))
    if said & WORDS:
        return "words"
    if len(instruction["targets"]) >= FOUR:
        return "four"
    relations = {name for name, words in RELATIONS.items() if said & words}
    colours = said & set(COLOURS)
    return "pair" if any((relation, colour) in PAIRS for relation in relations for colour in colours) else ""


def asked(instruction: Mapping[str, Any]) -> bool:
    """Whether the study asks questions of this kind: a target among candidates, or several."""
    return instruction["type"] in KINDS


def trained_on(instruction: Mapping[str, Any]) -> bool:
    """Whether an arm may train on it."""
    return asked(instruction) and not held_out_part(instruction)


def unseen(instruction: Mapping[str, Any]) -> bool:
    """Whether it is a question of the study that is out of distribution."""
    return asked(instruction) and bool(held_out_part(instruction))


def scenes_of(shard: Path) -> list[dict[str, Any]]:
    """The lines of a rendered shard's `scenes.jsonl`."""
    return [json.loads(line) for line in (shard / "scenes.jsonl").read_text(encoding="utf-8").splitlines()]


def write_shard(shard: Path, out: Path, scenes: Iterable[Mapping[str, Any]]) -> None:
    """Make `out`/NAME with other scenes than the rendered shard's; its pictures are linked, not copied."""
    folder = out / shard.name
    folder.mkdir(parents=True, exist_ok=True)
    for source in [shard / name for name in LINKED] + sorted(shard.glob("squashed-*.npy")):
        link = folder / source.name
        link.unlink(missing_ok=True)
        link.symlink_to(source.resolve())
    lines = "".join(json.dumps(scene) + "\n" for scene in scenes)
    (folder / "scenes.jsonl").write_text(lines, encoding="utf-8")


def write_split(
    shards: Iterable[Path], out: Path, keep: Callable[[Mapping[str, Any]], bool], most_shards: int = 0
) -> int:
    """Make `out`/shard-*/ of rendered shards with the instructions that `keep` takes; returns how many there are.

    Pictures that lose all of theirs stay, so that pictures and lines match. CONFIG_VALUE when nothing is left.
    """
    count = 0
    paths = list(shards)[: most_shards or None]
    for path in paths:
        scenes = scenes_of(path)
        for scene in scenes:
            scene["instructions"] = [one for one in scene["instructions"] if keep(one)]
            count += len(scene["instructions"])
        write_shard(path, out, scenes)
    if not count:
        raise RejectedInput(
            Code.CONFIG_VALUE,
            f"got {len(paths)} shards without a question for {out}; render more with segzero train data",
        )
    return count


def make_data(train: Path, test: Path, out: Path, most_shards: int = 0) -> dict[str, int]:
    """OUT/train, OUT/in and OUT/ood of folders of rendered shards; returns the number of questions of each."""
    sources = {"train": (train, trained_on), "in": (test, trained_on), "ood": (test, unseen)}
    return {
        name: write_split(sorted(folder.glob("shard-*")), out / name, keep, most_shards if name == "train" else 0)
        for name, (folder, keep) in sources.items()
    }
