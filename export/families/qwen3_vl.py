"""Qwen3-VL: attention over the whole picture, layer norms, learned positions, and deepstack.

Deepstack: what some layers of the tower see is merged like its result and added to the picture's rows after the first
decoder layers (arXiv 2406.04334). A token carries these additions behind itself, packed into one row.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from export.families.base import NewGraph
from export.families.vision import VisionRotary, patch_embedding, vision_attention
from export.onnx_graph import Graph
from segzero_ros.backends.decoding.families import QWEN3_VL
from segzero_ros.backends.torch_cuda.vision import VisionGrid


class Qwen3VL:
    """`ExportFamily` of Qwen3-VL."""

    facts = QWEN3_VL

    def model_class(self) -> Any:
        """See `ExportFamily`."""
        from transformers import Qwen3VLForConditionalGeneration

        return Qwen3VLForConditionalGeneration

    def limits(self, config: Any) -> dict[str, tuple[Any, Any]]:
        """See `ExportFamily`."""
        vision = config.vision_config
        return {
            "text_config.rope_parameters.mrope_interleaved": (
                config.text_config.rope_parameters.get("mrope_interleaved", True),
                True,
            ),
            "vision_config.hidden_act": (vision.hidden_act, "gelu_pytorch_tanh"),
            "vision_config.rope_parameters.rope_type": (vision.rope_parameters["rope_type"], "axial"),
            "deepstack layers no decoder layer has": (
                max(0, self.deepstack(config) - config.text_config.num_hidden_layers),
                0,
            ),
        }

    def grid(self, config: Any, image_size: tuple[int, int]) -> VisionGrid:
        """See `ExportFamily`: one window, so that patches stand in raster order of their tokens."""
        vision = config.vision_config
        whole = SimpleNamespace(
            patch_size=vision.patch_size,
            spatial_merge_size=vision.spatial_merge_size,
            num_heads=vision.num_heads,
            hidden_size=vision.hidden_size,
            fullatt_block_indexes=range(vision.depth),
            window_size=max(image_size),
            rope_parameters=vision.rope_parameters,
        )
        return VisionGrid(whole, image_size)

    def head_dim(self, config: Any) -> int:
        """See `ExportFamily`."""
        return int(config.text_config.head_dim)

    def deepstack(self, config: Any) -> int:
        """See `ExportFamily`."""
        return len(config.vision_config.deepstack_visual_indexes)

    def exact_weights(self, visual: nn.Module) -> list[torch.Tensor]:
        """See `ExportFamily`."""
        return [visual.patch_embed.proj.weight, visual.pos_embed.weight]

    def write_vision(self, visual: nn.Module, grid: VisionGrid, path: Path, new_graph: NewGraph) -> None:
        """See `ExportFamily`."""
        graph = new_graph("vision")
        placed = graph.weight("positions", _positions(visual, grid), exact=True)
        hidden = graph.node("Add", patch_embedding(graph, visual, grid), placed)
        rotary = VisionRotary(graph, grid)
        added = []
        for index, block in enumerate(visual.blocks):
            name = f"blocks.{index}"
            normed = _norm(graph, hidden, f"{name}.norm1", block.norm1)
            mixed = vision_attention(graph, grid, block.attn, normed, rotary, name, windowed=False)
            hidden = graph.add(hidden, mixed)
            normed = _norm(graph, hidden, f"{name}.norm2", block.norm2)
            hidden = graph.add(hidden, _two_layers(graph, normed, f"{name}.mlp", block.mlp, approximate="tanh"))
            if index in visual.deepstack_visual_indexes:
                at = list(visual.deepstack_visual_indexes).index(index)
                added.append((at, _merge(graph, grid, hidden, f"deepstack.{at}", visual.deepstack_merger_list[at])))
        merged = [_merge(graph, grid, hidden, "merger", visual.merger), *(value for _, value in sorted(added))]
        graph.node("Concat", *map(graph.widen, merged), result="tokens", axis=1)
        graph.output("tokens", [grid.tokens, len(merged) * visual.merger.linear_fc2.out_features])
        graph.save(path)


def _positions(visual: nn.Module, grid: VisionGrid) -> torch.Tensor:
    """Learned positions (T, hidden) of a square, spread over the picture's patches, corner to corner."""
    table = visual.pos_embed.weight.detach().float()
    side = int(len(table) ** 0.5)
    square = table.view(1, side, side, -1).permute(0, 3, 1, 2)
    spread = F.interpolate(square, (grid.rows, grid.columns), mode="bilinear", align_corners=True)
    return spread[0].flatten(1).T[grid.patch_order]


def _norm(graph: Graph, value: str, name: str, norm: nn.Module) -> str:
    return graph.layer_norm(value, name, norm.weight, norm.bias, norm.eps)


def _two_layers(graph: Graph, value: str, name: str, layers: nn.Module, approximate: str) -> str:
    first, second = layers.linear_fc1, layers.linear_fc2
    inner = graph.node("Gelu", graph.linear(value, f"{name}.fc1", first.weight, first.bias), approximate=approximate)
    return graph.linear(inner, f"{name}.fc2", second.weight, second.bias)


def _merge(graph: Graph, grid: VisionGrid, hidden: str, name: str, merger: nn.Module) -> str:
    """Patches -> tokens (M, hidden of the decoder); the norm is before or after a token's patches are joined."""
    if merger.use_postshuffle_norm:
        joined = _norm(graph, graph.reshape(hidden, [grid.tokens, -1]), f"{name}.norm", merger.norm)
    else:
        joined = graph.reshape(_norm(graph, hidden, f"{name}.norm", merger.norm), [grid.tokens, -1])
    return _two_layers(graph, joined, name, merger, approximate="none")
