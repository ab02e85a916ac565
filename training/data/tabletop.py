"""The demo world as examples: rendered when asked for, or from shards on disk (`segzero train data`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from segzero_ros.errors import nearest
from segzero_ros.matching import box_of_mask
from training.data.base import Example, Examples, Rows, unusable
from training.data.masks import inscribed_points, union

if TYPE_CHECKING:
    from segzero_ros.tabletop.language.instructions import Type
    from segzero_ros.tabletop.render import Renderer
    from segzero_ros.tabletop.samples import Sample
    from segzero_ros.tabletop.scene import Grammar, Split, World

SPLITS = ("train", "val", "test")
DEFAULT_COUNT = 2000
MOST = 50_000  # what one seed of the demo world holds (segzero_ros.tabletop.samples)


def open_tabletop(
    split: str, seed: int, count: int | None, grammar: Grammar = "plain", world: World = "simple"
) -> Examples:
    """Return questions about rendered scenes, one each, the same for the same arguments (default 2000, train)."""
    if split not in ("", *SPLITS):
        raise unusable(f"got the split {split!r}{nearest(split, SPLITS)}")
    wanted = DEFAULT_COUNT if count is None else count
    if not 1 <= wanted <= MOST:
        raise unusable(f"got the count {wanted}, want 1..{MOST}; use another seed for more")
    return _Rendered(cast("Split", split or "train"), seed, wanted, grammar, world)


class _Rendered:
    """Scenes of the demo world. They follow each other, so number n is found by rendering all before it, once."""

    def __init__(self, split: Split, seed: int, count: int, grammar: Grammar, world: World) -> None:
        special = [name for name in (grammar, world) if name not in ("plain", "simple")]
        self.name = ", ".join(["tabletop", split, f"seed {seed}", *special])
        self._split, self._seed, self._count, self._grammar, self._world = split, seed, count, grammar, world
        self._samples: Iterator[Sample] | None = None
        self._found: list[tuple[int, Type]] = []  # scene's seed and type of question, by number
        self._latest: Example | None = None
        self._renderer: Renderer | None = None

    def where(self, n: int) -> str:
        """File and row."""
        return f"tabletop scene {n}"

    def _id(self, seed: int) -> str:
        return f"{'tabletop' if self._world == 'simple' else self._world}-{seed}"

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, n: int) -> Example:
        if not 0 <= n < self._count:
            raise IndexError(n)
        if n == len(self._found) - 1 and self._latest is not None:
            return self._latest
        if n < len(self._found):
            return self._again(n)
        while len(self._found) <= n:
            self._latest = self._next()
        assert self._latest is not None
        return self._latest

    def _next(self) -> Example:
        from segzero_ros.tabletop.samples import samples

        if self._samples is None:
            self._samples = samples(self._split, self._seed, self._count, grammar=self._grammar, world=self._world)
        sample = next(self._samples)
        self._found.append((sample.seed, sample.instruction.type))
        return _example(self._id(sample.seed), sample.view.rgb, sample.view.labels, vars_of(sample.instruction))

    def _again(self, n: int) -> Example:
        from segzero_ros.tabletop.language.instructions import make_instruction
        from segzero_ros.tabletop.render import Renderer
        from segzero_ros.tabletop.sampling import sample_scene

        if self._renderer is None:
            self._renderer = Renderer(640, 480, world=self._world)
        seed, kind = self._found[n]
        view = self._renderer.render(sample_scene(seed, self._split, grammar=self._grammar, world=self._world))
        rng = np.random.default_rng([seed, 3])
        made = make_instruction(view, kind, self._split, rng, grammar=self._grammar)
        assert made is not None, "the scene that had this question has it again"
        return _example(self._id(seed), view.rgb, view.labels, vars_of(made))


def vars_of(instruction: Any) -> dict[str, Any]:
    """Return the fields of an instruction that a line of scenes.jsonl has, too."""
    names = ("type", "text", "targets", "unseen_pair", "unseen_wording")
    return {name: getattr(instruction, name) for name in names}


def _example(id: str, rgb: NDArray[np.uint8], labels: NDArray[np.uint8], asked: dict[str, Any]) -> Example:
    masks = tuple(np.asarray(labels == target) for target in asked["targets"])
    if not all(mask.any() for mask in masks):
        raise unusable(f"got the targets {list(asked['targets'])}, and one is not in the label image; render it again")
    return Example(
        id=id,
        question=asked["text"],
        rgb=rgb,
        boxes=tuple(box_of_mask(mask) for mask in masks),
        points=tuple(inscribed_points(mask) for mask in masks),
        mask=union(masks, (labels.shape[1], labels.shape[0])),
        object_masks=masks,
        kind=asked["type"],
        unseen_pair=bool(asked["unseen_pair"]),
        unseen_wording=bool(asked["unseen_wording"]),
    )


def is_shards(path: Path) -> bool:
    """Tell whether this is a folder of rendered shards, or one of them."""
    return (path / "scenes.jsonl").is_file() or any(path.glob("shard-*/scenes.jsonl"))


def open_shards(path: Path) -> Examples:
    """Return every instruction of every picture of the shards in a folder (or of one shard), in their order."""
    shards = [path] if (path / "scenes.jsonl").is_file() else sorted(path.glob("shard-*"))
    return _Shards(path, [shard for shard in shards if (shard / "scenes.jsonl").is_file()])


class _Shards(Rows):
    """Pictures stay on disk, and so do their lines' values: a line is read when one of its questions is asked for."""

    def __init__(self, path: Path, shards: list[Path]) -> None:
        self._lines = {shard: _text(shard / "scenes.jsonl").splitlines() for shard in shards}
        self._images = {shard: _pixels(shard / "images.npy") for shard in shards}
        self._labels = {shard: _pixels(shard / "labels.npy") for shard in shards}
        self._rows = [
            (shard, row, asked)
            for shard, lines in self._lines.items()
            for row, line in enumerate(lines)
            for asked in range(_questions(shard, row, line))
        ]
        self.name = f"{path.name}, {len(shards)} rendered shards"

    def _where(self, row: tuple[Path, int, int]) -> str:
        return f"{row[0] / 'scenes.jsonl'} line {row[1] + 1}"

    def _read(self, row: tuple[Path, int, int]) -> Example:
        shard, line, asked = row
        if line >= min(len(self._images[shard]), len(self._labels[shard])):
            raise unusable("got a line without its picture in images.npy and labels.npy; render the shard again")
        pixels = np.asarray(self._images[shard][line]), np.asarray(self._labels[shard][line])
        try:
            instruction = json.loads(self._lines[shard][line])["instructions"][asked]
            return _example(f"{shard.name}-{line}-{asked}", *pixels, instruction)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise unusable(f"got no instruction ({type(error).__name__}: {error}); render the shard again") from None


def _pixels(path: Path) -> NDArray[np.uint8]:
    try:
        pixels: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
        if pixels.dtype != np.uint8 or pixels.ndim < 3:
            raise ValueError(f"{pixels.dtype} of {pixels.shape}, want pixels")
    except (OSError, ValueError, EOFError) as error:
        raise unusable(f"could not read {str(path)!r} ({error}); render the shard again: segzero train data") from None
    return pixels


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise unusable(f"could not read {str(path)!r} ({error}); render the shard again: segzero train data") from None


def _questions(shard: Path, row: int, line: str) -> int:
    """Return how many questions a line of scenes.jsonl has."""
    try:
        return len(json.loads(line)["instructions"])
    except (ValueError, KeyError, TypeError, RecursionError):
        where = f"{shard / 'scenes.jsonl'} line {row + 1}"
        raise unusable(f"{where}: got {line[:40]!r}, want a scene; render the shard again") from None
