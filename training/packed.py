"""Many questions behind one image: a packed forward pass through a stock Qwen2.5-VL, for training on little compute.

The weights and the arithmetic are those of `Qwen2_5_VLForConditionalGeneration` (a test holds both against each
other); only the bookkeeping differs. The system text and the image of a scene (the *prefix*) go through the language
model once; each question and its answer (a *sequence*) attends to the prefix of its own image and to itself. Linear
layers see one flat list of tokens without padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import rotate_half

from export.vision_tower import checkpoint_tower, normalise, prefix_positions


@dataclass(slots=True)
class PackedSequences:
    """Sequences of a batch, flattened: N tokens of S sequences in a grid of S x L slots."""

    ids: Tensor
    """(N,) token ids."""
    slot: Tensor
    """(N,) position in the flattened S x L grid."""
    position: Tensor
    """(N,) 0-based position inside the sequence."""
    image: Tensor
    """(S,) index of the image each sequence asks about."""
    length: int
    """L, the longest sequence."""

    def to(self, device: torch.device) -> "PackedSequences":
        """The same on `device`."""
        tensors = (self.ids, self.slot, self.position, self.image)
        return PackedSequences(*(tensor.to(device) for tensor in tensors), self.length)


def pack_sequences(sequences: Sequence[Sequence[int]], images: Sequence[int]) -> PackedSequences:
    """Lay out token lists `sequences[s]`, each asking about image `images[s]`."""
    length = max(map(len, sequences))
    ids = torch.tensor([i for sequence in sequences for i in sequence])
    position = torch.cat([torch.arange(len(sequence)) for sequence in sequences])
    row = torch.repeat_interleave(torch.arange(len(sequences)), torch.tensor([len(sequence) for sequence in sequences]))
    return PackedSequences(ids, row * length + position, position, torch.tensor(images), length)


class PackedReasoner(nn.Module):
    """Wraps (does not copy) a model; `before` and `after` are the token ids around the image in the prefix."""

    def __init__(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        image_size: tuple[int, int],
        before: Sequence[int],
        after: Sequence[int],
    ) -> None:
        super().__init__()
        self.model = model
        self.text = model.model.language_model
        self.vision = checkpoint_tower(model.model.visual, image_size)
        config = model.config.text_config
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = config.hidden_size // self.heads
        self.visual_from = len(before)
        self.register_buffer("before", torch.tensor(list(before)), persistent=False)
        self.register_buffer("after", torch.tensor(list(after)), persistent=False)
        positions = prefix_positions(len(before), self.vision.grid.token_grid, len(after))
        self.prefix_length = positions.shape[1]
        self.first_position = int(positions.max()) + 1
        self.register_buffer("prefix_positions", positions, persistent=False)

    def rotary(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cos and sin (T, d) for (3, T) positions, from the model's own module."""
        cos, sin = self.text.rotary_emb(self.text.norm.weight, positions[:, None])
        return cos[0], sin[0]

    def encode_image(self, rgb: Tensor) -> Tensor:
        """uint8 RGB (B, H, W, 3) of the model's image size -> visual tokens (B, V, D)."""
        return self.vision(normalise(rgb))

    def embed_prefix(self, visual: Tensor) -> Tensor:
        """(B, P, D): system text, visual tokens, and what stands before the question."""
        batch = visual.shape[0]
        before = self.text.embed_tokens(self.before).expand(batch, -1, -1)
        after = self.text.embed_tokens(self.after).expand(batch, -1, -1)
        return torch.cat([before, visual, after], dim=1)

    def forward(self, visual: Tensor, sequences: PackedSequences, watch: "Watch | None" = None) -> Tensor:
        """Hidden states (N, D) of the sequences' tokens after the last norm.

        `watch` collects attention for the guide loss.
        """
        batch, length = visual.shape[0], self.prefix_length
        prefix = self.embed_prefix(visual).reshape(batch * length, -1)
        x = torch.cat([prefix, self.text.embed_tokens(sequences.ids)])
        cos, sin = self.all_rotary(batch, sequences.position)
        mask = continuation_mask(length, sequences.length, x.device)
        for n, layer in enumerate(self.text.layers):
            q, k, v = self._project(layer, x, cos, sin)
            split = batch * length
            grids = [to_grid(t[split:], sequences) for t in (q, k, v)]
            prefixes = [t[:split].reshape(batch, length, *t.shape[1:]).transpose(1, 2) for t in (q, k, v)]
            keys, values = (torch.cat([prefixes[i].index_select(0, sequences.image), grids[i]], dim=2) for i in (1, 2))
            if watch is not None and n in watch.layers:
                watch.add(grids[0][:, 0], keys[:, 0], sequences, mask)
            own = attention(*prefixes, is_causal=True)
            asked = attention(grids[0], keys, values, attn_mask=mask)
            attended = torch.cat(
                [
                    own.transpose(1, 2).reshape(split, -1),
                    asked.transpose(1, 2).reshape(-1, self.heads * self.head_dim)[sequences.slot],
                ]
            )
            x = x + layer.self_attn.o_proj(attended)
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return self.text.norm(x[batch * length :])

    def all_rotary(self, batch: int, sequence_positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cos and sin (T, 1, d) of `batch` prefixes and, behind them, of sequences at positions (N,) inside them."""
        prefix = self.rotary(self.prefix_positions)
        sequence = self.rotary((sequence_positions + self.first_position).expand(3, -1))
        return tuple(torch.cat([p.repeat(batch, 1), t])[:, None] for p, t in zip(prefix, sequence, strict=True))

    def _project(self, layer: nn.Module, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normed, attention = layer.input_layernorm(x), layer.self_attn
        q = attention.q_proj(normed).view(-1, self.heads, self.head_dim)
        k = attention.k_proj(normed).view(-1, self.kv_heads, self.head_dim)
        v = attention.v_proj(normed).view(-1, self.kv_heads, self.head_dim)
        return q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin, v


class Watch:
    """Log-attention mass of head 0 on chosen visual tokens, collected during a forward pass.

    `at` (G,) flat token positions that predict something about an object; `cover` (G, V) 1 on the visual tokens that
    object covers.
    """

    def __init__(self, layers: Sequence[int], at: Tensor, cover: Tensor, visual_from: int) -> None:
        self.layers, self.at, self.cover, self.visual_from = set(layers), at, cover.bool(), visual_from
        self.losses: list[Tensor] = []

    def add(self, queries: Tensor, keys: Tensor, sequences: PackedSequences, mask: Tensor) -> None:
        """Add one layer's mean of -log(attention mass on the covered tokens). queries (S, L, d), keys (S, P+L, d)."""
        slot = sequences.slot[self.at]
        scores = (queries @ keys.transpose(1, 2)).flatten(0, 1)[slot] * queries.shape[-1] ** -0.5
        log_weights = scores.masked_fill(~mask[slot % sequences.length], -torch.inf).log_softmax(-1)
        seen = log_weights[:, self.visual_from : self.visual_from + self.cover.shape[1]]
        looked = -seen.masked_fill(~self.cover, -torch.inf).logsumexp(-1)
        self.losses.append(looked.sum() / max(1, len(looked)))  # 0 where no token speaks of a thing

    def loss(self) -> Tensor:
        """Mean over the watched layers."""
        return torch.stack(self.losses).mean()


def to_grid(flat: Tensor, sequences: PackedSequences) -> Tensor:
    """(N, heads, d) -> (S, heads, L, d), zeros where a sequence is shorter."""
    count = len(sequences.image)
    grid = flat.new_zeros(count * sequences.length, *flat.shape[1:])
    grid = grid.index_copy(0, sequences.slot, flat)
    return grid.view(count, sequences.length, *flat.shape[1:]).transpose(1, 2)


def continuation_mask(prefix: int, length: int, device: torch.device | None = None) -> Tensor:
    """(L, P+L) True where a sequence's token may look: the whole prefix and its own past."""
    own = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return torch.cat([torch.ones(length, prefix, dtype=torch.bool, device=device), own], dim=1)


def attention(query: Tensor, key: Tensor, value: Tensor, **how: Any) -> Tensor:
    """Attention of heads that share keys and values.

    On a GPU these are repeated: its kernels that keep no matrix of scores do not take a mask and shared heads at once.
    """
    if query.is_cuda:
        groups = query.shape[1] // key.shape[1]
        key, value = (part.repeat_interleave(groups, 1) for part in (key, value))
        return functional.scaled_dot_product_attention(query, key, value, **how)
    return functional.scaled_dot_product_attention(query, key, value, enable_gqa=True, **how)
