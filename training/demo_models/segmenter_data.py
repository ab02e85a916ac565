"""Scenes on disk -> training samples for the segmenter: squashed pictures, prompts and the masks they ask for.

A data directory holds `shard-*/` directories as `render_tabletop.py` writes them: `images.npy` uint8
(N, H, W, 3) RGB, `labels.npy` uint8 (N, H, W) with instance ids 1..K and 0 for the background, `scenes.jsonl` with one
line per picture.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segzero_ros.matching import box_of_mask, inner_point

MIN_OBJECT_PIXELS = 40  # of the squashed image: less than this cannot be told from an edge
PAD_POINT = -10  # the label Sam2PromptEncoder ignores
POSITIVE_POINT = 1

Prompt = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]  # box (4), points (K, 2), their labels (K)


@dataclass(frozen=True, slots=True)
class Scene:
    """One rendered picture: rgb uint8 (H, W, 3), labels uint8 (H, W), and its line of `scenes.jsonl`.

    Boxes and points of the record are normalised to 0..1.
    """

    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    record: dict[str, Any]


class Shards:
    """The shards of a data directory, read as needed; `rescan` picks up those that have appeared since."""

    def __init__(self, directory: Path, names: Sequence[str] | None = None) -> None:
        self.directory = directory
        self.names: list[str] = []
        self._images: list[NDArray[np.uint8]] = []
        self._labels: list[NDArray[np.uint8]] = []
        for name in self._on_disk() if names is None else names:
            self._open(name)

    def _on_disk(self) -> list[str]:
        return sorted(path.name for path in self.directory.glob("shard-*") if (path / "images.npy").is_file())

    def _open(self, name: str) -> None:
        self._images.append(np.load(self.directory / name / "images.npy", mmap_mode="r"))
        self._labels.append(np.load(self.directory / name / "labels.npy", mmap_mode="r"))
        self.names.append(name)

    def rescan(self) -> int:
        """Open the shards that are new on disk; returns how many."""
        new = [name for name in self._on_disk() if name not in self.names]
        for name in new:
            self._open(name)
        return len(new)

    def __len__(self) -> int:
        return sum(len(images) for images in self._images)

    def picture(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The image (H, W, 3) and labels (H, W) number `index` over all shards. IndexError beyond the last."""
        for images, labels in zip(self._images, self._labels, strict=True):
            if index < len(images):
                return np.asarray(images[index]), np.asarray(labels[index])
            index -= len(images)
        raise IndexError(index)

    def scenes(self) -> Iterator[Scene]:
        """Every picture with its record, in order."""
        for name, images, labels in zip(self.names, self._images, self._labels, strict=True):
            lines = (self.directory / name / "scenes.jsonl").read_text(encoding="utf-8").splitlines()
            for image, label, line in zip(images, labels, lines, strict=True):
                yield Scene(np.asarray(image), np.asarray(label), json.loads(line))


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture and P prompts of it, in pixels of the squashed square of side S.

    rgb uint8 (S, S, 3); ids uint8 (S, S), whose each pixel is, 0 for nobody's; boxes float32 (P, 4) x0 y0 x1 y1; points
    float32 (P, K, 2) x y; point_labels int64 (P, K): 1 is a point, -10 is none; asked uint8 (P): whose mask is wanted.
    """

    rgb: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    points: NDArray[np.float32]
    point_labels: NDArray[np.int64]
    asked: NDArray[np.uint8]

    @property
    def masks(self) -> NDArray[np.bool_]:
        """The masks asked for (P, S, S)."""
        return np.asarray(self.ids[None] == self.asked[:, None, None])


def box_of(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The half-open box x0 y0 x1 y1 around the true pixels. ValueError when there is none."""
    return np.array(box_of_mask(mask), dtype=np.float32)


def jitter_box(box: NDArray[np.float32], share: float, rng: np.random.Generator, side: float) -> NDArray[np.float32]:
    """Each edge moved by up to `share` of the box's own width or height, kept inside the square."""
    size = np.tile(box[2:] - box[:2], 2)
    moved = box + rng.uniform(-share, share, 4) * size
    return np.clip(moved, 0, side).astype(np.float32)


def random_view(
    rgb: NDArray[np.uint8], labels: NDArray[np.uint8], side: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A random window (70 to 100 % of each side, half of the time all of it), squashed to the square.

    Mirrored half of the time; labels by nearest pixel.
    """
    height, width = labels.shape
    window = (0.0, 0.0, float(width), float(height))
    if rng.random() < 0.5:
        w, h = width * rng.uniform(0.7, 1.0), height * rng.uniform(0.7, 1.0)
        left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
        window = (left, top, left + w, top + h)
    view = np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR, box=window))
    ids = np.asarray(Image.fromarray(labels).resize((side, side), Image.Resampling.NEAREST, box=window))
    if rng.random() < 0.5:
        view, ids = view[:, ::-1], ids[:, ::-1]
    return np.ascontiguousarray(view), np.ascontiguousarray(ids)


def photometric(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Random brightness, contrast, gamma and white balance, sometimes noise."""
    levels = np.linspace(0, 1, 256, dtype=np.float32)[:, None] ** rng.uniform(0.75, 1.3)
    levels = (levels - 0.5) * rng.uniform(0.75, 1.25) + 0.5 + rng.uniform(-0.12, 0.12)
    table = np.clip(levels * rng.uniform(0.88, 1.12, 3) * 255, 0, 255).astype(np.uint8)
    changed = cv2.LUT(rgb, table[:, None, :])
    if rng.random() < 0.3:
        noise = rng.standard_normal(changed.shape, dtype=np.float32) * np.float32(rng.uniform(1, 6))
        changed = np.clip(changed + noise, 0, 255).astype(np.uint8)
    return changed


def _random_point(mask: NDArray[np.bool_], box: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Half of the time the inner point a little off (outside at times, as a reasoner's), else any pixel of the mask."""
    x0, y0, x1, y1 = box.astype(int)
    inside = mask[y0:y1, x0:x1]
    if rng.random() < 0.5:
        spread = 0.08 * np.array([x1 - x0, y1 - y0])
        return (np.subtract(inner_point(inside), 0.5) + box[:2] + rng.standard_normal(2) * spread).astype(np.float32)
    rows, columns = np.nonzero(inside)
    pick = int(rng.integers(len(rows)))
    return np.array([x0 + columns[pick], y0 + rows[pick]], dtype=np.float32)


def _prompt(mask: NDArray[np.bool_], rng: np.random.Generator, points: int) -> Prompt:
    """A prompt for one mask: the true box 40 % of the time, else jittered by up to 10 %, sometimes 20 %.

    Without points 15 % of the time.
    """
    box, side = box_of(mask), float(mask.shape[0])
    places, labels = np.zeros((points, 2), np.float32), np.full(points, PAD_POINT, np.int64)
    if rng.random() < 0.85:
        labels[:] = POSITIVE_POINT
        places[:] = [np.clip(_random_point(mask, box, rng), 0, side - 1) for _ in range(points)]
    share = rng.choice([0.0, 0.1, 0.2], p=[0.4, 0.45, 0.15])
    return jitter_box(box, float(share), rng, side), places, labels


def make_sample(
    rgb: NDArray[np.uint8], labels: NDArray[np.uint8], side: int, prompts: int, points: int, rng: np.random.Generator
) -> Sample | None:
    """One augmented sample with exactly `prompts` prompts of `points` points (objects repeat when there are fewer).

    None when no object is large enough.
    """
    view, ids = random_view(rgb, labels, side, rng)
    counts = np.bincount(ids.ravel())
    objects = [i for i in range(1, len(counts)) if counts[i] >= MIN_OBJECT_PIXELS]
    if not objects:
        return None
    rounds = -(-prompts // len(objects))
    chosen = np.concatenate([rng.permutation(objects) for _ in range(rounds)])[:prompts]
    masks = ids[None] == chosen[:, None, None]
    boxes, points, point_labels = zip(*(_prompt(mask, rng, points) for mask in masks), strict=True)
    prompted = np.stack(boxes), np.stack(points), np.stack(point_labels)
    return Sample(photometric(view, rng), ids, *prompted, chosen.astype(np.uint8))


def draw_batch(shards: Shards, images: int, prompts: int, side: int, seed: tuple[int, int]) -> list[Sample]:
    """`images` samples, a function of the shards and the seed alone: a resumed run sees what it would have seen.

    All prompts of a batch have one point, or all have two: padding is one more token, which the runtime never sends.
    """
    rng = np.random.default_rng(seed)
    points = 1 if rng.random() < 0.75 else 2
    samples: list[Sample] = []
    while len(samples) < images:
        sample = make_sample(*shards.picture(int(rng.integers(len(shards)))), side, prompts, points, rng)
        if sample is not None:
            samples.append(sample)
    return samples
