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

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.demo_models.reasoner.batch import SceneTensors

BIN = 4  # pixels per coordinate bin: two bins per patch row


@dataclass(frozen=True, slots=True)
class Grid:
    """The visual tokens of a square picture: `side` by `side`, `cell` pixels each."""

    side: int
    cell: int

    def at(self, point: Tensor) -> Tensor:
        """Index (...) of the token under points (..., 2) x y in pixels."""
        column, row = (point // self.cell).long().clamp(0, self.side - 1).unbind(-1)
        return row * self.side + column

    def cover(self, box: Tensor, point: Tensor) -> Tensor:
        """(..., V) whether a token is covered by a fifth or more by box (..., 4), or lies under point (..., 2)."""
        edges = torch.arange(self.side, device=box.device) * self.cell
        low, high = box[..., :2, None], box[..., 2:, None]
        part = (torch.minimum(edges + self.cell, high) - torch.maximum(edges, low)).clamp(min=0) / self.cell
        across, down = part.unbind(-2)
        cover = (down[..., :, None] * across[..., None, :] >= 0.2).flatten(-2)
        return cover.scatter(-1, self.at(point)[..., None], True)

    def owners(self, box: Tensor, point: Tensor, there: Tensor, margin: float = 0.15) -> Tensor:
        """(B, V) index of the thing each token belongs to, -1 for none, of things (B, K, ...); `there` (B, K) bool.

        A token belongs to the thing whose slightly enlarged box holds the token's centre; among several, to the one
        with the nearest point. The token under a thing's point always belongs to it.
        """
        centre = (torch.arange(self.side, device=box.device) + 0.5) * self.cell
        y, x = (axis.flatten() for axis in torch.meshgrid(centre, centre, indexing="ij"))
        x0, y0, x1, y1 = box[..., None].unbind(-2)
        mx, my = margin * (x1 - x0) + 3, margin * (y1 - y0) + 3
        inside = (x >= x0 - mx) & (x < x1 + mx) & (y >= y0 - my) & (y < y1 + my) & there[..., None]
        squared = (x - point[..., :1]) ** 2 + (y - point[..., 1:]) ** 2
        nearest, owner = torch.where(inside, squared, torch.inf).min(1)
        owner = torch.where(nearest < torch.inf, owner, -1)
        under = self.at(point)
        for n in range(box.shape[1]):
            owner = torch.where(there[:, n, None], owner.scatter(1, under[:, n, None], n), owner)
        return owner


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
            error = _average((guess - place[some]).abs())
        own = self.own(visual).view(*visual.shape[:2], 2, self.grid)
        cell = torch.arange(self.grid**2, device=visual.device)
        own_target = torch.stack([cell // self.grid, cell % self.grid], -1).expand(visual.shape[0], -1, -1)
        return {
            "own": functional.cross_entropy(own.flatten(0, 2), own_target.flatten()),
            "kind": functional.cross_entropy(kind_logits.flatten(0, 1), kind.flatten()),
            "colour": _mean(colour_logits, colour[some]),
            "place": _average(nll),
            "kind_right": _share_right(kind_logits[some], kind[some]),
            "colour_right": _share_right(colour_logits, colour[some]),
            "place_error_px": error,
        }


def _average(values: Tensor) -> Tensor:
    """The mean; 0 where there are none: in no picture of a batch need a thing be seen."""
    return values.sum() / max(1, values.numel())


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
        longest = max(map(len, words))
        rows = [[*ids, *[0] * (longest - len(ids))] for ids in words]
        share = [[1 / len(ids)] * len(ids) + [0.0] * (longest - len(ids)) for ids in words]
        self.register_buffer("ids", torch.tensor(rows), persistent=False)
        self.register_buffer("share", torch.tensor(share)[..., None], persistent=False)
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, visual: Tensor, embeddings: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of (T, D) visual tokens lying on things named by word `target` (T,)."""
        words = (functional.embedding(self.ids, embeddings) * self.share).sum(1)
        scores = functional.normalize(visual, dim=-1) @ functional.normalize(words, dim=-1).T
        return _mean(scores * self.scale, target)


def dense_targets(things: SceneTensors, kinds: int, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """Kind (B, V), `kinds` for nothing, colour (B, V) and place (B, V, 6) for `DenseHeads`.

    Things less than a third visible count as nothing.
    """
    owner = grid.owners(things.box, things.point, things.visible >= 0.34)
    on, which = owner >= 0, owner.clamp(min=0)
    kind = torch.where(on, things.kind.gather(1, which), kinds)
    colour = torch.where(on, things.colour.gather(1, which), 0)
    places = torch.cat([things.box, things.point], -1).float()  # the box's x0 y0 x1 y1, the point's x y
    place = places.gather(1, which[..., None].expand(-1, -1, 6)) * on[..., None]
    return kind, colour, place
