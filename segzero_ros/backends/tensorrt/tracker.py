"""SAM 2's memory on TensorRT: four engines on the features that the segmenter's encoder left on the GPU.

What the attention or a prompt makes of the picture is copied on the GPU to where the mask decoder reads it. Memories
and pointers are the host's between two frames and sent for each step: at 1024 x 1024 in FP16 3.7 MB for an object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzero_ros.backends.sam2_memory import GRAPHS, Floats, check_memory_graphs
from segzero_ros.backends.tensorrt.device import Buffer, Device
from segzero_ros.backends.tensorrt.engine import Engine, Execution
from segzero_ros.backends.tensorrt.library import Library
from segzero_ros.backends.tensorrt.profiles import ATTENDED
from segzero_ros.backends.tensorrt.segmenter import Plans, TensorrtSegmenterEngine
from segzero_ros.segmenter import MAX_FOLLOWED


def open_with_memory(
    library: Library, device: Device, plans: Plans, image_size: tuple[int, int], following: bool
) -> tuple[TensorrtSegmenterEngine, TensorrtMemoryEngine | None]:
    """The segmenter's engines and, where it is ``following``, those of the memory on the same features."""
    segmenter = TensorrtSegmenterEngine(library, device, plans, image_size)
    memory = TensorrtMemoryEngine(library, device, plans, image_size, segmenter.features) if following else None
    return segmenter, memory


class TensorrtMemoryEngine:
    """``MemoryEngine`` on TensorRT; ``seen`` is the number of objects, of which the decoder has its input already."""

    def __init__(
        self,
        library: Library,
        device: Device,
        plans: Plans,
        image_size: tuple[int, int],
        features: Mapping[str, Buffer],
    ) -> None:
        """Open the four engines. ``features``: the encoder's outputs on the GPU."""
        self._device = device
        self._engines: dict[str, Engine] = {}
        self._executions: dict[str, Execution] = {}
        for role, names in GRAPHS.items():
            shared = {name: features[name] for name in names if name in features}
            with plans(f"segmenter.{role}") as plan:
                self._engines[role] = Engine(library, device, plan, shared=shared)
            self._executions[role] = self._engines[role].execution()
        masks = self._executions["mask_prompt"].shape("masks")
        check_memory_graphs(image_size, {role: engine.inputs for role, engine in self._engines.items()}, masks)

    def prompt(self, masks: Floats) -> int:
        """Masks (N, S, S) of 0 and 1 -> N, with what the decoder wants of each in its input."""
        self._run("mask_prompt", {"masks": masks})
        self._hand_over("mask_prompt", 0, len(masks))
        return len(masks)

    def attend(self, memories: Floats, ages: NDArray[np.int64], pointers: Floats, pointer_ages: Floats) -> int:
        """Each object's past -> N, with what the decoder wants of each in its input; ``ATTENDED`` objects at a time."""
        for first in range(0, len(ages), ATTENDED):
            part = slice(first, first + ATTENDED)
            inputs: dict[str, NDArray[Any]] = {"memories": memories[part], "ages": ages[part]}
            inputs |= {"pointers": pointers[part], "pointer_ages": pointer_ages[part]}
            self._run("memory_attention", inputs)
            self._hand_over("memory_attention", first, len(ages[part]))
        return len(ages)

    def decode(self, seen: int) -> tuple[Floats, Floats, Floats, Floats]:
        """-> logits (N, S/4, S/4), IoUs (N,), presence (N,) as logits, pointers (N, C)."""
        shape = (seen, *self._executions["track_decoder"].shape("seen")[1:])
        self._executions["track_decoder"].set_shapes({"seen": shape})
        self._executions["track_decoder"].run()
        logits, ious, presence, pointers = self._fetch("track_decoder", ("logits", "ious", "presence", "pointers"))
        return logits, ious, presence, pointers

    def remember(self, masks: Floats, given: Floats, presence: Floats) -> Floats:
        """Logits (N, S, S), given (N,) and presence (N,) -> memories (N, h * w, D)."""
        self._run("memory_encoder", {"masks": masks, "given": given, "presence": presence})
        return self._fetch("memory_encoder", ("memories",))[0]

    def _run(self, role: str, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Send the inputs and put the inference on the stream.

        Waits for what the stream has before it: a copy may still read the host's side that is written now.
        """
        self._device.synchronise()
        self._executions[role].set_shapes({name: value.shape for name, value in inputs.items()})
        for name, value in inputs.items():
            self._engines[role].buffers[name].put(value)
        self._executions[role].run()

    def _hand_over(self, role: str, first: int, count: int) -> None:
        """Copy what was made of ``count`` objects to the decoder's input, from the place of object ``first`` on."""
        each = int(np.prod(self._executions[role].shape("seen")[1:]))
        if first + count > MAX_FOLLOWED:
            raise ValueError(f"got {first + count} objects, want at most {MAX_FOLLOWED}")
        target = self._engines["track_decoder"].buffers["seen"]
        target.copy_from(self._engines[role].buffers["seen"], first * each, count * each)

    def _fetch(self, role: str, names: tuple[str, ...]) -> list[Floats]:
        """The outputs of the last inference, in FP32, copied: the next one overwrites the buffers."""
        shapes = [self._executions[role].shape(name) for name in names]
        buffers = [self._engines[role].buffers[name] for name in names]
        for buffer, shape in zip(buffers, shapes, strict=True):
            buffer.fetch(int(np.prod(shape)))
        self._device.synchronise()
        return [
            buffer.host[: int(np.prod(shape))].reshape(shape).astype(np.float32)
            for buffer, shape in zip(buffers, shapes, strict=True)
        ]
