"""Each lever on and off in one run, interleaved: what it buys, on the demo bundle or any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.contestant import Ours
from bench.figures import ratio, spreads
from bench.interleave import Measured, interleave
from export.queries import EvalQuery
from segzero_ros.backends import EngineOptions, open_pipeline
from segzero_ros.bundle import Bundle
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Pipeline

DRAFT_TOKENS = 3  # a pass of two to four rows costs hardly more than one of one
TIGHT_BUDGET = 8  # thinking tokens


def measure(
    bundle: Bundle, questions: Sequence[EvalQuery], *, threads: int = 0, backend: str = "auto"
) -> dict[str, Any]:
    """Ask every variant every question; return medians, and per lever how much it saves."""
    base = EngineOptions(threads=threads)

    def ours(before: Callable[[Pipeline, Frame], None] | None = None, budget: int = 256, **changed: Any) -> Ours:
        return Ours(open_pipeline(bundle, backend, budget=budget, options=replace(base, **changed)), before)

    variants = {
        "default": ours(),
        "warm_frame": ours(warm),
        "free_answers": ours(constrained=False),
        f"speculate_{DRAFT_TOKENS}": ours(draft_tokens=DRAFT_TOKENS),
        "one_thread": ours(threads=1),
        "two_threads": ours(threads=2),
        f"budget_{TIGHT_BUDGET}": ours(budget=TIGHT_BUDGET),
    }
    return compared(interleave(variants, questions, label="levers:"))


def warm(pipeline: Pipeline, frame: Frame) -> None:
    """Encode a frame before anybody has spoken, as the node does with ``warm_frame``."""
    pipeline.prefill_image(frame)


def compared(found: Mapping[str, Sequence[Measured]]) -> dict[str, Any]:
    """Return each variant's medians and what each lever is worth against doing without it."""
    default, free = found["default"], found["free_answers"]
    fast = next(name for name in found if name.startswith("speculate_"))
    tight = next(name for name in found if name.startswith("budget_"))
    levers = {
        "warm_frame": {
            "first_token": _times(default, found["warm_frame"], "first_token"),
            "command_to_mask": _times(default, found["warm_frame"], "total"),
            "cpu_time": _times(default, found["warm_frame"], "cpu"),
        },
        "constrained": {
            "steps_per_reply": _times(free, default, "steps"),
            "steps_per_answer": _times(free, default, "answer_steps"),
            "command_to_mask": _times(free, default, "total"),
            "cpu_time": _times(free, default, "cpu"),
            "readable": [_readable(free), _readable(default)],
        },
        "speculate": {
            "steps_per_reply": _times(default, found[fast], "steps"),
            "command_to_mask": _times(default, found[fast], "total"),
            "cpu_time": _times(default, found[fast], "cpu"),
            "same_text": float(np.mean([a.text == b.text for a, b in zip(default, found[fast], strict=True)])),
        },
        "one_thread": {"command_to_mask": _times(default, found["one_thread"], "total")},
        "two_threads": {"command_to_mask": _times(default, found["two_threads"], "total")},
        tight: {"command_to_mask": _times(default, found[tight], "total"), "readable": _readable(found[tight])},
    }
    medians = {name: spreads([{**row.ms, **row.counts} for row in rows]) for name, rows in found.items()}
    return {"questions": len(default), "medians": medians, "levers": levers}


def _readable(rows: Sequence[Measured]) -> float:
    return round(float(np.mean([row.code in ("OK", "NO_TARGET") for row in rows])), 4)


def _times(without: Sequence[Measured], having: Sequence[Measured], key: str) -> dict[str, float]:
    """Return how many times less ``key`` is with the lever; only where both sides have it."""
    pairs = [
        (a[key], b[key])
        for a, b in (({**x.ms, **x.counts}, {**y.ms, **y.counts}) for x, y in zip(without, having, strict=True))
        if key in a and key in b
    ]
    return ratio([one for one, _ in pairs], [other for _, other in pairs]) if pairs else {}
