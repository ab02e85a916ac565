"""Clips -> what the frozen encoder sees in them, worked out once: a cache beside each shard of clips.

A shard, as ``training.clips.render`` writes it: `frames.npy` uint8 (N, T, S, S, 3), squashed as the runtime does, and
`ids.npy` uint8 (N, T, S, S), the thing each pixel shows, 0 for none, the same number in all frames of a clip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from torch import Tensor
from torch.nn import functional as F

from export.segmenter_onnx import FEATURES
from segzero_ros.backends.decoding.preprocess import IMAGENET_MEAN, IMAGENET_STD, normalise
from segzero_ros.backends.onnx.session import open_session
from segzero_ros.bundle import hash_file
from training.tracker.follow import Picture

LEAST = 30  # pixels of an object that is worth starting with, of the squashed picture
SEEN = 8  # pixels of an object that counts as visible
BACKWARDS, SKIPPING, ROUGH = 0.3, 0.3, 0.7  # share of clips played backwards, with frames left out, of rough starts
CUT, MIN_CUT_FRAMES = 0.25, 4  # share of objects whose clip is interrupted by frames of another, if it is as long
RETURNING = 4.0  # how much likelier an object is taken that is hidden in between


@dataclass(frozen=True, slots=True)
class Drawn:
    """N objects, each with its clip: what a training step follows.

    ``features``: by name (T, N, ...); ``start`` (N, S, S): the rough first mask, 0 or 1; ``masks`` bool (T, N, S, S);
    ``visible`` bool (T, N).
    """

    features: dict[str, Tensor]
    start: Tensor
    masks: Tensor
    visible: Tensor

    @property
    def frames(self) -> int:
        """Frames of each clip."""
        return len(self.masks)

    def picture(self, index: int) -> Picture:
        """The features of frame ``index``."""
        return Picture(*(self.features[name][index] for name in FEATURES))


@dataclass(frozen=True, slots=True)
class _Shard:
    ids: NDArray[np.uint8]
    features: dict[str, NDArray[np.float16]]


@dataclass(frozen=True, slots=True)
class _Row:
    """One object of a step: its clip's frames in their order, and which of them another clip's stand in for, if any."""

    shard: _Shard
    clip: int
    order: NDArray[np.int64]
    thing: int
    cut: tuple[int, int] = (0, 0)
    other: tuple[_Shard, int] | None = None

    def masks(self) -> NDArray[np.bool_]:
        """Where the object is in each frame, (T, S, S)."""
        masks = np.asarray(self.shard.ids[self.clip][self.order] == self.thing)
        masks[slice(*self.cut)] = False
        return masks

    def features(self, name: str) -> NDArray[np.float16]:
        """What the encoder sees in each frame, (T, ...)."""
        seen = self.shard.features[name][self.clip][self.order]
        if self.other is not None:
            shard, clip = self.other
            begin, end = self.cut
            seen[begin:end] = shard.features[name][clip][: end - begin]
        return np.asarray(seen)


class ClipFeatures:
    """All shards of a folder as an exported encoder sees them; ``rescan`` finds those that have appeared."""

    def __init__(self, folder: Path, encoder: Path) -> None:
        """``encoder``: the segmenter's graph. ``ValueError`` when the folder has no shard yet."""
        self._folder, self._mark = folder, hash_file(encoder)[:8]
        self._session: InferenceSession = open_session(encoder)
        self._shards: dict[str, _Shard] = {}
        self.rescan(1)
        if not self._shards:
            raise ValueError(f"got no clips-*/ in {folder}; render some with python -m training.clips.render")

    def __len__(self) -> int:
        return sum(len(shard.ids) for shard in self._shards.values())

    def rescan(self, most: int = 1_000_000) -> None:
        """Take in up to ``most`` shards that have appeared since, each encoded once."""
        for path in sorted(self._folder.glob("clips-?????")):
            if most and path.name not in self._shards:
                self._shards[path.name] = _Shard(np.load(path / "ids.npy", mmap_mode="r"), self._features(path))
                most -= 1

    def level(self) -> tuple[float, float]:
        """Mean over the pictures' cells of the embedding's mean and deviation over its channels."""
        embedding = next(iter(self._shards.values())).features["embedding"][:, 0].astype(np.float32)
        return float(embedding.mean()), float(embedding.std(1).mean())

    def draw(self, rng: np.random.Generator, clips: int, objects: int, frames: int) -> Drawn:
        """Up to ``objects`` things of each of ``clips`` clips that are visible in its first frame, for ``frames``."""
        rows: list[_Row] = []
        while not rows:
            for _ in range(clips):
                shard = self._any_shard(rng)
                rows += [self._interrupted(row, rng) for row in _pick(rng, shard, objects, frames)]
        features = {
            name: torch.from_numpy(np.stack([row.features(name) for row in rows], axis=1)).float() for name in FEATURES
        }
        masks = torch.from_numpy(np.stack([row.masks() for row in rows], axis=1))
        visible = masks.flatten(2).sum(2) >= SEEN
        return Drawn(features, roughened(masks[0].float(), rng), masks, visible)

    def _any_shard(self, rng: np.random.Generator) -> _Shard:
        return self._shards[sorted(self._shards)[int(rng.integers(len(self._shards)))]]

    def _interrupted(self, row: _Row, rng: np.random.Generator) -> _Row:
        """Now and then with frames of another clip in between, where the object is not to be found."""
        frames = len(row.order)
        if rng.random() >= CUT or frames < MIN_CUT_FRAMES:
            return row
        shard = self._any_shard(rng)
        clip = int(rng.integers(len(shard.ids)))
        if shard is row.shard and clip == row.clip:
            return row
        begin = int(rng.integers(1, frames - 1))
        end = min(frames, begin + int(rng.integers(1, max(2, frames // 3))))
        return replace(row, cut=(begin, end), other=(shard, clip))

    def _features(self, path: Path) -> dict[str, NDArray[np.float16]]:
        """Per name float16 (N, T, ...), from the cache or made for it."""
        files = {name: path / f"{name}-{self._mark}.npy" for name in FEATURES}
        if not all(file.exists() for file in files.values()):
            for name, values in self._encode(np.load(path / "frames.npy", mmap_mode="r")).items():
                partial = files[name].with_suffix(".partial.npy")
                np.save(partial, values)
                partial.replace(files[name])
        return {name: np.load(file, mmap_mode="r") for name, file in files.items()}

    def _encode(self, frames: NDArray[np.uint8]) -> dict[str, NDArray[np.float16]]:
        found: dict[str, list[NDArray[np.float16]]] = {name: [] for name in FEATURES}
        for frame in frames.reshape(-1, *frames.shape[2:]):
            pixels = normalise(frame, IMAGENET_MEAN, IMAGENET_STD)[None]
            for name, value in zip(FEATURES, self._session.run(list(FEATURES), {"pixels": pixels}), strict=True):
                found[name].append(value[0].astype(np.float16))
        return {name: np.stack(values).reshape(*frames.shape[:2], *values[0].shape) for name, values in found.items()}


def roughened(masks: Tensor, rng: np.random.Generator) -> Tensor:
    """Masks (N, S, S) as a segmenter gives them: some grown or shrunk by a pixel, or moved by up to two."""
    rough = []
    for mask in masks:
        changed = mask
        if rng.random() < ROUGH:
            shift = tuple(int(step) for step in rng.integers(-2, 3, 2))
            changed = torch.roll(changed, shift, (0, 1))
            how = rng.random()
            if how < 0.4:
                changed = F.max_pool2d(changed[None], 3, 1, 1)[0]
            elif how < 0.8:
                changed = 1 - F.max_pool2d(1 - changed[None], 3, 1, 1)[0]
        rough.append(changed if changed.any() else mask)
    return torch.stack(rough)


def _pick(rng: np.random.Generator, shard: _Shard, objects: int, frames: int) -> list[_Row]:
    clip = int(rng.integers(len(shard.ids)))
    length = shard.ids.shape[1]
    order = np.arange(length)
    if rng.random() < BACKWARDS:
        order = order[::-1].copy()
    if rng.random() < SKIPPING:  # every other frame, out and back again
        order = np.concatenate([order[::2], order[1::2][::-1]])
    first = int(rng.integers(length - frames + 1)) if frames < length else 0
    order = order[first : first + frames]
    ids = shard.ids[clip][order]
    areas = np.stack([np.bincount(frame.ravel(), minlength=256) for frame in ids])
    things = np.array([thing for thing in np.flatnonzero(areas[0] >= LEAST) if thing], np.int64)
    weights = 1 + (RETURNING - 1) * (areas[:, things] < SEEN).any(axis=0)
    count = min(objects, len(things))
    taken = rng.choice(things, count, replace=False, p=weights / weights.sum()) if count else things
    return [_Row(shard, clip, order, int(thing)) for thing in taken]
