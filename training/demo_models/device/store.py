"""All pictures a training may draw from, in the device's memory; shards are added while they are rendered.

What is once in it stays: when it is full no more are taken.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.tabletop.scene import World
from training.demo_models.device.looks import changed
from training.demo_models.reasoner.batch import Prepared
from training.demo_models.shards import Picked, ShardFolder, check_world, load_shard, nearest

MOST_SHARDS = 4096
LONGEST_NAME = 48  # bytes
WAIT_S = 0.5  # between two looks at the folder
SHARE = 0.45  # of the device's free memory that pictures take at most


class Announced:
    """Names of shards in shared memory, in the order in which they came: one process adds, others read."""

    def __init__(self) -> None:
        self._names = torch.zeros(MOST_SHARDS, LONGEST_NAME, dtype=torch.uint8).share_memory_()
        self._count = torch.zeros(1, dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return int(self._count[0])

    def add(self, name: str) -> None:
        """Say that a shard is there."""
        text = name.encode()
        if len(text) > LONGEST_NAME or len(self) >= MOST_SHARDS:
            raise RejectedInput(
                Code.CONFIG_VALUE, f"got the shard {name}; at most {MOST_SHARDS} names of {LONGEST_NAME} bytes"
            )
        self._names[len(self), : len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        self._count += 1  # last: whoever reads the number finds the name

    def names(self, first: int = 0) -> list[str]:
        """Those from number `first` on."""
        return [bytes(row.tolist()).rstrip(b"\0").decode() for row in self._names[first : len(self)]]


class AnnouncedFolder(ShardFolder):
    """The shards of a folder that are announced, as a worker process sees them: scenes without pixels."""

    def __init__(self, path: Path, size: int, announced: Announced) -> None:
        self.announced, self.first, self.count = announced, {}, 0
        super().__init__(path, size)

    def refresh(self, most: int = 1_000_000) -> int:
        """Look for up to `most` newly announced ones; returns the number of pictures known."""
        for name in self.announced.names(len(self.shards))[:most]:
            self.shards[name] = load_shard(self.path / name, self.size)
            self.first[name] = self.count
            self.count += len(self.shards[name].scenes)
        return self.count

    def slot(self, picked: Picked) -> int:
        """Where the picture is in the store."""
        return self.first[picked.shard] + picked.number


class PictureStore:
    """Pictures uint8 (N, S, S, 3) and labels (N, S, S) on a device; a thread adds what appears in the folder.

    `announced` says to worker processes which shards are in it; `world` as in `ShardFolder`.
    """

    def __init__(
        self, folder: Path, size: int, capacity: int, device: torch.device, world: World | None = None
    ) -> None:
        self.folder, self.size, self.device, self.world = folder, size, device, world
        self.announced, self.count = Announced(), 0
        self._capacity = capacity
        self._pictures = self._labels = torch.empty(0, dtype=torch.uint8)
        self._full = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="picture-store", daemon=True)
        self._fault: BaseException | None = None

    @contextmanager
    def watching(self) -> Iterator[PictureStore]:
        """While inside, a thread takes what appears in the folder."""
        self._thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            self._thread.join()

    def open(self) -> PictureStore:
        """Take the device's memory and what is in the folder by now."""
        bytes_each = 4 * self.size**2
        self._capacity = min(self._capacity, int(SHARE * _free_bytes(self.device) / bytes_each))
        self._pictures = torch.empty(self._capacity, self.size, self.size, 3, dtype=torch.uint8, device=self.device)
        self._labels = torch.empty(self._capacity, self.size, self.size, dtype=torch.uint8, device=self.device)
        self.take_new()
        return self

    def pictures(self, prepared: Prepared) -> Tensor:
        """The pictures (B, S, S, 3) of a step as they are learned from; `prepared` is on the device."""
        if self._fault is not None:
            raise self._fault
        return changed(self._pictures[prepared.slot], self._labels[prepared.slot], prepared.looks)

    def take_new(self) -> int:
        """Take what has appeared in the folder; returns the number of pictures held."""
        known = set(self.announced.names())
        for path in sorted(self.folder.glob("shard-*")):
            if path.name not in known and (path / "scenes.jsonl").exists() and not self._full:
                self._take(path)
        return self.count

    def _take(self, path: Path) -> None:
        shard = load_shard(path, self.size)
        check_world(shard, path, self.world)
        count = len(shard.scenes)
        if self.count + count > self._capacity:
            self._full = True
            print(f"{self.count} pictures are on {self.device}; there is room for no more", flush=True)
            return
        where = slice(self.count, self.count + count)
        self._pictures[where] = torch.from_numpy(np.array(shard.images)).to(self.device)
        self._labels[where] = torch.from_numpy(nearest(shard.labels, self.size).copy()).to(self.device)
        if self.device.type == "cuda":
            torch.cuda.current_stream().synchronize()  # this thread's: whoever hears of them may read them
        self.count += count
        self.announced.add(path.name)

    def _watch(self) -> None:
        stream = torch.cuda.Stream() if self.device.type == "cuda" else None
        try:
            with torch.cuda.stream(stream):  # type: ignore[arg-type]  # None: does nothing
                while not self._ended.wait(WAIT_S) and not self._full:
                    self.take_new()
        except BaseException as error:  # noqa: BLE001 - raised where the pictures are asked for
            self._fault = error


def _free_bytes(device: torch.device) -> int:
    """Memory of the device that nobody uses."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
