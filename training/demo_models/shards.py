"""Rendered tabletop shards on disk -> pictures and truth for the trainings; shards may appear while they are read."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segzero_ros.backends.decoding.preprocess import resize_to
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.tabletop.scene import WORLDS, World
from training.demo_models.supervised_text import Thing


class Scenes(Sequence[dict[str, Any]]):
    """The lines of a scenes.jsonl, read when they are asked for: as text they take a fifth of the memory."""

    def __init__(self, file: Path) -> None:
        self._lines = file.read_bytes().splitlines()

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: Any) -> Any:
        """The scene number `index`, or a list of a slice of them."""
        found = self._lines[index]
        return [json.loads(line) for line in found] if isinstance(index, slice) else json.loads(found)


@dataclass(slots=True)
class Shard:
    """`images` (N, size, size, 3) uint8, squashed as the runtime does; `scenes` one mapping per image.

    `labels` uint8 (N, H, W) as rendered: the id of the thing each pixel shows, 0 for none.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    scenes: Scenes


def load_shard(path: Path, size: int) -> Shard:
    """Open a shard; its images are squashed once and kept beside it (115 MB per 1,000 images at 196 x 196)."""
    cache = path / f"squashed-{size}.npy"
    if not cache.exists():
        source = np.load(path / "images.npy", mmap_mode="r")
        images = np.stack([resize_to(np.asarray(image), (size, size)) for image in source])
        partial = cache.with_suffix(".partial.npy")
        try:
            np.save(partial, images)
            partial.replace(cache)
        except OSError as error:
            raise OSError(f"could not write {cache} ({error}); make room there, or copy the data elsewhere") from None
        finally:
            partial.unlink(missing_ok=True)
    labels = np.load(path / "labels.npy", mmap_mode="r")
    return Shard(np.load(cache, mmap_mode="r"), labels, Scenes(path / "scenes.jsonl"))


def world_of(scene: Mapping[str, Any]) -> World:
    """Which world a scene is of; ``RejectedInput`` for one that nobody knows."""
    world = scene.get("world", "simple")
    if world not in WORLDS:
        raise RejectedInput(
            Code.CONFIG_VALUE, f"got pictures of the world {str(world)[:40]!r}, know {', '.join(WORLDS)}"
        )
    return world  # type: ignore[no-any-return]


def check_world(shard: Shard, path: Path, most: World | None) -> World:
    """The shard's world; ``RejectedInput`` where it is the rich one and the simple one is the `most` that is known."""
    world = world_of(shard.scenes[0]) if len(shard.scenes) else "simple"
    if world == "rich" and most == "simple":
        wanted = "this run is of the simple one; give it pictures of that, or begin another run"
        raise RejectedInput(Code.CONFIG_VALUE, f"{path}: got pictures of the rich world, but {wanted}")
    return world


class Picked(NamedTuple):
    """One picture of a folder: its shard, its number there, its scene."""

    shard: str
    number: int
    scene: dict[str, Any]


class ShardFolder:
    """All shards of a folder; `refresh` finds those that have appeared since.

    `world`: the rich one's kinds hold the simple one's, so "rich" takes pictures of both, "simple" of that one alone
    (``RejectedInput``). Unless it is given, the pictures that are there at first decide.
    """

    def __init__(self, path: Path, size: int, world: World | None = None) -> None:
        self.path, self.size, self.world = path, size, world
        self.shards: dict[str, Shard] = {}
        self._names: list[str] = []
        self._worlds: set[World] = set()
        self.refresh()
        if self.world is None and self.shards:
            self.world = "rich" if "rich" in self._worlds else "simple"

    def refresh(self, most: int = 1_000_000) -> int:
        """Load up to `most` new shards; returns the number of images known."""
        for path in sorted(self.path.glob("shard-*")):
            if most and path.name not in self.shards and (path / "scenes.jsonl").exists():
                shard = load_shard(path, self.size)
                self._worlds.add(check_world(shard, path, self.world))
                self.shards[path.name] = shard
                most -= 1
        return sum(len(shard.scenes) for shard in self.shards.values())

    def pick(self, rng: np.random.Generator) -> Picked:
        """A picture, uniformly over everything known."""
        if len(self._names) != len(self.shards):
            self._names = sorted(self.shards)
        name = self._names[int(rng.integers(len(self._names)))]
        scenes = self.shards[name].scenes
        number = int(rng.integers(len(scenes)))
        return Picked(name, number, scenes[number])

    def image(self, picked: Picked) -> NDArray[np.uint8]:
        """Its pixels (size, size, 3)."""
        return self.shards[picked.shard].images[picked.number]

    def labels(self, picked: Picked) -> NDArray[np.uint8]:
        """Its labels (size, size)."""
        return nearest(self.shards[picked.shard].labels[picked.number], self.size)

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], dict[str, Any]]]:
        for name in sorted(self.shards):
            yield from zip(self.shards[name].images, self.shards[name].scenes, strict=True)


def nearest(labels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Labels (..., H, W) squashed to (..., size, size)."""
    rows, columns = (((np.arange(size) + 0.5) * side / size).astype(int) for side in labels.shape[-2:])
    return labels[..., rows[:, None], columns]


def things_of(scene: dict[str, Any], size: int, shift: tuple[int, int] = (0, 0)) -> dict[int, Thing]:
    """The scene's objects in pixels of the squashed image, after moving the picture by `shift` (x, y) pixels."""
    things = {}
    for thing in scene["objects"]:
        box = [min(max(v * size + shift[n % 2], 0.0), size) for n, v in enumerate(thing["box"])]
        point = [min(max(v * size + shift[n], 0.0), size - 1) for n, v in enumerate(thing["point"])]
        things[thing["id"]] = Thing(
            thing["id"], thing["kind"], thing["colour"], tuple(box), tuple(point), thing["visible"]
        )
    return things


def shifted(image: NDArray[np.uint8], shift: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture moved by `shift` (x, y) pixels, its border repeated."""
    height, width = image.shape[:2]
    rows = np.clip(np.arange(height) - shift[1], 0, height - 1)
    columns = np.clip(np.arange(width) - shift[0], 0, width - 1)
    return image[rows][:, columns]


def draw_jitter(rng: np.random.Generator) -> tuple[NDArray[np.float64], float]:
    """A small random gain per channel (3,) and an offset, which keep colour names true."""
    gain = rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3)
    return gain, rng.uniform(-12, 12)


def jittered(image: NDArray[np.uint8], gain: NDArray[np.float64], offset: float) -> NDArray[np.uint8]:
    """The picture's levels times `gain` (3,) plus `offset`."""
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
    return np.stack([table[:, c][image[..., c]] for c in range(3)], axis=-1)


def flipped(things: Mapping[int, Thing], width: int) -> dict[int, Thing]:
    """The things of a picture's mirror image; `width`: the picture's."""

    def mirrored(thing: Thing) -> Thing:
        x0, y0, x1, y1 = thing.box
        point = (width - 1 - thing.point[0], thing.point[1])
        return replace(thing, box=(width - x1, y0, width - x0, y1), point=point)

    return {n: mirrored(thing) for n, thing in things.items()}


def choose(instructions: Sequence[dict[str, Any]], count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """`count` of a scene's instructions without repeats (fewer when it has fewer)."""
    order = rng.permutation(len(instructions))[:count]
    return [instructions[int(n)] for n in order]
