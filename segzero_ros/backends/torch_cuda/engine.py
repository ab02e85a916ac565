"""Qwen2.5-VL in torch for a workstation's GPU: static KV cache, fused weights, short passes as CUDA graphs.

A pass over few rows costs more to launch than to compute, so passes of 1, 8 and 32 rows are captured once and replayed;
shorter ones are padded to the next size. The padding writes beyond the rows asked for, where nothing is visible and the
next pass writes anew. Longer passes (a picture, a question) are launched as they come. Attention looks at the cache up
to the next multiple of 512 places, so there is one graph per row count and multiple.
Covered: CUDA in BF16 or FP16, the CPU in FP32 for tests. Not covered: several GPUs, quantised weights, sampling.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segzero_ros.backends.decoding.generation import ReasonerShape
from segzero_ros.backends.torch_cuda.layers import Block, DeviceDtype, FusedLinear, Norm
from segzero_ros.backends.torch_cuda.vision import FixedGridVision, FusedLayers, VisionGrid, rotary_factors, rotated

CAPTURED_ROWS = (1, 8, 32)  # a token; guesses and forced tags; a forced answer
LENGTH_STEP = 512  # of 7B's cache a step is 29 MB, 0.2 % of what a token reads anyway
LOGIT_ROWS = 8  # as the exported decoders have it

Record = Callable[[Callable[[], Tensor]], tuple[Any, Tensor]]  # a pass -> what replays it, and where its result is


class TorchEngine:
    """``ReasonerEngine`` over a ``Qwen2_5_VLForConditionalGeneration``, whose weights are copied and left alone.

    ``image_size``: (width, height) in pixels, multiples of 28. ``max_length``: places of the cache. ``device``,
    ``dtype``: "" and None = CUDA in the model's own 16-bit type where there is one, else the CPU in FP32. ``graphs``:
    capture CUDA graphs (CUDA only). A model made from a configuration with random weights does as well: for timing.
    """

    def __init__(
        self,
        model: Any,
        *,
        image_size: tuple[int, int],
        max_length: int,
        device: str = "",
        dtype: torch.dtype | None = None,
        graphs: bool = True,
    ) -> None:
        self._target = target = _target(device, dtype, model.dtype)
        config, language = model.config.text_config, model.model.language_model
        with torch.inference_mode():
            grid, visual = VisionGrid(model.config.vision_config, image_size), model.model.visual
            self._tower = FixedGridVision(grid, FusedLayers(visual, target), target)
            self._table = target.tensor(language.embed_tokens.weight)
            tied = model.lm_head.weight.data_ptr() == language.embed_tokens.weight.data_ptr()
            self._head = FusedLinear(self._table, None) if tied else FusedLinear.from_layer(target, model.lm_head)
            self._norm = Norm.from_layer(target, language.norm)
            self._blocks = [Block.of_decoder(target, layer) for layer in language.layers]
        self.shape = _shape(config, image_size, grid.token_grid, max_length)
        self._heads = int(config.num_attention_heads)
        self._written = self.shape.key_value_heads * 2
        # Zeroed: what lies beyond the rows written so far is masked, but a stray NaN would survive the mask.
        size = (self.shape.layers, self._written, max_length, self.shape.head_dim)
        self._caches = torch.zeros(size, dtype=target.dtype, device=target.device)
        self._ticks = torch.arange(max_length, device=target.device)
        self._graphs: dict[tuple[int, int], _Graph] = {}
        self._captured_tower: _CapturedTower | None = None
        if graphs and target.device.type == "cuda":
            self._capture(_Recorder())

    def encode_image(self, pixels: NDArray[np.float32]) -> Tensor:
        """Return visual tokens (M, hidden), on the device, of a normalised picture (3, H, W)."""
        with torch.inference_mode():
            there = torch.from_numpy(pixels).to(self._target.device, self._target.dtype)
            tower = self._captured_tower or self._tower
            return tower(there[None])[0]

    def append(
        self,
        ids: NDArray[np.int64],
        cos: NDArray[np.float32],
        sin: NDArray[np.float32],
        place: int,
        picture: tuple[slice, Tensor] | None = None,
    ) -> NDArray[np.float32]:
        """Write rows at ``place`` of the cache; return the last rows' logits. See ``ReasonerEngine``."""
        if place + len(ids) > self.shape.max_length:
            raise ValueError(f"rows {place}..{place + len(ids)}: got a cache of {self.shape.max_length} places")
        with torch.inference_mode():
            graph = None if picture else self._graph(len(ids), place)
            if graph is not None:
                return graph.replay(ids, cos, sin, place)
            rows = _Rows.of(self._target.device, ids, cos, sin, place, self.shape.logit_rows)
            logits = self._pass(rows, self._length(place + len(ids)), fresh=place == 0, picture=picture)
            there: NDArray[np.float32] = logits.cpu().numpy()
            return there

    def _pass(
        self, rows: _Rows, length: int, *, fresh: bool = False, picture: tuple[slice, Tensor] | None = None
    ) -> Tensor:
        """Logits (L, vocabulary) of the rows ``rows.last``; ``fresh``: no row sees any but these."""
        hidden = F.embedding(rows.ids, self._table)
        if picture is not None:
            hidden[picture[0]] = picture[1]
        factors = self._factors(rows)
        hidden_from = None if fresh else self._ticks[:length] > rows.places[:, None]
        for block, cache in zip(self._blocks, self._caches, strict=True):
            states = block.project(hidden).view(len(hidden), -1, self.shape.head_dim).transpose(0, 1)
            turned = rotated(states, *factors)
            cache.index_copy_(1, rows.places, turned[self._heads :])
            if hidden_from is None:
                mixed = self._attend_fresh(turned)
            else:
                mixed = self._attend(turned[: self._heads], cache[:, :length], hidden_from)
            block.add_attention(hidden, mixed)
            block.feed_forward(hidden)
        return self._head(self._norm(hidden[rows.last])).float()

    def _factors(self, rows: _Rows) -> tuple[Tensor, Tensor]:
        """Rotary factors (heads, S, head_dim) of queries and keys, and those that leave values as they are."""
        cos, sin = (factor.to(self._target.dtype) for factor in rotary_factors(rows.cos, rows.sin))
        values = self._written // 2
        turning = self._heads + values
        return (
            torch.cat([cos.expand(turning, *cos.shape), torch.ones_like(cos).expand(values, *cos.shape)]),
            torch.cat([sin.expand(turning, *sin.shape), torch.zeros_like(sin).expand(values, *sin.shape)]),
        )

    def _attend_fresh(self, turned: Tensor) -> Tensor:
        """Causal attention of queries, keys and values (heads, S, head_dim) among themselves: (S, width)."""
        query, key, value = turned[None].split([self._heads, self._written // 2, self._written // 2], dim=1)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        return mixed[0].transpose(0, 1).flatten(1)

    def _attend(self, query: Tensor, cache: Tensor, hidden_from: Tensor) -> Tensor:
        """Attention of (heads, S, head_dim) to the cache (2 * kv_heads, length, head_dim): (S, width).

        The queries of one key head are rows of one product, so that keys and values are read once and not repeated;
        fused attention kernels would give each key head a single block of the GPU when S is 1.
        """
        keys, values = cache.chunk(2)
        heads, count, width = query.shape
        grouped = query.reshape(len(keys), -1, width) * width**-0.5
        scores = torch.bmm(grouped, keys.transpose(1, 2)).view(len(keys), heads // len(keys), count, -1)
        chances = scores.masked_fill_(hidden_from, float("-inf")).softmax(-1)
        mixed = torch.bmm(chances.view(len(keys), -1, chances.shape[-1]), values)
        return mixed.view(heads, count, width).transpose(0, 1).reshape(count, -1)

    # ---- CUDA graphs ----

    def _length(self, rows: int) -> int:
        return min(self.shape.max_length, -(-rows // LENGTH_STEP) * LENGTH_STEP)

    def _graph(self, count: int, place: int) -> _Graph | None:
        rows = next((size for size in CAPTURED_ROWS if size >= count), 0)
        return self._graphs.get((rows, self._length(place + rows))) if place + rows <= self.shape.max_length else None

    def _capture(self, record: Record) -> None:
        """Capture the tower and every short pass: seconds once, so that no command pays for it."""
        with torch.inference_mode():
            pixels = torch.zeros(1, 3, self.shape.image_size[1], self.shape.image_size[0], device=self._target.device)
            self._captured_tower = _CapturedTower(self._tower, pixels.to(self._target.dtype), record)
            pinned = self._target.device.type == "cuda"
            landing = torch.empty(self.shape.logit_rows, self.shape.vocabulary, pin_memory=pinned)
            lengths = sorted({self._length(place) for place in range(1, self.shape.max_length + 1)})
            for rows in CAPTURED_ROWS:
                for length in lengths:
                    if rows <= length:
                        inputs = _Staging(self.shape, rows, self._target.device)
                        recorded = record(partial(self._pass, inputs.rows, length))
                        self._graphs[rows, length] = _Graph(inputs, recorded, landing)
            self._caches.zero_()


class _Rows(NamedTuple):
    """The inputs of a pass: int64 ``ids``, ``places`` (S,), ``last`` (L,), float32 ``cos``, ``sin`` (S, head_dim/2)."""

    ids: Tensor
    places: Tensor
    last: Tensor
    cos: Tensor
    sin: Tensor

    @classmethod
    def of(
        cls,
        device: torch.device,
        ids: NDArray[np.int64],
        cos: NDArray[np.float32],
        sin: NDArray[np.float32],
        place: int,
        logit_rows: int,
    ) -> _Rows:
        """Bring a pass's inputs to the device."""
        count = len(ids)
        ticks = torch.arange(count, device=device)
        rotary = (torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in (cos, sin))
        return cls(torch.from_numpy(ids).to(device), ticks + place, ticks[-logit_rows:], *rotary)


class _Staging:
    """The inputs of a captured pass of so many rows: pinned memory, and where it goes on the device in two copies."""

    def __init__(self, shape: ReasonerShape, count: int, device: torch.device) -> None:
        self._count, self._kept = count, min(count, shape.logit_rows)
        pinned = device.type == "cuda"
        self._numbers = torch.zeros(2 * count + self._kept, dtype=torch.int64, pin_memory=pinned)
        self._rotary = torch.zeros(2, count, shape.head_dim // 2, pin_memory=pinned)
        self._there = self._numbers.to(device), self._rotary.to(device)
        ids, places, last = self._there[0].split([count, count, self._kept])
        places.copy_(torch.arange(count))
        self.rows = _Rows(ids, places, last, self._there[1][0], self._there[1][1])

    def fill(self, ids: NDArray[np.int64], cos: NDArray[np.float32], sin: NDArray[np.float32], place: int) -> int:
        """Bring up to so many rows to the device; return how many logits they have."""
        given, kept = len(ids), min(len(ids), self._kept)
        filled, placed, last = np.split(self._numbers.numpy(), [self._count, 2 * self._count])
        filled[:given], filled[given:] = ids, 0
        placed[:] = np.arange(place, place + self._count)
        last[:kept] = np.arange(given - kept, given)
        rotary = self._rotary.numpy()
        rotary[0, :given], rotary[1, :given] = cos, sin
        for there, here in zip(self._there, (self._numbers, self._rotary), strict=True):
            there.copy_(here, non_blocking=True)
        return kept


class _Graph:
    """One captured pass and its inputs."""

    def __init__(self, inputs: _Staging, recorded: tuple[Any, Tensor], landing: Tensor) -> None:
        """``landing``: pinned memory for the logits, which are all that comes back."""
        self._inputs, self._landing = inputs, landing
        self._graph, self._logits = recorded

    def replay(
        self, ids: NDArray[np.int64], cos: NDArray[np.float32], sin: NDArray[np.float32], place: int
    ) -> NDArray[np.float32]:
        """Run the pass; return its logits (L, vocabulary)."""
        kept = self._inputs.fill(ids, cos, sin, place)
        self._graph.replay()
        self._landing[:kept].copy_(self._logits[:kept], non_blocking=True)
        if self._logits.is_cuda:
            torch.cuda.current_stream().synchronize()  # from here on what was staged may change again, too
        landed: NDArray[np.float32] = self._landing[:kept].numpy()
        return landed


class _CapturedTower:
    """The captured vision tower."""

    def __init__(self, tower: FixedGridVision, pixels: Tensor, record: Record) -> None:
        self._pixels = pixels
        self._graph, self._tokens = record(partial(tower, pixels))

    def __call__(self, pixels: Tensor) -> Tensor:
        self._pixels.copy_(pixels)
        self._graph.replay()
        return self._tokens.clone()


class _Recorder:
    """Makes CUDA graphs that share their memory, because only one of them runs at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], Tensor]) -> tuple[Any, Tensor]:
        """Return a graph of ``run`` and where it leaves its result; runs it first, for what libraries set up lazily."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            result = run()
        return graph, result


def _target(device: str, dtype: torch.dtype | None, stored: torch.dtype) -> DeviceDtype:
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    own = stored if stored in (torch.float16, torch.bfloat16) else torch.bfloat16
    return DeviceDtype(chosen, dtype or (own if chosen.type == "cuda" else torch.float32))


def _shape(config: Any, image_size: tuple[int, int], token_grid: tuple[int, int], max_length: int) -> ReasonerShape:
    rope = config.rope_parameters
    return ReasonerShape(
        architecture="Qwen2.5-VL",
        image_size=image_size,
        token_grid=token_grid,
        hidden_size=config.hidden_size,
        layers=config.num_hidden_layers,
        key_value_heads=config.num_key_value_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        rope_theta=rope["rope_theta"],
        mrope_section=tuple(rope["mrope_section"]),
        vocabulary=config.vocab_size,
        max_length=max_length,
        logit_rows=LOGIT_ROWS,
    )
