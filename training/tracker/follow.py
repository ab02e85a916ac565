"""One clip followed in torch as the robot follows it, with gradients: start with a mask, then frame after frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import NO_OBJ_SCORE

from export.tracker.modules import Decoded, MaskPrompt, MemoryAttention, MemoryEncoder, TrackDecoder
from segzero_ros.backends.sam2_memory import POINTERS, RECENT, SURE


@dataclass(frozen=True, slots=True)
class Picture:
    """The encoder's features of N objects' frame: embedding (N, C, h, w), fine and middle; one object per row."""

    embedding: Tensor
    fine: Tensor
    middle: Tensor


@dataclass(slots=True)
class Past:
    """What N objects that began together remember."""

    first: Tensor
    first_pointer: Tensor
    recent: list[Tensor] = field(default_factory=list)
    pointers: list[Tensor] = field(default_factory=list)
    steps: int = 0

    def memories(self) -> tuple[Tensor, Tensor]:
        """Memories (N, M, h * w, D) and ages (N, M)."""
        kept = self.recent[-RECENT:]
        ages = torch.tensor([0, *range(len(kept), 0, -1)]).expand(len(self.first), -1)
        return torch.stack([self.first, *kept], dim=1), ages

    def all_pointers(self) -> tuple[Tensor, Tensor]:
        """Pointers (N, P, C) and ages (N, P)."""
        kept = self.pointers[-POINTERS:]
        ages = torch.tensor([float(self.steps), *(float(age) for age in range(len(kept), 0, -1))])
        return torch.stack([self.first_pointer, *kept], dim=1), ages.expand(len(self.first), -1)


class Follower:
    """The four modules around one model, and what they do to a frame."""

    def __init__(self, model: Sam2VideoModel) -> None:
        self.side = int(model.config.image_size)
        self.prompt, self.attend = MaskPrompt(model), MemoryAttention(model)
        self.decoder, self.encoder = TrackDecoder(model), MemoryEncoder(model)

    def start(self, picture: Picture, masks: Tensor) -> Past:
        """Objects begin under masks (N, S, S) of 0 and 1."""
        *_, pointers = self.decoder(self.prompt(picture.embedding, masks), picture.fine, picture.middle)
        sure = torch.full((len(masks),), SURE)
        return Past(self.encoder(picture.embedding, (2 * masks - 1) * SURE, sure, sure), pointers)

    def step(self, past: Past, picture: Picture) -> Decoded:
        """All that the decoder says of the next frame; its best masks are remembered."""
        past.steps += 1
        seen = self.attend(picture.embedding, *past.memories(), *past.all_pointers())
        out = self.decoder.decode(seen, picture.fine, picture.middle)
        rows = torch.arange(len(out.ious))
        best = out.ious.argmax(1)
        shown = torch.where(out.scores[:, None, None] > 0, out.logits[rows, best], NO_OBJ_SCORE)
        full = F.interpolate(shown[:, None], (self.side, self.side), mode="bilinear")[:, 0]
        past.recent.append(self.encoder(picture.embedding, full, torch.zeros(len(full)), out.scores))
        past.pointers.append(out.pointers[rows, best])
        return out
