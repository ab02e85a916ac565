"""Parts of the vision graphs that the families share."""

from __future__ import annotations

import numpy as np
from torch import nn

from export.onnx_graph import Graph
from export.vision_tower import is_dense
from segzero_ros.backends.torch_cuda.vision import VisionGrid


class VisionRotary:
    """Rotates (1, T, hidden) by the patches' rows and columns, in FP32 as the stock tower does."""

    def __init__(self, graph: Graph, grid: VisionGrid) -> None:
        self._graph, self._heads = graph, grid.heads
        self._cos = graph.constant(grid.cos.float().cpu().numpy())
        self._sin = graph.constant(grid.sin.float().cpu().numpy())
        self._places = graph.constant(np.arange(len(grid.patch_order), dtype=np.int64)[None])

    def __call__(self, states: str) -> str:
        """Rotate in the arithmetic's precision, computed in FP32."""
        inputs = (self._graph.widen(states), self._cos, self._sin, self._places)
        return self._graph.narrow(self._graph.node("RotaryEmbedding", *inputs, num_heads=self._heads))


def patch_embedding(graph: Graph, visual: nn.Module, grid: VisionGrid) -> str:
    """Embed the patches of the picture, (T, hidden) in window order."""
    rows, columns, side = grid.rows, grid.columns, grid.patch
    pixels = graph.input("pixels", np.float32, [1, 3, rows * side, columns * side])
    tiles = graph.node("Transpose", graph.reshape(pixels, [3, rows, side, columns, side]), perm=[1, 3, 0, 2, 4])
    patches = graph.reshape(tiles, [rows * columns, 3 * side * side])
    ordered = graph.node("Gather", patches, graph.constant(grid.patch_order.numpy()), axis=0)
    both_times = visual.patch_embed.proj.weight.float().sum(2).flatten(1)
    weight = graph.weight("patch_embed.weight", both_times, exact=True)
    bias = visual.patch_embed.proj.bias
    inputs = [weight] if bias is None else [weight, graph.weight("patch_embed.bias", bias, exact=True)]
    return graph.node("Gemm", ordered, *inputs, name="patch_embed", transB=1)


def vision_attention(
    graph: Graph,
    grid: VisionGrid,
    attention: nn.Module,
    value: str,
    rotary: VisionRotary,
    name: str,
    windowed: bool,
) -> str:
    """Attention (T, hidden) of the normed patches, projected; `windowed`: each sees its own window only."""
    places, width = len(grid.patch_order), attention.qkv.in_features
    fused = graph.linear(value, f"{name}.attn.qkv", attention.qkv.weight, attention.qkv.bias)
    query, key, value = graph.split(
        "Split", graph.reshape(fused, [1, places, 3 * width]), results=["", "", ""], axis=2, num_outputs=3
    )
    states = (rotary(query), rotary(key), value)
    if not windowed:
        mixed = _attend(graph, states, grid.heads, None)
    elif is_dense(grid):
        mixed = _attend(graph, states, grid.heads, graph.constant(grid.window_mask.cpu().numpy()[None, None]))
    else:
        mixed = _attend_by_window(graph, grid, states)
    return graph.linear(
        graph.reshape(mixed, [places, width]), f"{name}.attn.proj", attention.proj.weight, attention.proj.bias
    )


def _attend(graph: Graph, states: tuple[str, str, str], heads: int, mask: str | None) -> str:
    """Attention of (B, T, hidden) queries, keys and values."""
    return graph.attention(*states, mask, q_num_heads=heads, kv_num_heads=heads)


def _attend_by_window(graph: Graph, grid: VisionGrid, states: tuple[str, str, str]) -> str:
    """Windows become the batch, padded to the largest; the padding is masked and dropped again."""
    count, length = grid.gather.shape
    gather = graph.constant(grid.gather.flatten().numpy())
    cut = [graph.reshape(graph.node("Gather", s, gather, axis=1), [count, length, -1]) for s in states]
    mask = None
    if not bool(grid.valid.all()):
        mask = graph.constant(grid.valid[:, None, None, :].expand(count, 1, length, length).numpy())
    mixed = _attend(graph, (cut[0], cut[1], cut[2]), grid.heads, mask)
    whole = graph.reshape(mixed, [1, count * length, -1])
    return graph.node("Gather", whole, graph.constant(grid.scatter.numpy()), axis=1)
