"""The vision tower once per distinct picture: a group's samples all look at the same one.

TRL repeats a group's picture for each sample. With eight samples of a question, seven eighths of the tower's work and
of its activations are repetitions; here a tower reads each distinct picture of its batch once and hands out copies of
the tokens, through which the gradients of all samples add up again. Exact up to the order of that sum.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def share_vision(visual: nn.Module) -> None:
    """Make `visual`, the tower of a Qwen-VL, skip equal pictures. Modules, weights and hooks stay what they are."""
    forward, merge = visual.forward, int(visual.config.spatial_merge_size) ** 2

    def shared(hidden_states: Tensor, grid_thw: Tensor, **options: Any) -> Any:
        counts = grid_thw.prod(-1).tolist()
        owner = equal_pictures(hidden_states.split(counts), grid_thw)
        firsts = sorted(set(owner))
        if len(firsts) == len(owner):
            return forward(hidden_states, grid_thw=grid_thw, **options)
        pictures = hidden_states.split(counts)
        out = forward(torch.cat([pictures[n] for n in firsts]), grid_thw=grid_thw[firsts], **options)
        place = {n: at for at, n in enumerate(firsts)}
        tokens = out.pooler_output.split([counts[n] // merge for n in firsts])
        out.pooler_output = torch.cat([tokens[place[n]] for n in owner])
        if getattr(out, "deepstack_features", None):
            added = [layer.split([counts[n] // merge for n in firsts]) for layer in out.deepstack_features]
            out.deepstack_features = [torch.cat([layer[place[n]] for n in owner]) for layer in added]
        out.last_hidden_state = None  # of the distinct pictures only: nobody may take it for all
        return out

    visual.forward = shared


def equal_pictures(pictures: tuple[Tensor, ...], grid_thw: Tensor) -> list[int]:
    """Per picture the number of the first one that equals it. Sums are compared first, so most cost one number."""
    sums = torch.stack([picture.float().sum() for picture in pictures]).tolist()
    shapes = [tuple(grid) for grid in grid_thw.tolist()]
    seen: dict[Any, list[int]] = {}
    owner: list[int] = []
    for n, key in enumerate(zip(sums, shapes, strict=True)):
        twins = [first for first in seen.setdefault(key, []) if torch.equal(pictures[first], pictures[n])]
        owner.append(twins[0] if twins else n)
        if not twins:
            seen[key].append(n)
    return owner
