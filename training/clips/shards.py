"""Clips on disk, squashed to squares: written shard by shard, read while more are written.

A shard is a directory `clips-00000/` with

| file | what |
|---|---|
| frames.npy | uint8 (N, T, S, S, 3) RGB, squashed as the segmenter's runtime does it |
| ids.npy | uint8 (N, T, S, S), by nearest pixel; 0 for nothing; a thing has the same number in all frames of its clip |
| clips.jsonl | a line per clip: seed, split, motion, step_s, and per thing kind, colour, and in each frame pixels (of \
the camera's picture), visible (share of its surface) and where (seen, hidden, outside) |
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzero_ros.backends.decoding.preprocess import resize_to
from training.clips.truth import Clip


def shard_path(folder: Path, number: int) -> Path:
    """Where shard `number` of the folder is."""
    return folder / f"clips-{number:05d}"


def squash(clip: Clip, side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Frames (T, S, S, 3) and ids (T, S, S) of a clip, in squares."""
    height, width = clip.ids.shape[1:]
    rows, columns = (((np.arange(side) + 0.5) * length / side).astype(int) for length in (height, width))
    return np.stack([resize_to(frame, (side, side)) for frame in clip.frames]), clip.ids[:, rows][:, :, columns]


def record(clip: Clip) -> dict[str, Any]:
    """The clip's line of clips.jsonl."""
    return {
        "seed": clip.script.seed,
        "split": clip.script.split,
        "motion": clip.script.motion,
        "step_s": round(clip.script.step_s, 4),
        "things": [
            {
                "id": thing.id,
                "kind": thing.kind,
                "colour": thing.colour,
                "pixels": clip.pixels[:, n].tolist(),
                "visible": clip.visible[:, n].round(3).tolist(),
                "where": [row[n] for row in clip.where],
            }
            for n, thing in enumerate(clip.things)
        ],
    }


class ShardWriter:
    """Fills one shard, clip by clip; it appears at the end of the `with`, whole, or not at all."""

    def __init__(self, path: Path, count: int, frames: int, side: int) -> None:
        self._path, self._side = path, side
        self._partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        self._frames = np.empty((count, frames, side, side, 3), dtype=np.uint8)
        self._ids = np.empty((count, frames, side, side), dtype=np.uint8)
        self._records: list[dict[str, Any]] = []

    def add(self, clip: Clip) -> None:
        """The next clip."""
        n = len(self._records)
        self._frames[n], self._ids[n] = squash(clip, self._side)
        self._records.append(record(clip))

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        count = len(self._records)
        np.save(self._partial / "frames.npy", self._frames[:count])
        np.save(self._partial / "ids.npy", self._ids[:count])
        lines = "".join(json.dumps(each) + "\n" for each in self._records)
        (self._partial / "clips.jsonl").write_text(lines, encoding="utf-8")
        self._partial.rename(self._path)


@dataclass(frozen=True, slots=True, eq=False)
class StoredClip:
    """One clip of a shard: frames uint8 (T, S, S, 3), ids uint8 (T, S, S), and its line of clips.jsonl."""

    frames: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    record: dict[str, Any]


def read_clips(folder: Path) -> Iterator[StoredClip]:
    """All clips of a folder that are there by now, in order."""
    for path in sorted(folder.glob("clips-[0-9][0-9][0-9][0-9][0-9]")):
        frames, ids = (np.load(path / name, mmap_mode="r") for name in ("frames.npy", "ids.npy"))
        lines = (path / "clips.jsonl").read_text(encoding="utf-8").splitlines()
        for one, labels, line in zip(frames, ids, lines, strict=True):
            yield StoredClip(one, labels, json.loads(line))
