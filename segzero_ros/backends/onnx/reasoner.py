"""The reasoner on ONNX Runtime: Qwen2.5-VL's three graphs with a static KV cache that never moves.

The cache's buffers are bound once as past and as present, and so are the rows and logits of a single token: a token
costs no allocation and no copy of its cache. What goes around the graphs is ``generation.LocalReasoner``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from segzero_ros.backends import DEFAULTS, EngineOptions
from segzero_ros.backends.decoding.generation import LocalReasoner, ReasonerShape, read_shape
from segzero_ros.backends.onnx.session import device, open_session
from segzero_ros.profile import Profile


class OnnxEngine:
    """``ReasonerEngine`` on ONNX Runtime."""

    def __init__(self, files: Mapping[str, Path], options: EngineOptions = DEFAULTS) -> None:
        """Open ``files`` ("vision", "embeddings", "decoder", "config")."""
        self.shape = read_shape(files["config"])
        self._vision = open_session(files["vision"], threads=options.threads, provider=options.provider)
        self._embeddings = open_session(files["embeddings"], threads=1, provider="cpu")
        decoder = open_session(files["decoder"], threads=options.threads, provider=options.provider)
        self._decoder = Decoder(decoder, self.shape)

    def encode_image(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Visual tokens (M, hidden) of a normalised picture (3, H, W)."""
        tokens: NDArray[np.float32] = self._vision.run(["tokens"], {"pixels": pixels[None]})[0]
        return tokens

    def append(
        self,
        ids: NDArray[np.int64],
        cos: NDArray[np.float32],
        sin: NDArray[np.float32],
        place: int,
        picture: tuple[slice, Any] | None = None,
    ) -> NDArray[np.float32]:
        """See ``ReasonerEngine``."""
        embeds: NDArray[np.float32] = self._embeddings.run(["embeds"], {"ids": ids})[0]
        if picture is not None:
            rows, tokens = picture
            embeds[rows] = tokens
        return self._decoder.append(embeds, cos, sin, place)


class Decoder:
    """The decoder graph and its cache: rows in at a place, logits of the last ones out."""

    def __init__(self, session: onnxruntime.InferenceSession, shape: ReasonerShape) -> None:
        self._session, self._shape = session, shape
        # Zeroed: what lies beyond the rows written so far is masked, but a stray NaN would survive the mask.
        half = any(value.type == "tensor(float16)" for value in session.get_inputs())
        empty = np.zeros(
            (1, shape.key_value_heads, shape.max_length, shape.head_dim), np.float16 if half else np.float32
        )
        self._caches = {
            f"{kind}_{layer}": onnxruntime.OrtValue.ortvalue_from_numpy(empty.copy(), device(session), 0)
            for layer in range(shape.layers)
            for kind in ("key", "value")
        }
        self._logits = np.zeros((shape.logit_rows, shape.vocabulary), np.float32)
        self._write_index = np.zeros(1, np.int64)
        self._one = [np.zeros((1, width), np.float32) for width in self._widths()]
        self._one_binding = self._bind(self._one)
        self._bindings: dict[int, tuple[list[NDArray[np.float32]], Any]] = {1: (self._one, self._one_binding)}

    def append(
        self, embeds: NDArray[np.float32], cos: NDArray[np.float32], sin: NDArray[np.float32], place: int
    ) -> NDArray[np.float32]:
        """Write rows (S, hidden) at ``place`` of the cache; return the logits (min(S, logit_rows), vocabulary).

        The array returned is overwritten by the next call.
        """
        count = len(embeds)
        self._write_index[0] = place
        if count <= self._shape.logit_rows:
            if count not in self._bindings:
                buffers = [np.zeros((count, width), np.float32) for width in self._widths()]
                self._bindings[count] = buffers, self._bind(buffers)
            buffers, binding = self._bindings[count]
            for buffer, value in zip(buffers, (embeds, cos, sin), strict=True):
                np.copyto(buffer, value)
        else:
            binding = self._bind([np.ascontiguousarray(value) for value in (embeds, cos, sin)])
        self._session.run_with_iobinding(binding)
        return self._logits[: min(count, self._shape.logit_rows)]

    def _widths(self) -> tuple[int, int, int]:
        return self._shape.hidden_size, self._shape.head_dim // 2, self._shape.head_dim // 2

    def _bind(self, rows: list[NDArray[np.float32]]) -> Any:
        """Bind rows, write index, caches (in and out alike) and logits; the arrays' memory is used as it is."""
        binding = self._session.io_binding()
        for name, value in zip(("embeds", "cos", "sin"), rows, strict=True):
            binding.bind_cpu_input(name, value)
        binding.bind_cpu_input("write_index", self._write_index)
        for name, cache in self._caches.items():
            binding.bind_ortvalue_input(f"past_{name}", cache)
            binding.bind_ortvalue_output(f"present_{name}", cache)
        logits = self._logits[: min(len(rows[0]), self._shape.logit_rows)]
        binding.bind_output("logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
        return binding


class OnnxReasoner(LocalReasoner):
    """``Reasoner`` on ONNX Runtime."""

    def __init__(
        self,
        files: Mapping[str, Path],
        profile: Profile,
        options: EngineOptions = DEFAULTS,
        spelling: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Open ``files`` (an engine's and "tokenizer") or raise ``RejectedInput``; see ``LocalReasoner``."""
        tokenizer = files["tokenizer"].read_text("utf-8")
        super().__init__(OnnxEngine(files, options), tokenizer, profile, options, spelling)
