"""The changes of a step's pictures on the device, all at once: `shards.py` and `colour_augmentation.py` in tensors.

Equal to those within one level of 255, rounding apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.demo_models.reasoner.batch import Looks

CHUNK = 64  # pictures recoloured at a time: nine floats a pixel


def changed(pictures: Tensor, labels: Tensor, looks: Looks) -> Tensor:
    """Uint8 pictures (B, S, S, 3) with labels (B, S, S) after `looks`: colours, shift, levels, mirror."""
    pictures = recoloured(pictures, labels, looks)
    side, device = pictures.shape[1], pictures.device
    ahead = torch.arange(side, device=device)
    rows = (ahead - looks.shift[:, 1:]).clamp(0, side - 1)
    columns = (ahead - looks.shift[:, :1]).clamp(0, side - 1)
    columns = torch.where(looks.mirrored[:, None], columns.flip(1), columns)
    which = torch.arange(len(pictures), device=device)[:, None, None]
    moved = pictures[which, rows[:, :, None], columns[:, None, :]].float()
    moved = moved.mul_(looks.gain[:, None, None]).add_(looks.offset[:, None, None, None])
    return moved.clamp_(0, 255).to(torch.uint8)


def recoloured(pictures: Tensor, labels: Tensor, looks: Looks) -> Tensor:
    """The pictures, those of `looks.recoloured` in their other colours."""
    if not len(looks.recoloured):
        return pictures
    pictures = pictures.clone()
    for start in range(0, len(looks.recoloured), CHUNK):
        which = looks.recoloured[start : start + CHUNK]
        matrices = looks.colours[start : start + CHUNK]
        place = torch.arange(len(which), device=pictures.device)[:, None, None]
        of_pixel = matrices[place, labels[which].long().clamp(max=matrices.shape[1] - 1)]
        mixed = (of_pixel * pictures[which].float()[..., None, :]).sum(-1)
        pictures[which] = mixed.add_(1e-3).clamp_(0, 255).to(torch.uint8)
    return pictures
