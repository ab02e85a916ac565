"""One step's data: what was drawn for it, first as tensors that any process can make, then on the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from segzero_ros.tabletop.rich.forms import RICH_KINDS
from training.demo_models.colour_augmentation import COLOUR_NAMES
from training.demo_models.supervised_text import SupervisedText, Thing
from training.packed import PackedSequences, pack_sequences

Record = TypeVar("Record")
_KIND_NUMBERS: Mapping[str, int] = {kind: number for number, kind in enumerate(RICH_KINDS)}


def converted(record: Record, change: Any) -> Record:
    """The same record with every tensor of it, and of the records in it, changed."""

    def one(value: Any) -> Any:
        if isinstance(value, Tensor):
            return change(value)
        return converted(value, change) if dataclasses.is_dataclass(value) else value

    fields = dataclasses.fields(record)  # type: ignore[arg-type]
    return type(record)(**{field.name: one(getattr(record, field.name)) for field in fields})


def to_device(record: Record, device: torch.device) -> Record:
    """The record with its tensors on `device`; from pinned memory without waiting."""
    return converted(record, lambda tensor: tensor.to(device, non_blocking=True))


@dataclass(slots=True)
class SceneTensors:
    """The things of B pictures, K each at most, in the model's pixels; one that is not there has `visible` 0.

    box (B, K, 4) and point (B, K, 2) float64, visible (B, K) float32, kind and colour (B, K) int64: `RICH_KINDS`,
    which begin with the simple world's, and `COLOUR_NAMES`.
    """

    box: Tensor
    point: Tensor
    visible: Tensor
    kind: Tensor
    colour: Tensor

    @classmethod
    def of(cls, scenes: Sequence[Mapping[int, Thing]]) -> SceneTensors:
        """Of each picture's things by their ids; thing number k here is the k-th of the mapping."""
        shape = len(scenes), max(1, max(map(len, scenes), default=1))
        box, point = np.zeros((*shape, 4)), np.zeros((*shape, 2))
        visible = np.zeros(shape, np.float32)
        kind, colour = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for b, scene in enumerate(scenes):
            for k, thing in enumerate(scene.values()):
                box[b, k], point[b, k], visible[b, k] = thing.box, thing.point, thing.visible
                kind[b, k], colour[b, k] = _KIND_NUMBERS[thing.kind], COLOUR_NAMES.index(thing.colour)
        return cls(*map(torch.from_numpy, (box, point, visible, kind, colour)))


@dataclass(slots=True)
class Words:
    """Packed questions with their answers: N tokens, M before one of an answer, G that predict something of a thing.

    `learned` (M,): which of the N, and `target` (M,): the token that comes next. `at` (G,): which of the N; `at_image`,
    `at_thing` (G,): about which picture and which of its things (`SceneTensors`).
    """

    sequences: PackedSequences
    learned: Tensor
    target: Tensor
    at: Tensor
    at_image: Tensor
    at_thing: Tensor

    @classmethod
    def of(
        cls, examples: Sequence[SupervisedText], images: Sequence[int], scenes: Sequence[Mapping[int, Thing]]
    ) -> Words:
        """`examples[s]` asks about picture `images[s]` with the things `scenes[images[s]]`."""
        order = [{number: k for k, number in enumerate(scene)} for scene in scenes]
        at: list[tuple[int, int, int]] = []
        start = 0
        for example, image in zip(examples, images, strict=True):
            for n, thing in enumerate(example.objects[1:]):
                if thing:
                    at.append((start + n, image, order[image][thing]))
            start += len(example.ids) - 1
        where, image_of, thing_of = np.array(at, np.int64).reshape(-1, 3).T
        target = np.concatenate([np.array(example.ids[1:], np.int64) for example in examples])
        learned = np.flatnonzero(np.concatenate([np.arange(1, len(e.ids)) >= e.prompt_length for e in examples]))
        sequences = pack_sequences([example.ids[:-1] for example in examples], images)
        return cls(
            sequences, *(torch.from_numpy(v.copy()) for v in (learned, target[learned], where, image_of, thing_of))
        )


@dataclass(slots=True)
class Looks:
    """How each of B pictures is changed before it is learned from (`device/looks.py` does it on a device).

    `recoloured` (R,): which of them have other colours; `colours` (R, L, 3, 3) float32: what the red, green and blue of
    the pixels with label 0..L-1 become. shift (B, 2) int64 x y pixels; gain (B, 3), offset (B,) float32 of the
    levels; mirrored (B,) bool.
    """

    recoloured: Tensor
    colours: Tensor
    shift: Tensor
    gain: Tensor
    offset: Tensor
    mirrored: Tensor


@dataclass(slots=True)
class Prepared:
    """What a step needs but the pixels: made by a worker process. `slot` (B,): where the pictures are on the device.

    `words` is None in the vision stage.
    """

    slot: Tensor
    looks: Looks
    things: SceneTensors
    words: Words | None

    def pin_memory(self) -> Prepared:
        """The same in memory that a GPU can read while the CPU goes on."""
        return converted(self, lambda tensor: tensor.pin_memory())


@dataclass(slots=True)
class Batch:
    """One step's data on the learner's device: rgb uint8 (B, S, S, 3); `words` is None in the vision stage."""

    rgb: Tensor
    things: SceneTensors
    words: Words | None
