"""One clip followed in torch as the robot follows it, with gradients: start with a mask, then frame after frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import NO_OBJ_SCORE

from export.tracker.modules import Decoded, MaskPrompt, MemoryAttention, MemoryEncoder, TrackDecoder
from segzero_ros.backends.sam2_memory import ABSENT, POINTERS, RECENT, SURE


@dataclass(frozen=True, slots=True)
class Picture:
    """The encoder's features of N objects' frame: embedding (N, C, h, w), fine and middle; one object per row."""

    embedding: Tensor
    fine: Tensor
    middle: Tensor


@dataclass(slots=True)
class Past:
    """What N objects that began together remember: of the frames in which each was seen, as the robot's tracker.

    ``seen``: bool (N,) of each frame.
    """

    first: Tensor
    first_pointer: Tensor
    recent: list[Tensor] = field(default_factory=list)
    pointers: list[Tensor] = field(default_factory=list)
    seen: list[Tensor] = field(default_factory=list)

    def memories(self) -> tuple[Tensor, Tensor]:
        """Memories (N, M, h * w, D) and ages (N, M), int64."""
        kept, ages = self._newest(self.recent, self.first, RECENT)
        return torch.cat([self.first[:, None], kept], dim=1), F.pad(ages, (1, 0))

    def all_pointers(self) -> tuple[Tensor, Tensor]:
        """Pointers (N, P, C) and ages (N, P), float32."""
        kept, ages = self._newest(self.pointers, self.first_pointer, POINTERS)
        began = torch.stack(self.seen).sum(0) if self.seen else torch.zeros(len(self.first), dtype=torch.int64)
        began = began.clamp(max=POINTERS - 1) + 1
        return torch.cat([self.first_pointer[:, None], kept], dim=1), torch.cat([began[:, None], ages], dim=1).float()

    def _newest(self, entries: list[Tensor], like: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Of each object the newest ``most`` entries of frames in which it was seen, and how many such frames ago."""
        if not entries:
            return like[:, None][:, :0], torch.zeros(len(like), 0, dtype=torch.int64)
        seen = torch.stack(self.seen, dim=1)
        ages = torch.where(seen, seen.flip(1).cumsum(1).flip(1), len(entries) + 1)
        ages, order = ages.sort(dim=1, descending=True, stable=True)
        ages, order = ages[:, -most:], order[:, -most:]
        rows = torch.arange(len(seen))[:, None]
        return torch.stack(entries, dim=1)[rows, order], torch.where(ages <= len(entries), ages, ABSENT)


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
        seen = self.attend(picture.embedding, *past.memories(), *past.all_pointers())
        out = self.decoder.decode(seen, picture.fine, picture.middle)
        rows = torch.arange(len(out.ious))
        best = out.ious.argmax(1)
        shown = torch.where(out.scores[:, None, None] > 0, out.logits[rows, best], NO_OBJ_SCORE)
        full = F.interpolate(shown[:, None], (self.side, self.side), mode="bilinear")[:, 0]
        past.recent.append(self.encoder(picture.embedding, full, torch.zeros(len(full)), out.scores))
        past.pointers.append(out.pointers[rows, best])
        past.seen.append(out.scores > 0)
        return out
