"""Prompt: command text and image placeholders -> token ids and M-RoPE positions, as Qwen2.5-VL's chat template has them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mrope_positions(before: int, grid: tuple[int, int], after: int) -> NDArray[np.int64]:
    """Positions (time, row, column) of `before` text tokens, one image and `after` text tokens: int64 (3, L).

    `grid` is (rows, columns) of *merged* visual tokens. Text counts up alike in all three components; an image starts
    at the next position, its tokens share the time and count rows and columns from there; the text after it goes on
    one past the largest position used (Qwen2-VL, arXiv 2409.12191, section 2.1; `get_rope_index` in transformers).
    """
    rows, columns = grid
    lead = np.broadcast_to(np.arange(before, dtype=np.int64), (3, before))
    image = np.stack([np.zeros((rows, columns), np.int64), *np.indices((rows, columns), dtype=np.int64)])
    resume = before + max(rows, columns)
    tail = np.broadcast_to(np.arange(resume, resume + after, dtype=np.int64), (3, after))
    return np.concatenate([lead, image.reshape(3, -1) + before, tail], axis=1)
