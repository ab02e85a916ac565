"""Single questions with their truth, for evaluations.

The same for the same split and seed on every machine that renders alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from segzero_ros.tabletop.language.instructions import SHARES, TYPES, Instruction, make_instruction
from segzero_ros.tabletop.render import Renderer
from segzero_ros.tabletop.sampling import sample_scene
from segzero_ros.tabletop.scene import Grammar, Split, World, scene_rng
from segzero_ros.tabletop.view import View

EVALUATION_SEEDS = (
    1_000_000_000  # beyond the seeds of rendered shards, so that no evaluation picture was trained or tuned on
)
SEEDS_PER_EVALUATION = 100_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture and one instruction; `index` counts from 0, `seed` is the scene's."""

    index: int
    seed: int
    view: View
    instruction: Instruction


def samples(
    split: Split,
    seed: int,
    count: int,
    size: tuple[int, int] = (640, 480),
    grammar: Grammar = "plain",
    world: World = "simple",
) -> Iterator[Sample]:
    """`count` samples, each of another scene, types mixed as `SHARES` says. ValueError for more than 50,000."""
    if not 0 <= count <= SEEDS_PER_EVALUATION // 2:
        raise ValueError(f"got count {count}, want 0..{SEEDS_PER_EVALUATION // 2}")
    first = EVALUATION_SEEDS + seed * SEEDS_PER_EVALUATION
    scene_seed = first
    with Renderer(*size, world=world) as renderer:
        for index in range(count):
            kind = TYPES[int(scene_rng(first + index, split, purpose=2).choice(len(TYPES), p=list(SHARES.values())))]
            while True:
                view = renderer.render(sample_scene(scene_seed, split, grammar=grammar, world=world))
                instruction = make_instruction(
                    view, kind, split, np.random.default_rng([scene_seed, 3]), grammar=grammar
                )
                scene_seed += 1
                if instruction is not None:
                    break
            yield Sample(index, scene_seed - 1, view, instruction)
