"""The vision tower at one picture size over a checkpoint's own modules: gradients reach them, and hooks see them."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from segzero_ros.backends.decoding.chat_prompt import mrope_positions
from segzero_ros.backends.decoding.preprocess import CLIP_MEAN, CLIP_STD
from segzero_ros.backends.torch_cuda.layers import DeviceDtype
from segzero_ros.backends.torch_cuda.vision import FixedGridVision, VisionGrid

# Up to this many patches one dense mask over all of them is quicker than gathering windows (168x168 has 144).
DENSE_WINDOW_PATCHES = 512


class ModuleBlock(NamedTuple):
    """The three steps of a ``Qwen2_5_VLVisionBlock``, out of place."""

    block: nn.Module

    def project(self, hidden: Tensor) -> Tensor:
        """Return queries, keys and values (rows, 3 * width)."""
        return self.block.attn.qkv(self.block.norm1(hidden))

    def add_attention(self, hidden: Tensor, mixed: Tensor) -> Tensor:
        """Add the attention's output."""
        return hidden + self.block.attn.proj(mixed)

    def feed_forward(self, hidden: Tensor) -> Tensor:
        """Add the feed-forward network's output."""
        return hidden + self.block.mlp(self.block.norm2(hidden))


class ModuleLayers:
    """``TowerLayers`` over `Qwen2_5_VLForConditionalGeneration.model.visual`, which is shared, not copied."""

    def __init__(self, visual: nn.Module) -> None:
        self._visual = visual
        self.blocks = [ModuleBlock(block) for block in visual.blocks]

    def embed(self, patches: Tensor) -> Tensor:
        """See ``TowerLayers``."""
        return functional.linear(patches, self._visual.patch_embed.proj.weight.sum(2).flatten(1))

    def merge(self, rows: Tensor) -> Tensor:
        """See ``TowerLayers``."""
        merger = self._visual.merger
        return merger.mlp(merger.ln_q(rows).reshape(-1, merger.mlp[0].in_features))


def is_dense(grid: VisionGrid) -> bool:
    """Whether windows are one mask over all patches."""
    return len(grid.patch_order) <= DENSE_WINDOW_PATCHES


def checkpoint_tower(visual: nn.Module, image_size: tuple[int, int]) -> FixedGridVision:
    """Return the tower of `visual`; rotary tables in float32, as the stock tower has them."""
    grid = VisionGrid(visual.config, image_size)
    target = DeviceDtype(next(visual.parameters()).device, torch.float32)
    return FixedGridVision(grid, ModuleLayers(visual), target, dense=is_dense(grid))


def normalise(rgb: Tensor) -> Tensor:
    """uint8 RGB (B, H, W, 3) -> float (B, 3, H, W), zero mean and unit deviation as CLIP has it."""
    mean, std = (torch.tensor(values, device=rgb.device).view(3, 1, 1) * 255 for values in (CLIP_MEAN, CLIP_STD))
    return (rgb.permute(0, 3, 1, 2).float() - mean) / std


def prefix_positions(before: int, token_grid: tuple[int, int], after: int) -> Tensor:
    """M-RoPE positions int64 (3, L) of `before` text tokens, one image and `after` text tokens (`get_rope_index`)."""
    return torch.from_numpy(mrope_positions(before, token_grid, after))
