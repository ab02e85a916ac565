"""What a small reasoner needs beside cross-entropy to learn to see and to look; thrown away after training.

- `DenseHeads`: every visual token says which object it lies on (kind, colour) and where that object is (box and point
  as coordinate bins).
- `WordAlignment`: every visual token scores the vocabulary's own embeddings of the kind and colour words, so that
  words and what they mean share
  directions.
- the guide loss (`training.packed.Watch`): at positions that predict a name or a coordinate, one attention head looks
  at that object.
Found by experiment on drawn scenes; figures in docs/log.md.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.demo_models.supervised_text import Thing

BIN = 4  # pixels per coordinate bin: two bins per patch row


def cell_cover(box: Sequence[float], point: Sequence[float], grid: int, cell: int) -> Tensor:
    """(grid * grid,) 1 on the visual tokens that `box` covers by a fifth or more, and on the one under `point`."""
    edges = torch.arange(grid) * cell
    across = (torch.clamp(edges + cell, max=box[2]) - torch.clamp(edges, min=box[0])).clamp(min=0) / cell
    down = (torch.clamp(edges + cell, max=box[3]) - torch.clamp(edges, min=box[1])).clamp(min=0) / cell
    cover = (down[:, None] * across[None] >= 0.2).float()
    cover[min(int(point[1] // cell), grid - 1), min(int(point[0] // cell), grid - 1)] = 1
    return cover.flatten()


def assign_cells(things: Sequence[Thing], grid: int, cell: int, margin: float = 0.15) -> Tensor:
    """(grid * grid,) index of the thing each visual token belongs to, -1 for none.

    A token belongs to the thing whose slightly enlarged box holds the token's centre; among several, to the one with
    the nearest point. The token
    under a thing's point always belongs to it.
    """
    owner = torch.full((grid * grid,), -1)
    if not things:
        return owner
    centre = (torch.arange(grid) + 0.5) * cell
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    best = torch.full((grid, grid), torch.inf)
    flat = owner.view(grid, grid)
    for n, thing in enumerate(things):
        x0, y0, x1, y1 = thing.box
        mx, my = margin * (x1 - x0) + 3, margin * (y1 - y0) + 3
        inside = (x >= x0 - mx) & (x < x1 + mx) & (y >= y0 - my) & (y < y1 + my)
        distance = torch.where(inside, (x - thing.point[0]) ** 2 + (y - thing.point[1]) ** 2, torch.inf)
        flat[distance < best] = n
        best = torch.minimum(best, distance)
    for n, thing in enumerate(things):
        flat[min(int(thing.point[1] // cell), grid - 1), min(int(thing.point[0] // cell), grid - 1)] = n
    return owner


def place_targets(thing: Thing) -> list[float]:
    """The six coordinates the dense heads predict: x0 y0 x1 y1 of the box, x y of the point."""
    return [*thing.box, *thing.point]


class DenseHeads(nn.Module):
    """Per visual token: kind (last: nothing), colour, six coordinates in bins of `BIN` pixels, its own row and column.

    The last is what makes the coordinates learnable in minutes: the vision tower knows relative positions only
    (rotary embedding) and must find out
    from the borders where it is.
    """

    def __init__(self, width: int, kinds: int, colours: int, size: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.own = nn.Linear(width, 2 * grid)
        self.bins = size // BIN + 1
        self.kind = nn.Linear(width, kinds + 1)
        self.colour = nn.Linear(width, colours)
        self.place = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, 6 * self.bins))

    def forward(self, visual: Tensor, kind: Tensor, colour: Tensor, place: Tensor) -> dict[str, Tensor]:
        """Losses and accuracies. visual (B, V, D); kind (B, V) with `kinds` for nothing; colour (B, V).

        Place (B, V, 6) px.
        """
        some = kind < self.kind.out_features - 1
        on = visual[some]
        kind_logits, colour_logits = self.kind(visual), self.colour(on)
        places = self.place(on).view(-1, 6, self.bins)
        target = place[some] / BIN
        low = target.floor().clamp(0, self.bins - 2)
        part = (target - low).clamp(0, 1)
        log = places.log_softmax(-1)
        nll = -(log.gather(-1, low.long()[..., None])[..., 0] * (1 - part))
        nll = nll - log.gather(-1, low.long()[..., None] + 1)[..., 0] * part
        with torch.no_grad():
            guess = _soft_peak(log) * BIN
            error = (guess - place[some]).abs().mean()
        own = self.own(visual).view(*visual.shape[:2], 2, self.grid)
        cell = torch.arange(self.grid**2)
        own_target = torch.stack([cell // self.grid, cell % self.grid], -1).expand(visual.shape[0], -1, -1)
        return {
            "own": functional.cross_entropy(own.flatten(0, 2), own_target.flatten()),
            "kind": functional.cross_entropy(kind_logits.flatten(0, 1), kind.flatten()),
            "colour": _mean(colour_logits, colour[some]),
            "place": nll.mean(),
            "kind_right": (kind_logits[some].argmax(-1) == kind[some]).float().mean(),
            "colour_right": _share_right(colour_logits, colour[some]),
            "place_error_px": error,
        }


def _share_right(logits: Tensor, target: Tensor) -> Tensor:
    return (logits.argmax(-1) == target).sum() / max(1, len(target))


def _mean(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy; 0 where there is no target."""
    return functional.cross_entropy(logits, target, reduction="sum") / max(1, len(target))


def _soft_peak(log: Tensor) -> Tensor:
    """Mean of the two bins around the most likely one, weighted by their probability."""
    peak = log.argmax(-1, keepdim=True).clamp(1, log.shape[-1] - 2)
    around = torch.cat([peak - 1, peak, peak + 1], -1)
    weight = log.gather(-1, around).softmax(-1)
    return (weight * around).sum(-1)


class WordAlignment(nn.Module):
    """Scores visual tokens against the embeddings of words (mean over their tokens), cosine with a learned scale."""

    def __init__(self, words: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.words = [torch.tensor(list(ids)) for ids in words]
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, visual: Tensor, embeddings: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of (T, D) visual tokens lying on things named by word `target` (T,)."""
        words = torch.stack([embeddings[ids].mean(0) for ids in self.words])
        scores = functional.normalize(visual, dim=-1) @ functional.normalize(words, dim=-1).T
        return _mean(scores * self.scale, target)


def dense_targets(
    scenes: Sequence[Mapping[int, Thing]], kinds: Sequence[str], colours: Sequence[str], grid: int, cell: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Kind (B, V), colour (B, V) and place (B, V, 6) for `DenseHeads`.

    Things less than a third visible count as nothing.
    """
    kind = torch.full((len(scenes), grid * grid), len(kinds))
    colour = torch.zeros_like(kind)
    place = torch.zeros(len(scenes), grid * grid, 6)
    for b, scene in enumerate(scenes):
        things = [thing for thing in scene.values() if thing.visible >= 0.34]
        owner = assign_cells(things, grid, cell)
        for n, thing in enumerate(things):
            mine = owner == n
            kind[b, mine] = kinds.index(thing.kind)
            colour[b, mine] = colours.index(thing.colour)
            place[b, mine] = torch.tensor(place_targets(thing), dtype=torch.float)
    return kind, colour, place
