"""Qwen2.5-VL: a vision tower with attention by windows, RMS norms and gated feed-forwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from export.families.base import NewGraph
from export.families.language import swiglu
from export.families.vision import VisionRotary, patch_embedding, vision_attention
from segzero_ros.backends.decoding.families import QWEN2_5_VL
from segzero_ros.backends.torch_cuda.vision import VisionGrid


class Qwen25VL:
    """`ExportFamily` of Qwen2.5-VL."""

    facts = QWEN2_5_VL

    def model_class(self) -> Any:
        """See `ExportFamily`."""
        from transformers import Qwen2_5_VLForConditionalGeneration

        return Qwen2_5_VLForConditionalGeneration

    def limits(self, config: Any) -> dict[str, tuple[Any, Any]]:
        """See `ExportFamily`."""
        return {
            "text_config.use_sliding_window": (bool(config.text_config.use_sliding_window), False),
            "vision_config.hidden_act": (config.vision_config.hidden_act, "silu"),
        }

    def grid(self, config: Any, image_size: tuple[int, int]) -> VisionGrid:
        """See `ExportFamily`."""
        return VisionGrid(config.vision_config, image_size)

    def head_dim(self, config: Any) -> int:
        """See `ExportFamily`."""
        return int(config.text_config.hidden_size // config.text_config.num_attention_heads)

    def deepstack(self, config: Any) -> int:  # noqa: ARG002 - the interface's
        """See `ExportFamily`."""
        return 0

    def exact_weights(self, visual: nn.Module) -> list[torch.Tensor]:
        """See `ExportFamily`."""
        return [visual.patch_embed.proj.weight]

    def write_vision(self, visual: nn.Module, grid: VisionGrid, path: Path, new_graph: NewGraph) -> None:
        """Write the vision graph: window order, rotary tables and masks are constants of the fixed grid."""
        graph = new_graph("vision")
        hidden = patch_embedding(graph, visual, grid)
        rotary = VisionRotary(graph, grid)
        for index, block in enumerate(visual.blocks):
            name = f"blocks.{index}"
            normed = graph.rms_norm(hidden, f"{name}.norm1", block.norm1.weight, block.norm1.variance_epsilon)
            mixed = vision_attention(graph, grid, block.attn, normed, rotary, name, index not in grid.full_attention)
            hidden = graph.add(hidden, mixed)
            normed = graph.rms_norm(hidden, f"{name}.norm2", block.norm2.weight, block.norm2.variance_epsilon)
            hidden = graph.add(hidden, swiglu(graph, normed, f"{name}.mlp", block.mlp))
        merger = visual.merger
        normed = graph.rms_norm(hidden, "merger.ln_q", merger.ln_q.weight, merger.ln_q.variance_epsilon)
        grouped = graph.reshape(normed, [grid.tokens, -1])
        inner = graph.node("Gelu", graph.linear(grouped, "merger.mlp.0", merger.mlp[0].weight, merger.mlp[0].bias))
        tokens = graph.linear(inner, "merger.mlp.2", merger.mlp[2].weight, merger.mlp[2].bias)
        graph.node("Gather", graph.widen(tokens), graph.constant(grid.token_order.numpy()), result="tokens", axis=0)
        graph.output("tokens", [grid.tokens, merger.mlp[2].out_features])
        graph.save(path)
