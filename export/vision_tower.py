"""Vision tower of Qwen2.5-VL for one fixed image size: batched, differentiable, without data-dependent control flow.

The stock tower packs images of any size into one sequence and loops over their windows in Python. Here the grid is
known, so window partition, rotary tables and masks are constants, and a batch is an ordinary axis. The parameters are
the stock tower's own modules: training through this trains the checkpoint, and the exporter reads its constants here.

Deviations from the stock tower, none of which changes a result beyond rounding:
- an image is still, so the two temporal slices of the patch filter are summed and each patch is read once;
- patches go to window order after the patch embedding, not before.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from segzero_ros.backends.decoding.chat_prompt import mrope_positions
from segzero_ros.backends.decoding.preprocess import CLIP_MEAN, CLIP_STD

# Up to this many patches one dense mask over all of them is quicker than gathering windows (168x168 has 144).
DENSE_WINDOW_PATCHES = 512


class GridLayout(NamedTuple):
    """Where a fixed grid's patches go: T patches, M = T / merge^2 merged tokens, W windows of at most L patches."""

    patch_order: Tensor  # int64 (T,): raster index of the patch at each place of the window order
    token_order: Tensor  # int64 (M,): place in window order of each merged token in raster order
    window_of: Tensor  # int64 (T,): window each place belongs to
    gather: Tensor  # int64 (W, L): places of each window, padded with 0
    valid: Tensor  # bool (W, L): false on the padding
    scatter: Tensor  # int64 (T,): index into the flattened (W * L) of each place


def grid_layout(rows: int, columns: int, merge: int, window: int) -> GridLayout:
    """Window partition of a grid of rows x columns patches; `window` is a window's side in merged tokens."""
    merged_columns = columns // merge
    merged = torch.arange((rows // merge) * merged_columns).view(rows // merge, merged_columns)
    windows = [tile.flatten() for band in merged.split(window, 0) for tile in band.split(window, 1)]
    token_in_window_order = torch.cat(windows)

    raster = torch.arange(rows * columns).view(rows // merge, merge, merged_columns, merge)
    patches_of_token = raster.permute(0, 2, 1, 3).reshape(-1, merge * merge)

    lengths = torch.tensor([len(tokens) * merge * merge for tokens in windows])
    starts = lengths.cumsum(0) - lengths
    ticks = torch.arange(int(lengths.max()))
    valid = ticks < lengths[:, None]
    gather = torch.where(valid, starts[:, None] + ticks, 0)
    return GridLayout(
        patch_order=patches_of_token[token_in_window_order].flatten(),
        token_order=token_in_window_order.argsort(),
        window_of=torch.repeat_interleave(torch.arange(len(windows)), lengths),
        gather=gather,
        valid=valid,
        scatter=valid.flatten().nonzero().flatten(),
    )


class FixedGridVision(nn.Module):
    """Qwen2.5-VL's vision tower at one image size: normalised pixels (B, 3, H, W) -> visual tokens (B, M, hidden).

    `visual` is `Qwen2_5_VLForConditionalGeneration.model.visual`; its modules are shared, not copied. `image_size` is
    (width, height) in pixels, each a multiple of patch x merge (28). ValueError otherwise.
    """

    def __init__(self, visual: nn.Module, image_size: tuple[int, int]) -> None:
        super().__init__()
        config = visual.config
        self.visual = visual
        self.patch, self.merge = int(config.patch_size), int(config.spatial_merge_size)
        unit = self.patch * self.merge
        if image_size[0] % unit or image_size[1] % unit or min(image_size) < unit:
            raise ValueError(f"image_size: got {image_size}, want multiples of {unit}")
        self.columns, self.rows = image_size[0] // self.patch, image_size[1] // self.patch
        self.heads = int(config.num_heads)
        self.full_attention = frozenset(config.fullatt_block_indexes)
        self.layout = grid_layout(self.rows, self.columns, self.merge, config.window_size // unit)
        self.dense_windows = self.rows * self.columns <= DENSE_WINDOW_PATCHES
        self._register_constants()

    @property
    def tokens(self) -> int:
        """Visual tokens per image."""
        return self.rows * self.columns // self.merge**2

    @property
    def token_grid(self) -> tuple[int, int]:
        """(rows, columns) of visual tokens."""
        return self.rows // self.merge, self.columns // self.merge

    def _register_constants(self) -> None:
        cos, sin = self._rotary_tables()
        window_of = self.layout.window_of
        constants = {
            "mean": torch.tensor(CLIP_MEAN).view(3, 1, 1) * 255,
            "std": torch.tensor(CLIP_STD).view(3, 1, 1) * 255,
            "cos": cos,
            "sin": sin,
            "patch_order": self.layout.patch_order,
            "token_order": self.layout.token_order,
            "window_mask": window_of[:, None] == window_of[None, :] if self.dense_windows else torch.empty(0),
            "gather": self.layout.gather.flatten(),
            "valid": self.layout.valid[:, None, None, :],
            "scatter": self.layout.scatter,
        }
        device = next(self.visual.parameters()).device
        for name, value in constants.items():
            self.register_buffer(name, value.to(device), persistent=False)

    def _rotary_tables(self) -> tuple[Tensor, Tensor]:
        """Cosines and sines (T, head_dim / 2) in window order: a quarter of the head by row, a quarter by column."""
        head_dim = self.visual.config.hidden_size // self.heads
        theta = (self.visual.config.rope_parameters or {}).get("rope_theta", 10000.0)
        inverse = 1.0 / (theta ** (torch.arange(0, head_dim // 2, 2, dtype=torch.float) / (head_dim // 2)))
        row, column = self.layout.patch_order // self.columns, self.layout.patch_order % self.columns
        angles = torch.cat([row[:, None] * inverse, column[:, None] * inverse], dim=1)
        return angles.cos(), angles.sin()

    def normalise(self, rgb: Tensor) -> Tensor:
        """uint8 RGB (B, H, W, 3) -> float (B, 3, H, W), zero mean and unit deviation as CLIP has it."""
        return (rgb.permute(0, 3, 1, 2).float() - self.mean) / self.std

    def forward(self, pixels: Tensor) -> Tensor:
        """Visual tokens (B, M, hidden), raster order, of normalised pixels (B, 3, H, W)."""
        hidden = self.embed_patches(pixels)[:, self.patch_order]
        for index, block in enumerate(self.visual.blocks):
            hidden = hidden + self._attend(block.attn, block.norm1(hidden), windowed=index not in self.full_attention)
            hidden = hidden + block.mlp(block.norm2(hidden))
        merger = self.visual.merger
        grouped = merger.ln_q(hidden).reshape(hidden.shape[0], self.tokens, -1)
        return merger.mlp(grouped)[:, self.token_order]

    def patch_filter(self) -> Tensor:
        """The patch embedding as a matrix (hidden, 3 * patch * patch): both times see the same still image."""
        return self.visual.patch_embed.proj.weight.sum(2).flatten(1)

    def embed_patches(self, pixels: Tensor) -> Tensor:
        """Patch embeddings (B, T, hidden), raster order."""
        batch, side = pixels.shape[0], self.patch
        patches = pixels.reshape(batch, 3, self.rows, side, self.columns, side).permute(0, 2, 4, 1, 3, 5)
        return functional.linear(patches.reshape(batch, self.rows * self.columns, -1), self.patch_filter())

    def _attend(self, attention: nn.Module, hidden: Tensor, *, windowed: bool) -> Tensor:
        batch, places, width = hidden.shape
        qkv = attention.qkv(hidden).view(batch, places, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = self._rotate(qkv[0]), self._rotate(qkv[1]), qkv[2]
        if not windowed:
            mixed = functional.scaled_dot_product_attention(query, key, value)
        elif self.dense_windows:
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=self.window_mask)
        else:
            mixed = self._attend_by_window(query, key, value)
        return attention.proj(mixed.transpose(1, 2).reshape(batch, places, width))

    def _attend_by_window(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention within windows: (B, heads, T, head_dim) is cut into padded windows and put together again."""
        batch, heads, _, head_dim = query.shape
        count, length = self.layout.gather.shape

        def cut(states: Tensor) -> Tensor:
            windows = states[:, :, self.gather].view(batch, heads, count, length, head_dim)
            return windows.transpose(1, 2).reshape(batch * count, heads, length, head_dim)

        mask = self.valid.repeat(batch, 1, 1, 1)
        mixed = functional.scaled_dot_product_attention(cut(query), cut(key), cut(value), attn_mask=mask)
        whole = mixed.view(batch, count, heads, length, head_dim).transpose(1, 2)
        return whole.reshape(batch, heads, count * length, head_dim)[:, :, self.scatter]

    def _rotate(self, states: Tensor) -> Tensor:
        """Rotary embedding of (B, heads, T, head_dim), halves paired; computed in float32 as the stock tower does."""
        first, second = states.float().chunk(2, dim=-1)
        turned = torch.cat([first * self.cos - second * self.sin, second * self.cos + first * self.sin], dim=-1)
        return turned.to(states.dtype)


def prefix_positions(before: int, token_grid: tuple[int, int], after: int) -> Tensor:
    """M-RoPE positions int64 (3, L) of `before` text tokens, one image and `after` text tokens (`get_rope_index`)."""
    return torch.from_numpy(mrope_positions(before, token_grid, after))
