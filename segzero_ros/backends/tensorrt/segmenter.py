"""SAM 2 on TensorRT: the encoder writes its features where the decoder reads them, all objects go in one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzero_ros.backends.sam2 import check_graphs
from segzero_ros.backends.tensorrt.device import Buffer, Device
from segzero_ros.backends.tensorrt.engine import Engine
from segzero_ros.backends.tensorrt.library import Library

Plans = Callable[[str], AbstractContextManager[memoryview]]


class TensorrtSegmenterEngine:
    """``SegmenterEngine`` on TensorRT. ``plans`` gives the checked bytes of the engine for a role."""

    def __init__(self, library: Library, device: Device, plans: Plans, image_size: tuple[int, int]) -> None:
        self._device = device
        with plans("segmenter.encoder") as plan:
            self._encoder = Engine(library, device, plan)
        encode = self._encoder.execution()
        features = {name: self._encoder.buffers[name] for name in self._encoder.outputs}
        with plans("segmenter.decoder") as plan:
            self._decoder = Engine(library, device, plan, shared=features)
        check_graphs(image_size, encode.shape("pixels"), self._decoder.inputs)
        self._encode, self._decode = encode, self._decoder.execution()
        self.features: Mapping[str, Buffer] = features
        """What the encoder says of the picture encoded last, on the GPU, by name."""

    def encode(self, pixels: NDArray[np.float32]) -> None:
        """Encode normalised pixels (1, 3, H, W); the features stay on the GPU."""
        self._encoder.buffers["pixels"].put(pixels)
        self._encode.run()
        self._device.synchronise()

    def decode(self, prompts: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits (N, 3, h, w) and predicted IoUs (N, 3); both are overwritten by the next call."""
        self._decode.set_shapes({name: value.shape for name, value in prompts.items()})
        for name, value in prompts.items():
            self._decoder.buffers[name].put(value)
        self._decode.run()
        shapes = [self._decode.shape(name) for name in ("logits", "scores")]
        buffers = [self._decoder.buffers[name] for name in ("logits", "scores")]
        for buffer, shape in zip(buffers, shapes, strict=True):
            buffer.fetch(int(np.prod(shape)))
        self._device.synchronise()
        logits, scores = (
            buffer.host[: int(np.prod(shape))].reshape(shape) for buffer, shape in zip(buffers, shapes, strict=True)
        )
        return logits, scores
