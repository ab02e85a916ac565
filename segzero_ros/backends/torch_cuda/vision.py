"""Qwen2.5-VL's vision tower in torch at one picture size: what depends on the size alone is made once.

The stock tower packs pictures of any size into one sequence and loops over their windows. Here the grid is known:
window order, rotary tables and masks are constants, windows are a batch, padded to the largest, and nothing depends on
data, so that a CUDA graph can hold all of it. A picture is still: the two times of the patch filter are summed and each
patch is read once. The engine here runs on fused copies of the weights, training on the model's own modules
(export/vision_tower.py), and the exporter writes ``VisionGrid``'s constants into the graph.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from segzero_ros.backends.torch_cuda.layers import Block, DeviceDtype, FusedLinear, Norm


class VisionGrid:
    """Where a fixed grid's patches go: T patches, M = T / merge^2 tokens, W windows of at most L patches.

    ``patch_order`` int64 (T,): the raster index of the patch at each place of the window order. ``token_order`` int64
    (M,): the place in window order of each token in raster order. ``window_of`` int64 (T,): the window of each place.
    ``gather`` int64 (W, L): the places of each window, padded with 0; ``valid`` bool (W, L): false on the padding;
    ``scatter`` int64 (T,): where each place is in the flattened (W * L). ``cos``, ``sin`` (T, head_dim / 2), in window
    order. ``image_size`` is (width, height) in pixels, multiples of patch * merge (28), else ValueError.
    """

    def __init__(self, config: Any, image_size: tuple[int, int]) -> None:
        self.patch, self.merge = int(config.patch_size), int(config.spatial_merge_size)
        unit = self.patch * self.merge
        if min(image_size) < unit or image_size[0] % unit or image_size[1] % unit:
            raise ValueError(f"image_size: got {image_size}, want multiples of {unit}")
        self.heads, self.full_attention = int(config.num_heads), frozenset(config.fullatt_block_indexes)
        self.columns, self.rows = image_size[0] // self.patch, image_size[1] // self.patch
        self.token_grid = (self.rows // self.merge, self.columns // self.merge)
        self.tokens = self.token_grid[0] * self.token_grid[1]
        windows = _windows(self.token_grid, config.window_size // unit)
        self.patch_order = _patches(self.token_grid, self.merge)[torch.cat(windows)].flatten()
        self.token_order = torch.cat(windows).argsort()
        lengths = torch.tensor([len(window) * self.merge**2 for window in windows])
        self.window_of = torch.repeat_interleave(torch.arange(len(windows)), lengths)
        ticks = torch.arange(int(lengths.max()))
        self.valid = ticks < lengths[:, None]
        self.gather = torch.where(self.valid, (lengths.cumsum(0) - lengths)[:, None] + ticks, 0)
        self.scatter = self.valid.flatten().nonzero().flatten()
        angles = self._angles(config)
        self.cos, self.sin = angles.cos(), angles.sin()

    @property
    def window_mask(self) -> Tensor:
        """Bool (T, T): true where two places are in one window."""
        return self.window_of[:, None] == self.window_of

    def _angles(self, config: Any) -> Tensor:
        """Angles (T, head_dim / 2) in window order: half of them by the patch's row, half by its column."""
        half = config.hidden_size // self.heads // 2
        theta = (getattr(config, "rope_parameters", None) or {}).get("rope_theta", 10000.0)
        inverse = 1.0 / theta ** (torch.arange(0, half, 2, dtype=torch.float) / half)
        row, column = self.patch_order // self.columns, self.patch_order % self.columns
        return torch.cat([row[:, None] * inverse, column[:, None] * inverse], dim=1)


class Layout(NamedTuple):
    """How T places are dealt out to attention: ``groups`` of at most L, each seeing its own group only.

    ``gather``, ``scatter``: see ``VisionGrid``, None = every place in order. ``mask``: bool, broadcast to
    (groups, heads, L, L), false where nothing is seen, None = all is. ``cos``, ``sin`` (groups, 1, L, head_dim).
    """

    groups: int
    gather: Tensor | None
    scatter: Tensor | None
    mask: Tensor | None
    cos: Tensor
    sin: Tensor


class TowerLayers(Protocol):
    """The weights of a tower; rows are (B * T, width). ``blocks``: ``Block``, or what has its three steps."""

    blocks: Any

    def embed(self, patches: Tensor) -> Tensor:
        """Embed patches (B * T, 3 * patch^2)."""
        ...

    def merge(self, rows: Tensor) -> Tensor:
        """Merge the rows of each token: (B * M, hidden)."""
        ...


class FusedLayers:
    """``TowerLayers``: fused copies of the weights, added to in place; for inference."""

    def __init__(self, visual: Any, target: DeviceDtype) -> None:
        merger = visual.merger
        self._patch_filter = target.tensor(visual.patch_embed.proj.weight.float().sum(2).flatten(1))
        self.blocks = [Block.of_vision(target, block) for block in visual.blocks]
        self._norm = Norm.from_layer(target, merger.ln_q)
        self._mlp = FusedLinear.from_layer(target, merger.mlp[0]), FusedLinear.from_layer(target, merger.mlp[2])

    def embed(self, patches: Tensor) -> Tensor:
        """See ``TowerLayers``."""
        return F.linear(patches, self._patch_filter)

    def merge(self, rows: Tensor) -> Tensor:
        """See ``TowerLayers``."""
        grouped = self._norm(rows).view(-1, self._mlp[0].weight.shape[1])
        return self._mlp[1](F.gelu(self._mlp[0](grouped)))


class FixedGridVision:
    """Normalised pixels (B, 3, H, W) -> visual tokens (B, M, hidden) in raster order, on the ``target``."""

    def __init__(self, grid: VisionGrid, layers: TowerLayers, target: DeviceDtype, *, dense: bool = False) -> None:
        """``dense``: windows as one mask over all patches, which costs less than gathering them when they are few."""
        self.grid, self._layers = grid, layers
        self._patch_order = grid.patch_order.to(target.device)
        self._token_order = grid.token_order.to(target.device)
        places, valid = torch.arange(len(grid.patch_order))[None], grid.valid[:, None, None, :]
        self._whole = self._layout(target, places, None)
        if dense:
            self._windowed = self._whole._replace(mask=grid.window_mask[None, None].to(target.device))
        else:
            self._windowed = self._layout(target, grid.gather, None if bool(valid.all()) else valid)

    def _layout(self, target: DeviceDtype, gather: Tensor, mask: Tensor | None) -> Layout:
        grid, groups = self.grid, len(gather)
        cos, sin = (target.tensor(factor[:, None]) for factor in rotary_factors(grid.cos[gather], grid.sin[gather]))
        if groups == 1:
            return Layout(1, None, None, None, cos, sin)
        scatter, mask = grid.scatter.to(target.device), None if mask is None else mask.to(target.device)
        return Layout(groups, gather.flatten().to(target.device), scatter, mask, cos, sin)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the visual tokens."""
        grid, batch, side = self.grid, len(pixels), self.grid.patch
        tiles = pixels.view(batch, 3, grid.rows, side, grid.columns, side).permute(0, 2, 4, 1, 3, 5)
        embedded = self._layers.embed(tiles.reshape(batch * grid.rows * grid.columns, -1))
        hidden = embedded.view(batch, -1, embedded.shape[-1]).index_select(1, self._patch_order).flatten(0, 1)
        for index, block in enumerate(self._layers.blocks):
            layout = self._whole if index in grid.full_attention else self._windowed
            hidden = block.add_attention(hidden, self._attend(block.project(hidden), layout, batch))
            hidden = block.feed_forward(hidden)
        return self._layers.merge(hidden).view(batch, grid.tokens, -1).index_select(1, self._token_order)

    def _attend(self, qkv: Tensor, layout: Layout, batch: int) -> Tensor:
        """Attention of the rows (B * T, 3 * width) within their groups: (B * T, width)."""
        states = qkv.view(batch, -1, qkv.shape[-1])
        states = states if layout.gather is None else states.index_select(1, layout.gather)
        cut = states.view(batch, layout.groups, -1, 3, self.grid.heads, qkv.shape[-1] // 3 // self.grid.heads)
        query, key, value = cut.permute(3, 0, 1, 4, 2, 5).unbind(0)
        query, key = (rotated(part, layout.cos, layout.sin).to(qkv.dtype) for part in (query, key))
        mask = None if layout.mask is None else layout.mask.expand(batch, *layout.mask.shape).flatten(0, 1)
        query, key, value = (part.flatten(0, 1) for part in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        rows = mixed.transpose(1, 2).reshape(batch, -1, qkv.shape[-1] // 3)
        return (rows if layout.scatter is None else rows.index_select(1, layout.scatter)).flatten(0, 1)


def rotary_factors(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines (..., head_dim / 2) -> factors (..., head_dim) of a head and of the head rolled by half."""
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding (arXiv 2104.09864) of heads (..., head_dim) whose halves are pairs; see ``rotary_factors``."""
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
