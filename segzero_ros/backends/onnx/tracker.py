"""SAM 2's memory on ONNX Runtime: four graphs beside the segmenter's two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzero_ros.backends import DEFAULTS, EngineOptions
from segzero_ros.backends.onnx.session import open_session
from segzero_ros.backends.sam2_memory import GRAPHS, Floats, check_memory_graphs

Features = Mapping[str, NDArray[Any]]


class OnnxMemoryEngine:
    """``MemoryEngine`` on ONNX Runtime. ``features``: what the segmenter's encoder said of the picture encoded last."""

    def __init__(
        self,
        files: Mapping[str, Path],
        image_size: tuple[int, int],
        features: Callable[[], Features],
        options: EngineOptions = DEFAULTS,
    ) -> None:
        """Open the four graphs or raise ``RejectedInput``: BUNDLE_BACKEND, BUNDLE_FORMAT."""
        self._features = features
        self._sessions = {
            role: open_session(files[role], threads=options.threads, provider=options.provider) for role in GRAPHS
        }
        inputs = {role: [value.name for value in session.get_inputs()] for role, session in self._sessions.items()}
        check_memory_graphs(image_size, inputs, self._sessions["mask_prompt"].get_inputs()[1].shape)
        self._half = "float16" in self._sessions["track_decoder"].get_inputs()[0].type

    def prompt(self, masks: Floats) -> Floats:
        """Masks (N, S, S) of 0 and 1 -> (N, C, h, w) for the decoder."""
        return self._run("mask_prompt", {"embedding": self._features()["embedding"], "masks": masks})[0]

    def attend(self, memories: Floats, ages: NDArray[np.int64], pointers: Floats, pointer_ages: Floats) -> Floats:
        """Each object's past -> (N, C, h, w) for the decoder."""
        inputs = {"memories": memories, "pointers": pointers, "embedding": self._features()["embedding"]}
        return self._run("memory_attention", inputs, {"ages": ages, "pointer_ages": pointer_ages})[0]

    def decode(self, seen: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """-> logits (N, S/4, S/4), IoUs (N,), presence (N,) as logits, pointers (N, C)."""
        now = self._features()
        logits, ious, presence, pointers = self._run(
            "track_decoder", {"seen": seen, "fine": now["fine"], "middle": now["middle"]}
        )
        return logits, ious, presence, pointers

    def remember(self, masks: Floats, given: Floats, presence: Floats) -> Floats:
        """Logits (N, S, S), given (N,) and presence (N,) -> memories (N, h * w, D)."""
        inputs = {"embedding": self._features()["embedding"], "masks": masks, "given": given, "presence": presence}
        return self._run("memory_encoder", inputs)[0]

    def _run(self, role: str, inputs: Mapping[str, NDArray[Any]], exact: Features | None = None) -> list[Floats]:
        """Run one graph; ``exact`` inputs keep their type, the others take the graphs'."""
        kind = np.float16 if self._half else np.float32
        fed = {name: value.astype(kind, copy=False) for name, value in inputs.items()} | dict(exact or {})
        return [value.astype(np.float32, copy=False) for value in self._sessions[role].run(None, fed)]
