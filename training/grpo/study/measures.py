"""What the study reports: who was right, whose thinking named what, and differences with their intervals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.things import COLOURS, KINDS

Values = NDArray[np.float64]

RESAMPLES = 2000
_NAME = re.compile(rf"\b({'|'.join(COLOURS)}) ({'|'.join(KINDS)}) ?\((\d+),(\d+)\)")
_NEAR = 4  # pixels that a position may lie beside a thing's box and still be its own


def thinking_of(text: str) -> str:
    """What stands between the thinking's tags; "" where there is none."""
    return text.partition("<think>")[2].partition("</think>")[0].strip()


def named_things(thinking: str, things: Sequence[Mapping[str, Any]], size: int) -> set[int]:
    """Ids of the things that a thinking names rightly: colour, kind and a position on (or within 4 pixels of) them.

    `things`: a scene's objects as in scenes.jsonl, boxes as shares of the picture; `size`: its side in pixels.
    """
    found = set()
    for colour, kind, x, y in _NAME.findall(thinking):
        for thing in things:
            x0, y0, x1, y1 = (value * size for value in thing["box"])
            there = x0 - _NEAR <= int(x) <= x1 + _NEAR and y0 - _NEAR <= int(y) <= y1 + _NEAR
            if there and (thing["colour"], thing["kind"]) == (colour, kind):
                found.add(thing["id"])
    return found


def candidates(targets: Sequence[int], things: Sequence[Mapping[str, Any]]) -> set[int]:
    """Ids of the things that could be mistaken for a target: those of its kind, targets included."""
    kinds = {thing["kind"] for thing in things if thing["id"] in targets}
    return {thing["id"] for thing in things if thing["kind"] in kinds}


def paired_interval(first: Values, second: Values) -> dict[str, float]:
    """Mean of `second - first` with its 95 % interval, both (seeds, questions) of the same questions.

    Questions and seeds are drawn anew, each with replacement, the same ones for both arms; an arm without seeds of its
    own (the base) is given once per seed. With two seeds their spread is hardly known: the interval is about questions.
    """
    if first.shape != second.shape:
        raise ValueError(f"got {first.shape} and {second.shape}, want the same seeds and questions of both arms")
    difference = second - first
    seeds, questions = difference.shape
    rng = np.random.default_rng(questions)
    weights = rng.multinomial(questions, np.full(questions, 1 / questions), size=RESAMPLES)
    by_seed = difference @ weights.T / questions  # (seeds, resamples)
    drawn = rng.integers(seeds, size=(seeds, RESAMPLES))
    means = by_seed[drawn, np.arange(RESAMPLES)].mean(0)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"value": round(float(difference.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def shuffled(thinking: str, rng: np.random.Generator) -> str:
    """The words of a thinking in another order."""
    words = thinking.split()
    return " ".join(words[int(n)] for n in rng.permutation(len(words)))


def swapped(thinkings: Sequence[str]) -> list[str]:
    """Each question's thinking is that of another one, half the list away."""
    half = len(thinkings) // 2
    return [*thinkings[half:], *thinkings[:half]]
