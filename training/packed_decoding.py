"""Many answers at once from a packed Qwen2.5-VL: a picture is read once, a question once, whatever is said of them.

Equal to transformers' `generate` (tests/training/test_packed.py, test_grpo_packed.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import rotate_half

from training.packed import PackedReasoner, PackedSequences, continuation_mask, pack_sequences, to_grid

_SPARSE = 0.75  # once so few of the rows still speak, the finished ones are dropped from the cache


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """What was sampled, one entry per row.

    `ids`: token ids, the stop included where one was reached. `uncertainty`: mean over the tokens of 1 - (p1 - p2),
    the two largest probabilities at temperature 1 (PixelThink, arXiv 2505.23727, section 3.3).
    """

    ids: list[list[int]]
    uncertainty: list[float]


@torch.no_grad()
def sample(
    packed: PackedReasoner,
    visual: Tensor,
    questions: Sequence[Sequence[int]],
    images: Sequence[int],
    times: int,
    most: int,
    stops: Sequence[int],
    temperature: float,
    generator: torch.Generator | None = None,
    between: Callable[[], None] = lambda: None,
) -> Samples:
    """`times` continuations of each question, in order, at most `most` tokens each.

    `temperature` 0 is greedy. `between`: called before each token; what it raises ends the sampling. Never samples the
    picture's placeholder.
    """
    decoder = _Decoder(packed, visual, questions, images, times, most)
    count = len(questions) * times
    ids: list[list[int]] = [[] for _ in range(count)]
    doubts: list[float] = [0.0] * count
    stop = torch.tensor(list(stops), device=visual.device)
    for _ in range(most):
        between()
        logits = decoder.logits()
        logits[:, packed.model.config.image_token_id] = -torch.inf
        chances = logits.softmax(-1)
        token = _draw(logits, chances, temperature, generator)
        top = chances.topk(2, dim=-1).values
        doubt = (1 - top[:, 0] + top[:, 1]).tolist()
        over = torch.isin(token, stop)
        for row, one, uncertain, speaks in zip(
            decoder.rows.tolist(), token.tolist(), doubt, decoder.alive.tolist(), strict=True
        ):
            if speaks:
                ids[row].append(one)
                doubts[row] += uncertain
        decoder.alive &= ~over
        if not bool(decoder.alive.any()):
            break
        decoder.feed(token)
    return Samples(ids, [doubt / max(1, len(row)) for doubt, row in zip(doubts, ids, strict=True)])


def _draw(logits: Tensor, chances: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    """One token per row by inverting the cumulated distribution: `torch.multinomial` is ten times slower on a CPU."""
    if temperature == 0.0:
        return logits.argmax(-1)
    cumulated = (chances if temperature == 1.0 else (logits / temperature).softmax(-1)).double().cumsum(-1)
    drawn = torch.rand(len(logits), 1, dtype=torch.float64, generator=generator).to(logits.device) * cumulated[:, -1:]
    return torch.searchsorted(cumulated, drawn, right=True)[:, 0].clamp(max=logits.shape[1] - 1)


class _Decoder:
    """Keys and values of all rows in step; each row is [prefix | question, padded | what it has said].

    `rows` (R,): the sample each row of the cache belongs to; `alive` (R,): whether it still speaks.
    """

    def __init__(
        self,
        packed: PackedReasoner,
        visual: Tensor,
        questions: Sequence[Sequence[int]],
        images: Sequence[int],
        times: int,
        most: int,
    ) -> None:
        self.packed = packed
        self.layers = [Layer(layer) for layer in packed.text.layers]
        device = visual.device
        sequences = pack_sequences(questions, images).to(device)
        lengths = torch.tensor([len(question) for question in questions], device=device)
        self.at = packed.prefix_length + sequences.length  # the slot the next token goes to
        hidden = self._read(visual, sequences, self.at + most)
        self._next = packed.text.norm(hidden[lengths.cumsum(0) - 1]).repeat_interleave(times, 0)
        self.rows = torch.arange(len(questions) * times, device=device)
        self.alive = torch.ones(len(self.rows), dtype=torch.bool, device=device)
        self.position = (lengths + packed.first_position).repeat_interleave(times)
        slots = torch.arange(self.at + most, device=device) - packed.prefix_length
        seen = (slots < lengths[:, None]) | (slots >= sequences.length)
        self.seen = seen.repeat_interleave(times, 0)
        for layer in self.layers:
            layer.keys, layer.values = (kept.repeat_interleave(times, 0) for kept in (layer.keys, layer.values))

    def logits(self) -> Tensor:
        """(R, vocabulary) of each row's next token."""
        return functional.linear(self._next, self.packed.model.lm_head.weight).float()

    def feed(self, token: Tensor) -> None:
        """Take each row's chosen token and compute what comes after it."""
        token = self._compact(token)
        packed = self.packed
        cos, sin = (t[:, None] for t in packed.rotary(self.position.expand(3, -1)))
        x = packed.text.embed_tokens(token)
        mask = self.seen[:, None, None, : self.at + 1]
        for layer in self.layers:
            q, k, v = layer.project(x, cos, sin, packed)
            layer.keys[:, :, self.at], layer.values[:, :, self.at] = k, v
            # The query heads that share a key head see the same tokens: to attention they are just more queries.
            grouped = q.view(len(token), packed.kv_heads, -1, packed.head_dim)
            past = slice(0, self.at + 1)
            mixed = functional.scaled_dot_product_attention(
                grouped, layer.keys[:, :, past], layer.values[:, :, past], attn_mask=mask
            )
            x = layer.finish(x, mixed.reshape(len(token), -1))
        self._next = packed.text.norm(x)
        self.at += 1
        self.position = self.position + 1

    def _compact(self, token: Tensor) -> Tensor:
        if self.alive.sum() > _SPARSE * len(self.alive):
            return token
        keep = self.alive.nonzero()[:, 0]
        self.rows, self.alive, self.position, self.seen = (
            t[keep] for t in (self.rows, self.alive, self.position, self.seen)
        )
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[keep], layer.values[keep]
        return token[keep]

    def _read(self, visual: Tensor, sequences: PackedSequences, room: int) -> Tensor:
        """Fill the cache with prefixes and questions, one row per question; hidden states (N, D) of the questions."""
        packed, batch = self.packed, visual.shape[0]
        length, split = packed.prefix_length, visual.shape[0] * packed.prefix_length
        prefix = packed.embed_prefix(visual).reshape(split, -1)
        x = torch.cat([prefix, packed.text.embed_tokens(sequences.ids)])
        cos, sin = packed.all_rotary(batch, sequences.position)
        for layer in self.layers:
            q, k, v = layer.project(x, cos, sin, packed)
            seen = [t[:split].reshape(batch, length, *t.shape[1:]).transpose(1, 2) for t in (q, k, v)]
            layer.keys, layer.values = (
                _cache(flat[split:], whole, sequences, room) for flat, whole in ((k, seen[1]), (v, seen[2]))
            )
            alone = functional.scaled_dot_product_attention(*seen, is_causal=True, enable_gqa=True)
            asked = attend(q[split:], k[split:], v[split:], seen[1], seen[2], sequences)
            mixed = [alone.transpose(1, 2).reshape(split, -1), asked]
            x = layer.finish(x, torch.cat(mixed))
        return x[split:]


class Layer:
    """One decoder layer, its three projections as one product, with its cache (R, kv heads, room, d)."""

    def __init__(self, layer: nn.Module) -> None:
        attention = layer.self_attn
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        self.layer = layer
        self.weight = torch.cat([part.weight for part in parts])
        self.bias = None if parts[0].bias is None else torch.cat([part.bias for part in parts])
        self.keys = self.values = torch.empty(0)

    def project(self, x: Tensor, cos: Tensor, sin: Tensor, packed: PackedReasoner) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries (N, heads, d), rotated keys and values (N, kv heads, d) of hidden states (N, D)."""
        mixed = functional.linear(self.layer.input_layernorm(x), self.weight, self.bias)
        heads = mixed.view(len(x), -1, packed.head_dim)
        turned, v = heads.split([packed.heads + packed.kv_heads, packed.kv_heads], dim=1)
        turned = turned * cos + rotate_half(turned) * sin
        q, k = turned.split([packed.heads, packed.kv_heads], dim=1)
        return q, k, v

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Hidden states after this layer, given the attention's mixture (N, heads * d)."""
        x = x + self.layer.self_attn.o_proj(mixed)
        return x + self.layer.mlp(self.layer.post_attention_layernorm(x))


def attend(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, sequences: PackedSequences) -> Tensor:
    """(N, heads * d): each sequence's queries over its picture's prefix (`keys`, `values`) and its own past."""
    asked = functional.scaled_dot_product_attention(
        to_grid(q, sequences),
        torch.cat([keys.index_select(0, sequences.image), to_grid(k, sequences)], dim=2),
        torch.cat([values.index_select(0, sequences.image), to_grid(v, sequences)], dim=2),
        attn_mask=continuation_mask(keys.shape[2], sequences.length, q.device),
        enable_gqa=True,
    )
    return asked.transpose(1, 2).flatten(0, 1).flatten(1).index_select(0, sequences.slot)


def _cache(flat: Tensor, prefixes: Tensor, sequences: PackedSequences, room: int) -> Tensor:
    """(Q, heads, room, d): each question's prefix, the question itself, and empty slots."""
    asked = to_grid(flat, sequences)
    kept = flat.new_zeros(len(sequences.image), flat.shape[1], room, flat.shape[2])
    length = prefixes.shape[2]
    kept[:, :, :length] = prefixes[sequences.image]
    kept[:, :, length : length + sequences.length] = asked
    return kept
