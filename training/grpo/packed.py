"""Rollouts and log-probabilities of a small Qwen2.5-VL without repeating anything: GRPO on a CPU in minutes.

A group's samples share their picture and their question, so the vision tower and the language model read the picture
once, and sampling reads the question once. Equal to transformers' `generate` in distribution and to its forward pass
up to rounding (tests/training/grpo/test_packed.py). One process; batches of pictures of one size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Qwen2_5_VLForConditionalGeneration

from segzero_ros.backends.decoding.chat_prompt import Prefix
from training.packed import PackedReasoner, pack_sequences
from training.packed_decoding import Layer, attend

_BLOCK = 16  # rows of similar length that share one padded attention


class PackedPolicy:
    """A model's rollouts and log-probabilities behind one picture per group.

    `prefix`: the ids before the question, placeholders of the picture included, as `ChatPrompt` makes them.
    """

    def __init__(self, model: Qwen2_5_VLForConditionalGeneration, image_size: tuple[int, int], prefix: Prefix) -> None:
        before, after = prefix.ids[: prefix.image.start].tolist(), prefix.ids[prefix.image.stop :].tolist()
        self.packed = PackedReasoner(model, image_size, before, after)
        self.prefix_length = self.packed.prefix_length
        self.image_token = int(prefix.ids[prefix.image.start])

    def encode_image(self, rgb: Tensor) -> Tensor:
        """uint8 RGB (B, H, W, 3) of the model's size -> visual tokens (B, V, D)."""
        return self.packed.encode_image(rgb)

    def log_probs(
        self,
        visual: Tensor,
        rows: Sequence[Sequence[int]],
        given: Sequence[int],
        images: Sequence[int],
        temperature: float,
        *,
        entropy_gradient: bool = False,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Log-probabilities and entropies of each row's ids after the first `given` of them.

        `rows`: question and completion, without the prefix; `images`: the row of `visual` each asks about.
        """
        order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
        hidden = self._read(visual, [rows[n][:-1] for n in order], [images[n] for n in order])
        starts = torch.tensor([0, *(len(rows[n]) - 1 for n in order)]).cumsum(0)[:-1].tolist()
        spans = [
            torch.arange(start + given[n] - 1, start + len(rows[n]) - 1) for start, n in zip(starts, order, strict=True)
        ]
        target = torch.tensor([token for n in order for token in rows[n][given[n] :]])
        logits = functional.linear(hidden.index_select(0, torch.cat(spans)), self.packed.model.lm_head.weight)
        scores = (logits / temperature if temperature != 1.0 else logits).log_softmax(-1)
        with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
            entropy = -(scores.exp() * scores).sum(-1)
        counts = [len(span) for span in spans]
        place = {n: at for at, n in enumerate(order)}
        found = scores.gather(1, target[:, None])[:, 0].split(counts)
        entropies = entropy.split(counts)
        return [found[place[n]] for n in range(len(rows))], [entropies[place[n]] for n in range(len(rows))]

    def _read(self, visual: Tensor, rows: Sequence[Sequence[int]], images: Sequence[int]) -> Tensor:
        """Hidden states (N, D) of rows sorted by length; attention pads each block of them to its own longest only."""
        packed = self.packed
        blocks = [
            pack_sequences(rows[at : at + _BLOCK], images[at : at + _BLOCK]) for at in range(0, len(rows), _BLOCK)
        ]
        batch, split = visual.shape[0], visual.shape[0] * packed.prefix_length
        ids, position = (torch.cat([getattr(block, name) for block in blocks]) for name in ("ids", "position"))
        x = torch.cat([packed.embed_prefix(visual).reshape(split, -1), packed.text.embed_tokens(ids)])
        cos, sin = packed.all_rotary(batch, position)
        for layer in map(Layer, packed.text.layers):
            q, k, v = layer.project(x, cos, sin, packed)
            seen = [t[:split].view(batch, -1, *t.shape[1:]).transpose(1, 2) for t in (q, k, v)]
            alone = functional.scaled_dot_product_attention(*seen, is_causal=True, enable_gqa=True)
            mixed, at = [alone.transpose(1, 2).reshape(split, -1)], split
            for block in blocks:
                part = slice(at, at := at + len(block.ids))
                mixed.append(attend(q[part], k[part], v[part], seen[1], seen[2], block))
            x = layer.finish(x, torch.cat(mixed))
        return packed.text.norm(x[split:])
