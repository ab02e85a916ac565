"""SAM 2's memory as four modules, all objects of a frame in one batch; the exporter and the training share them.

Equal to ``Sam2VideoModel`` of transformers, object by object (tests/export/test_tracker.py). The image encoder is the
segmenter's, whose embedding carries ``no_memory_embedding`` already: what needs the picture without it takes it off.

C: width of the embedding, D: of the memory; h x w: its grid, S: side of the squashed picture; N objects, M memories and
P pointers each, of which any may be absent.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import NO_OBJ_SCORE, get_1d_sine_pe

ABSENT = -1  # age of a memory or pointer that is not there
FAR = -1e4  # added to the attention to what is absent; within FP16
QUERIES = 256  # places of the picture whose scores are written out at once: 29 MB of FP32 at 4096 places and 7 memories


class Decoded(NamedTuple):
    """All that the decoder says of N objects: logits (N, 3, S/4, S/4), IoUs (N, 3), pointers (N, 3, C), scores (N,).

    The scores are logits: above 0 the object is in the picture.
    """

    logits: Tensor
    ious: Tensor
    pointers: Tensor
    scores: Tensor


class MaskPrompt(nn.Module):
    """Where an object starts: the picture's embedding with the object's mask put into it."""

    no_memory: Tensor

    def __init__(self, model: Sam2VideoModel) -> None:
        super().__init__()
        self.downsample, self.embed = model.mask_downsample, model.prompt_encoder.mask_embed
        self.no_memory = model.no_memory_embedding

    def forward(self, embedding: Tensor, masks: Tensor) -> Tensor:
        """Embedding (1, C, h, w) and masks (N, S, S), 0 or 1 -> (N, C, h, w) for the decoder."""
        prompt: Tensor = self.embed(self.downsample(masks[:, None]))
        return embedding - self.no_memory.reshape(1, -1, 1, 1) + prompt


class MemoryAttention(nn.Module):
    """What the picture means for each object, given where and how it was before."""

    def __init__(self, model: Sam2VideoModel) -> None:
        super().__init__()
        self.layers, self.norm = model.memory_attention.layers, model.memory_attention.layer_norm
        self.ages, self.pointer_ages = model.memory_temporal_positional_encoding, _PointerAges(model)
        self.no_memory, self.no_mask = model.no_memory_embedding, model.prompt_encoder.no_mask_embed
        config = model.config
        self.slots, self.width = config.num_maskmem, config.memory_encoder_output_channels
        size = tuple(model.backbone_feature_sizes[-1])
        with torch.no_grad():
            cos, sin = model.memory_attention.rotary_emb(self.ages, model.memory_attention.position_ids)
            picture = model.vision_encoder.neck.position_encoding(
                torch.Size((1, model.hidden_dim, *size)), self.ages.device, torch.float32
            )
            memory = model.memory_encoder.position_encoding(
                torch.Size((1, self.width, *size)), self.ages.device, torch.float32
            )
        self.register_buffer("cos", cos.clone(), persistent=False)
        self.register_buffer("sin", sin.clone(), persistent=False)
        self.register_buffer("picture_positions", 0.1 * picture.flatten(2).transpose(1, 2), persistent=False)
        self.register_buffer("memory_positions", memory.flatten(2).transpose(1, 2), persistent=False)

    def forward(
        self, embedding: Tensor, memories: Tensor, ages: Tensor, pointers: Tensor, pointer_ages: Tensor
    ) -> Tensor:
        """Embedding (1, C, h, w) and each object's past -> (N, C, h, w) for the decoder.

        memories (N, M, h * w, D) with ages (N, M), int64: 0 of the frame it began on, k of k frames ago. pointers
        (N, P, C) with pointer_ages (N, P), frames ago. ``ABSENT`` where there is none.
        """
        grid = embedding.shape[-2:]
        hidden = (embedding - self.no_memory.reshape(1, -1, 1, 1)).flatten(2).transpose(1, 2) + self.picture_positions
        keys, positions, bias = self._past(memories, ages, pointers, pointer_ages)
        spatial = memories.shape[1] * memories.shape[2]
        for layer in self.layers:
            query = layer.layer_norm1(hidden)
            hidden = hidden + self._attend(layer.self_attn, query, query, query, query.shape[1], None)
            query = layer.layer_norm2(hidden)
            hidden = hidden + self._attend(layer.cross_attn_image, query, keys + positions, keys, spatial, bias)
            query = layer.layer_norm3(hidden)
            hidden = hidden + layer.linear2(layer.activation(layer.linear1(query)))
        seen = self.norm(hidden).transpose(1, 2).unflatten(2, grid)
        return seen + self.no_mask.weight.reshape(1, -1, 1, 1)

    def _past(self, memories: Tensor, ages: Tensor, pointers: Tensor, pointer_ages: Tensor) -> tuple[Tensor, ...]:
        """Keys (N, K, D), their positions and the bias (N, 1, 1, K) that hides what is absent."""
        objects, cells = memories.shape[0], memories.shape[2]
        slots = torch.where(ages <= 0, ages + self.slots - 1, ages - 1).clamp(min=0, max=self.slots - 1)
        when = self.ages.reshape(self.slots, self.width)[slots]
        at = (self.memory_positions[:, None] + when[:, :, None]).flatten(1, 2)
        split = pointers.shape[-1] // self.width
        tokens = pointers.reshape(objects, -1, self.width)
        token_at = self.pointer_ages(pointer_ages).repeat_interleave(split, dim=1)
        keys = torch.cat([memories.flatten(1, 2), tokens], dim=1)
        there = torch.cat(
            [(ages >= 0).repeat_interleave(cells, dim=1), (pointer_ages >= 0).repeat_interleave(split, dim=1)], dim=1
        )
        bias = torch.where(there, 0.0, FAR).to(keys.dtype)[:, None, None]
        return keys, torch.cat([at, token_at], dim=1), bias

    def _attend(
        self, attention: nn.Module, query: Tensor, key: Tensor, value: Tensor, spatial: int, bias: Tensor | None
    ) -> Tensor:
        """One attention with rotary positions; the keys after the first ``spatial`` have none."""
        late = _late_projection(attention)
        heads = attention.num_attention_heads
        query, key = _unpaired(attention.q_proj, heads, query), _unpaired(attention.k_proj, heads, key)
        value = value if late is not None else attention.v_proj(value)
        query, key, value = (tensor.unflatten(-1, (heads, -1)).transpose(1, 2) for tensor in (query, key, value))
        key = torch.cat([self._rotate(key[:, :, :spatial]), key[:, :, spatial:]], dim=2)
        seen = _attended(self._rotate(query) * attention.scaling, key, value, bias).transpose(1, 2).flatten(2)
        answer: Tensor = attention.o_proj(seen if late is None else late(seen))
        return answer

    def _rotate(self, tensor: Tensor) -> Tensor:
        """Turn channel k and k + half of each head by the place on the grid; several pictures have the same places."""
        places = self.cos.shape[-2]
        cos, sin = (table.reshape(places, -1)[:, ::2] for table in (self.cos, self.sin))
        first, second = tensor.unflatten(2, (-1, places)).chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).flatten(2, 3)


def _unpaired(projection: nn.Linear, heads: int, tensor: Tensor) -> Tensor:
    """A projection whose channels 2k and 2k + 1 of each head, a pair to turn, come out at k and k + half.

    Products of queries and keys are the same in any order of channels; reordering weights is free, keys are many.
    """
    order = torch.arange(projection.out_features, device=tensor.device).unflatten(0, (heads, -1, 2))
    rows = order.transpose(1, 2).flatten()
    return F.linear(tensor, projection.weight[rows], None if projection.bias is None else projection.bias[rows])


def _attended(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Attention of scaled queries, ``QUERIES`` at a time: each row has its own softmax, so the result is the same."""
    turned = key.transpose(-1, -2)
    seen = []
    for rows in query.split(QUERIES, dim=2):
        scores = rows @ turned
        seen.append((scores if bias is None else scores + bias).softmax(-1) @ value)
    return torch.cat(seen, dim=2) if len(seen) > 1 else seen[0]


def _late_projection(attention: nn.Module) -> nn.Linear | None:
    """The values' projection where it is cheaper after the sum over keys, which it commutes with; else None.

    With one head the weights of a row sum to 1, so ``sum(w (V x + b)) = V sum(w x) + b``. The memory is four times
    narrower than what it is projected to in the released models.
    """
    project: nn.Linear = attention.v_proj
    return project if attention.num_attention_heads == 1 and project.in_features < project.out_features else None


class _PointerAges(nn.Module):
    """How long ago a pointer was made, as a vector of the memory's width."""

    def __init__(self, model: Sam2VideoModel) -> None:
        super().__init__()
        self.project = model.temporal_positional_encoding_projection_layer
        self.enabled = model.config.enable_temporal_pos_encoding_for_object_pointers
        self.longest = float(max(1, model.config.max_object_pointers_in_encoder - 1))
        self.width, self.memory_width = model.hidden_dim, model.mem_dim

    def forward(self, ages: Tensor) -> Tensor:
        """Ages (N, P) in frames -> (N, P, D)."""
        if not self.enabled:
            return ages.new_zeros(*ages.shape, self.memory_width)
        sine = get_1d_sine_pe(ages / self.longest, self.width)
        answer: Tensor = self.project(sine.to(next(self.project.parameters()).dtype))
        return answer


class TrackDecoder(nn.Module):
    """SAM 2's mask decoder without a prompt: what it is asked for lies in the embedding."""

    nothing: Tensor
    grid_positions: Tensor

    def __init__(self, model: Sam2VideoModel) -> None:
        super().__init__()
        self.decoder, self.project, self.no_object = (
            model.mask_decoder, model.object_pointer_proj, model.no_object_pointer,
        )  # fmt: skip
        self.not_a_point = model.prompt_encoder.not_a_point_embed
        with torch.no_grad():
            grid = model.get_image_wide_positional_embeddings()
        self.register_buffer("grid_positions", grid, persistent=False)

    def decode(self, seen: Tensor, fine: Tensor, middle: Tensor) -> Decoded:
        """Embeddings (N, C, h, w) and the picture's finer features, one each or N -> all three masks of each object."""
        objects = seen.shape[0]
        nothing = self.not_a_point.weight.reshape(1, 1, 1, -1).expand(objects, 1, 2, -1)
        logits, ious, tokens, scores = self.decoder(
            image_embeddings=seen,
            image_positional_embeddings=self.grid_positions.expand(objects, -1, -1, -1),
            sparse_prompt_embeddings=nothing,
            dense_prompt_embeddings=torch.zeros_like(seen),
            multimask_output=True,
            high_resolution_features=[fine.expand(objects, -1, -1, -1), middle.expand(objects, -1, -1, -1)],
        )
        scores = scores.reshape(objects)
        there = (scores > 0).to(seen.dtype)[:, None, None]
        pointers = there * self.project(tokens[:, 0]) + (1 - there) * self.no_object
        return Decoded(logits[:, 0], ious[:, 0], pointers, scores)

    def forward(self, seen: Tensor, fine: Tensor, middle: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The best mask by its own estimate: logits (N, S/4, S/4), IoU (N,), score (N,), pointer (N, C)."""
        out = self.decode(seen, fine, middle)
        best = F.one_hot(out.ious.argmax(1), out.ious.shape[1]).to(out.logits.dtype)
        logits = (out.logits * best[:, :, None, None]).sum(1)
        logits = torch.where(out.scores[:, None, None] > 0, logits, NO_OBJ_SCORE)
        return logits.float(), (out.ious * best).sum(1), out.scores, (out.pointers * best[:, :, None]).sum(1)


class MemoryEncoder(nn.Module):
    """Where an object is in this picture, as later pictures will remember it."""

    def __init__(self, model: Sam2VideoModel) -> None:
        super().__init__()
        self.encoder, self.no_memory = model.memory_encoder, model.no_memory_embedding
        self.hidden = model.occlusion_spatial_embedding_parameter
        self.scale, self.bias = model.config.sigmoid_scale_for_mem_enc, model.config.sigmoid_bias_for_mem_enc

    def forward(self, embedding: Tensor, masks: Tensor, given: Tensor, scores: Tensor) -> Tensor:
        """Embedding (1, C, h, w) or N of them, masks (N, S, S), logits -> memories (N, h * w, D).

        given (N,): 1 where the mask was given and counts as it is, 0 where the decoder made it. scores (N,): logits of
        being in the picture.
        """
        soft, hard = masks.sigmoid(), (masks > 0).to(masks.dtype)
        chance = torch.where(given[:, None, None] > 0, hard, soft) * self.scale + self.bias
        picture = (embedding - self.no_memory.reshape(1, -1, 1, 1)).expand(masks.shape[0], -1, -1, -1)
        memory, _ = self.encoder(picture, chance[:, None])
        memory = memory.flatten(2).transpose(1, 2)
        if self.hidden is not None:
            memory = memory + (scores <= 0).to(memory.dtype)[:, None, None] * self.hidden
        return memory
