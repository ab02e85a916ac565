"""Qwen2.5-VL's vision tower in torch at one picture size: what depends on the size alone is made once.

The stock tower packs pictures of any size and loops over their windows; here the windows are a batch, padded to the
largest, so that nothing depends on data and a CUDA graph can hold all of it. A picture is still: the two times of the
patch filter are summed and each patch is read once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segzero_ros.backends.torch_cuda.layers import Block, DeviceDtype, FusedLinear, Norm


class Layout(NamedTuple):
    """How T patches are dealt out to attention: W groups of at most L patches, each seeing its own group only.

    ``gather`` int64 (W * L,), padded with 0; ``mask`` bool (W, 1, 1, L), false on the padding, None when there is
    none; ``scatter`` int64 (T,): where each patch's result lies; ``cos``, ``sin`` (W, 1, L, head_dim).
    """

    groups: int
    gather: Tensor
    mask: Tensor | None
    scatter: Tensor
    cos: Tensor
    sin: Tensor


class Tower:
    """Normalised pixels (3, H, W) -> visual tokens (M, hidden) in raster order.

    ``visual`` is ``Qwen2_5_VLForConditionalGeneration.model.visual``; ``image_size`` is (width, height), multiples of
    patch * merge (28), else ValueError.
    """

    def __init__(self, visual: Any, image_size: tuple[int, int], target: DeviceDtype) -> None:
        config = visual.config
        self._patch, merge = int(config.patch_size), int(config.spatial_merge_size)
        unit = self._patch * merge
        if min(image_size) < unit or image_size[0] % unit or image_size[1] % unit:
            raise ValueError(f"image_size: got {image_size}, want multiples of {unit}")
        self._heads, self._target = int(config.num_heads), target
        self._rows, self._columns = image_size[1] // self._patch, image_size[0] // self._patch
        self.token_grid = (self._rows // merge, self._columns // merge)
        windows = _windows(self.token_grid, config.window_size // unit)
        self._order = _patches(self.token_grid, merge)[torch.cat(windows)].flatten()
        self._token_order = torch.cat(windows).argsort().to(target.device)
        angles = self._angles(config)
        self._windowed = self._layout([len(window) * merge * merge for window in windows], angles)
        self._whole = self._layout([len(self._order)], angles)
        self._order = self._order.to(target.device)
        self._full = frozenset(config.fullatt_block_indexes)
        self._embed = target.tensor(visual.patch_embed.proj.weight.float().sum(2).flatten(1))
        self._blocks = [Block.of_vision(target, block) for block in visual.blocks]
        merger = visual.merger
        self._norm = Norm.from_layer(target, merger.ln_q)
        self._mlp = FusedLinear.from_layer(target, merger.mlp[0]), FusedLinear.from_layer(target, merger.mlp[2])
        self._merged = merge * merge

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the visual tokens of pixels on the engine's device and in its precision."""
        tiles = pixels.view(3, self._rows, self._patch, self._columns, self._patch).permute(1, 3, 0, 2, 4)
        hidden = F.linear(tiles.reshape(self._rows * self._columns, -1), self._embed)[self._order]
        for index, block in enumerate(self._blocks):
            layout = self._whole if index in self._full else self._windowed
            block.out.add_to(hidden, self._attend(block.qkv(block.before(hidden)), layout))
            block.feed_forward(hidden)
        grouped = self._norm(hidden).view(len(hidden) // self._merged, -1)
        return self._mlp[1](F.gelu(self._mlp[0](grouped)))[self._token_order]

    def _attend(self, qkv: Tensor, layout: Layout) -> Tensor:
        """Attention of the rows (T, 3 * width) within their groups: (T, width)."""
        width = qkv.shape[-1] // 3
        cut = qkv[layout.gather].view(layout.groups, -1, 3, self._heads, width // self._heads)
        query, key, value = cut.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(
            rotated(query, layout.cos, layout.sin), rotated(key, layout.cos, layout.sin), value, attn_mask=layout.mask
        )
        return mixed.transpose(1, 2).reshape(-1, width)[layout.scatter]

    def _angles(self, config: Any) -> Tensor:
        """Angles (T, head_dim / 2) in window order: half of them by the patch's row, half by its column."""
        half = config.hidden_size // self._heads // 2
        theta = (getattr(config, "rope_parameters", None) or {}).get("rope_theta", 10000.0)
        inverse = 1.0 / theta ** (torch.arange(0, half, 2, dtype=torch.float) / half)
        row, column = self._order // self._columns, self._order % self._columns
        return torch.cat([row[:, None] * inverse, column[:, None] * inverse], dim=1)

    def _layout(self, lengths: list[int], angles: Tensor) -> Layout:
        sizes = torch.tensor(lengths)
        ticks = torch.arange(int(sizes.max()))
        valid = ticks < sizes[:, None]
        gather = torch.where(valid, (sizes.cumsum(0) - sizes)[:, None] + ticks, 0)
        cos, sin = turns(angles.cos()[gather], angles.sin()[gather])
        device = self._target.device
        return Layout(
            len(lengths),
            gather.flatten().to(device),
            None if bool(valid.all()) else valid[:, None, None, :].to(device),
            valid.flatten().nonzero().flatten().to(device),
            self._target.tensor(cos[:, None]),
            self._target.tensor(sin[:, None]),
        )


def turns(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines (..., head_dim / 2) -> factors (..., head_dim) of a head and of the head rolled by half."""
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding (arXiv 2104.09864) of heads (..., head_dim) whose halves are the pairs; see ``turns``."""
    return torch.addcmul(states * cos, states.roll(states.shape[-1] // 2, -1), sin)


def _windows(grid: tuple[int, int], side: int) -> list[Tensor]:
    """Merged tokens' raster indices, window by window."""
    raster = torch.arange(grid[0] * grid[1]).view(grid)
    return [tile.flatten() for band in raster.split(side, 0) for tile in band.split(side, 1)]


def _patches(grid: tuple[int, int], merge: int) -> Tensor:
    """Raster indices (M, merge * merge) of each merged token's patches."""
    rows, columns = grid
    raster = torch.arange(rows * columns * merge * merge).view(rows, merge, columns, merge)
    return raster.permute(0, 2, 1, 3).reshape(rows * columns, merge * merge)
