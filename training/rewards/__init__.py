"""The rewards of GRPO: two as published, one of this project; docs/rewards.md has their parts side by side.

Each is a plain function of one decoded generation (without special tokens) and its ``Truth`` and returns a ``Reward``
with its parts and their total. None raises on any text, all are linear in it.
"""

from training.rewards.grounded import Grounded, grounded_v3, mean_uncertainty
from training.rewards.published import seg_zero_v1, vision_reasoner_v2
from training.rewards.truth import (
    Reward,
    Truth,
    read_solution_v1,
    read_solution_v2,
    write_solution_v1,
    write_solution_v2,
)

__all__ = [
    "Grounded",
    "Reward",
    "Truth",
    "grounded_v3",
    "mean_uncertainty",
    "read_solution_v1",
    "read_solution_v2",
    "seg_zero_v1",
    "vision_reasoner_v2",
    "write_solution_v1",
    "write_solution_v2",
]
