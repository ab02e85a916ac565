"""Qwen2.5-VL on TensorRT: vision, embeddings and decoder with a static KV cache that never leaves the GPU.

A token, or a few that were guessed ahead, is one recorded CUDA graph: ids, rotary rows and write index in, embeddings,
decoder, logits out. Rows of the picture and of questions go through the decoder's second profile, without a graph,
because their number is never the same.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzero_ros.backends.decoding.generation import ReasonerShape
from segzero_ros.backends.tensorrt.device import Buffer, CapturedGraph, CudaFailed, Device
from segzero_ros.backends.tensorrt.engine import Engine, Execution
from segzero_ros.backends.tensorrt.library import Library
from segzero_ros.backends.tensorrt.profiles import PREFILL, STEP, STEP_ROWS
from segzero_ros.backends.tensorrt.segmenter import Plans

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class VisionTokens:
    """Visual tokens on the GPU, until the next picture is encoded: ``number`` says which picture."""

    tokens: Buffer
    number: int


@dataclass(slots=True, eq=False)
class _Step:
    """Contexts of their own for one number of rows, because a recorded graph is bound to its context's shapes."""

    embed: Execution
    decode: Execution
    graph: CapturedGraph | None = None


class TensorrtReasonerEngine:
    """``ReasonerEngine`` on TensorRT. ``plans`` gives the checked bytes of the engine for a role."""

    def __init__(
        self, library: Library, device: Device, plans: Plans, shape: ReasonerShape, *, graphs: bool = True
    ) -> None:
        """``graphs``: record the decode steps as CUDA graphs where TensorRT can."""
        self.shape, self._device = shape, device
        with plans("reasoner.vision") as plan:
            self._vision = Engine(library, device, plan)
        with plans("reasoner.decoder") as plan:
            self._decoder = Engine(library, device, plan)
        with plans("reasoner.embeddings") as plan:
            embeds = {"embeds": self._decoder.buffers["embeds"]}
            self._embeddings = Engine(library, device, plan, shared=embeds)
        self._encode, self._embed = self._vision.execution(), self._embeddings.execution()
        self._prefill = self._decoder.execution(PREFILL)
        self._graphs, self._steps = graphs, dict[int, _Step]()
        self._pictures = 0
        device.synchronise()

    def encode_image(self, pixels: NDArray[np.float32]) -> VisionTokens:
        """Visual tokens (M, hidden) of a normalised picture (3, H, W); they stay on the GPU."""
        self._vision.buffers["pixels"].put(pixels)
        self._encode.run()
        self._device.synchronise()  # the caller measures vision apart from prefill
        self._pictures += 1
        return VisionTokens(self._vision.buffers["tokens"], self._pictures)

    def append(
        self,
        ids: NDArray[np.int64],
        cos: NDArray[np.float32],
        sin: NDArray[np.float32],
        place: int,
        picture: tuple[slice, Any] | None = None,
    ) -> NDArray[np.float32]:
        """See ``ReasonerEngine``; the array returned is overwritten by the next call."""
        count = len(ids)
        if not 0 < count <= self.shape.max_length - place:
            raise ValueError(f"got {count} rows at {place}, want 1 to {self.shape.max_length - place}")
        values: dict[str, NDArray[Any]] = {"cos": cos, "sin": sin, "write_index": np.array([place], np.int64)}
        for name, value in values.items():
            _write(self._decoder.buffers[name], value)
        _write(self._embeddings.buffers["ids"], ids)
        if picture is None and count <= STEP_ROWS:
            self._take_step(count)
        else:
            self._run(self._embed, self._prefill, count, picture)
        rows = min(count, self.shape.logit_rows)
        self._device.synchronise()
        return self._logits()[: rows * self.shape.vocabulary].reshape(rows, self.shape.vocabulary)

    def _take_step(self, count: int) -> None:
        """Run ``count`` rows: plainly the first time, which lets TensorRT settle, then recorded and as a graph."""
        if count not in self._steps:
            decode = self._decoder.execution(STEP, captured=self._graphs)
            self._steps[count] = _Step(self._embeddings.execution(), decode)
            self._run(self._steps[count].embed, decode, count, None)
            return
        step = self._steps[count]
        if step.graph is None and self._graphs:
            self._record(step, count)
        if step.graph is not None:
            step.graph.launch()
        else:
            self._run(step.embed, step.decode, count, None)

    def _record(self, step: _Step, count: int) -> None:
        try:
            if not step.decode.capturable():
                raise RuntimeError("TensorRT says that this engine cannot be recorded")
            step.graph = self._device.capture(lambda: self._run(step.embed, step.decode, count, None))
        except (CudaFailed, RuntimeError) as error:
            log.warning("decode steps run without CUDA graphs: %s", error)
            self._graphs = False

    def _run(self, embed: Execution, decode: Execution, count: int, picture: tuple[slice, Any] | None) -> None:
        """Put one pass on the stream: copies in, embeddings, the picture's rows over them, decoder, logits out."""
        half = self.shape.head_dim // 2
        widths = {"embeds": self.shape.hidden_size, "cos": half, "sin": half}
        embed.set_shapes({"ids": (count,)})
        decode.set_shapes({name: (count, width) for name, width in widths.items()})
        self._embeddings.buffers["ids"].send(count)
        for name, elements in (("cos", count * half), ("sin", count * half), ("write_index", 1)):
            self._decoder.buffers[name].send(elements)
        embed.run()
        if picture is not None:
            self._place_picture(*picture)
        decode.run()
        rows = min(count, self.shape.logit_rows)
        self._decoder.buffers["logits"].fetch(rows * self.shape.vocabulary)

    def _place_picture(self, rows: slice, vision: VisionTokens) -> None:
        """Copy the visual tokens over the rows of the picture's place holders."""
        if vision.number != self._pictures:
            raise RuntimeError("the visual tokens of an older picture are gone; encode it again")
        width = self.shape.hidden_size
        first, last, _ = rows.indices(self.shape.max_length)
        self._decoder.buffers["embeds"].copy_from(vision.tokens, first * width, (last - first) * width)

    def _logits(self) -> NDArray[np.float32]:
        return self._decoder.buffers["logits"].host


def _write(buffer: Buffer, value: NDArray[Any]) -> None:
    """Write into the host's side of a buffer; a recorded graph reads it from there."""
    np.copyto(buffer.host[: value.size], value.reshape(-1), casting="same_kind")
