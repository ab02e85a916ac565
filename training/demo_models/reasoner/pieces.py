"""A step's gradients on a CPU: its pictures shared out over threads, each with its own forward and backward pass.

A model this small gains little from threads inside its operators; half of the pictures for each of two threads takes
0.7 of the time of two threads in every operator. The sums are made in a fixed order, so a run stays repeatable.
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
        if self.pool is None or len(pieces) == 1:
            losses = [self._losses(piece) for piece in pieces]
            for found in losses:
                (found["total"] / len(pieces)).backward()
            return _mean(losses)
        all_found = list(self.pool.map(self._gradients, pieces))
        for parameter, gradients in zip(self.parameters, zip(*(g for _, g in all_found), strict=True), strict=True):
            there = [gradient for gradient in gradients if gradient is not None]
            parameter.grad = torch.stack(there).sum(0) / len(pieces) if there else None
        return _mean([losses for losses, _ in all_found])

    def _losses(self, piece: Batch) -> dict[str, Tensor]:
        with arithmetic(self.learner.device, self.bfloat16):
            return self.learner.losses(piece)

    def _gradients(self, piece: Batch) -> Found:
        losses = self._losses(piece)
        gradients = torch.autograd.grad(losses["total"], self.parameters, allow_unused=True)
        return {name: value.detach() for name, value in losses.items()}, gradients


def _mean(losses: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    if len(losses) == 1:
        return losses[0]
    names = [name for name in losses[0] if all(name in found for found in losses)]
    return {name: torch.stack([found[name].detach() for found in losses]).mean() for name in names}
