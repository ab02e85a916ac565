"""A step's gradients on a CPU: its pictures shared out over threads, each with its own forward and backward pass.

A model this small gains little from threads inside its operators; half of the pictures for each of two threads takes
three quarters of the time of two threads in every operator. The sums are made in a fixed order, so that
a run stays repeatable.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from training.demo_models.device.clock import arithmetic
from training.demo_models.reasoner.batch import Batch
from training.demo_models.reasoner.learner import Learner

Found = tuple[dict[str, Tensor], tuple[Tensor | None, ...]]


class Pieces:
    """Losses and gradients of a step's pieces; `bfloat16` as in `arithmetic`. Ends its threads with `close`."""

    def __init__(self, learner: Learner, threads: int, bfloat16: bool | None = None) -> None:
        self.learner, self.bfloat16 = learner, bfloat16
        self.parameters = [parameter for parameter in learner.parameters() if parameter.requires_grad]
        self.pool = ThreadPoolExecutor(threads, "pictures", torch.set_num_threads, (1,)) if threads > 1 else None

    def close(self) -> None:
        """End the threads."""
        if self.pool:
            self.pool.shutdown()

    def backward(self, pieces: Sequence[Batch]) -> dict[str, Tensor]:
        """Set every weight's `.grad` to the mean over the pieces; returns the means of their losses."""
        found = list((self.pool.map if self.pool else map)(self._gradients, pieces))
        for parameter, *gradients in zip(self.parameters, *(gradients for _, gradients in found), strict=True):
            there = [gradient for gradient in gradients if gradient is not None]
            parameter.grad = sum(there[1:], start=there[0]) / len(pieces) if there else None
        names = [name for name in found[0][0] if all(name in losses for losses, _ in found)]
        return {name: torch.stack([losses[name] for losses, _ in found]).mean() for name in names}

    def _gradients(self, piece: Batch) -> Found:
        with arithmetic(self.learner.device, self.bfloat16):
            losses = self.learner.losses(piece)
        gradients = torch.autograd.grad(losses["total"], self.parameters, allow_unused=True)
        return {name: value.detach() for name, value in losses.items()}, gradients
