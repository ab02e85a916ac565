"""SAM 2 on ONNX Runtime: a frame encoded once, any number of boxes and points decoded in one batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzero_ros.backends import DEFAULTS, EngineOptions
from segzero_ros.backends.onnx.session import open_session
from segzero_ros.backends.onnx.tracker import OnnxMemoryEngine
from segzero_ros.backends.sam2 import FEATURES, Sam2Segmenter, check_graphs
from segzero_ros.backends.sam2_memory import GRAPHS


class OnnxSegmenterEngine:
    """``SegmenterEngine`` on ONNX Runtime."""

    def __init__(
        self, files: Mapping[str, Path], image_size: tuple[int, int], options: EngineOptions = DEFAULTS
    ) -> None:
        """Open both graphs or raise ``RejectedInput``; see ``OnnxSegmenter``."""
        self._encoder = open_session(files["encoder"], threads=options.threads, provider=options.provider)
        self._decoder = open_session(files["decoder"], threads=options.threads, provider=options.provider)
        self._features: dict[str, NDArray[Any]] = {}
        inputs = [value.name for value in self._decoder.get_inputs()]
        check_graphs(image_size, self._encoder.get_inputs()[0].shape, inputs)

    def encode(self, pixels: NDArray[np.float32]) -> None:
        """Encode normalised pixels (1, 3, H, W) and keep the features."""
        outputs = self._encoder.run(list(FEATURES), {"pixels": pixels})
        self._features = dict(zip(FEATURES, outputs, strict=True))

    @property
    def features(self) -> Mapping[str, NDArray[Any]]:
        """What the encoder said of the picture encoded last, by name; the tracker's memory starts from it."""
        return self._features

    def decode(self, prompts: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits (N, 3, h, w) and predicted IoUs (N, 3)."""
        logits, ious = self._decoder.run(["logits", "scores"], {**self._features, **prompts})
        return logits, ious


class OnnxSegmenter(Sam2Segmenter):
    """``Segmenter`` on ONNX Runtime."""

    def __init__(
        self, files: Mapping[str, Path], image_size: tuple[int, int], options: EngineOptions = DEFAULTS
    ) -> None:
        """Open the graphs. ``files``: "encoder", "decoder", and those of the memory (``GRAPHS``) where there are some.

        ``image_size``: (width, height) they were made for.

        Raises ``RejectedInput``: BUNDLE_BACKEND when ONNX Runtime cannot open them, BUNDLE_FORMAT when they are not
        what the manifest says.
        """
        engine = OnnxSegmenterEngine(files, image_size, options)
        memory = None
        if set(GRAPHS) <= set(files):
            memory = OnnxMemoryEngine(files, image_size, lambda: engine.features, options)
        super().__init__(engine, image_size, memory)
