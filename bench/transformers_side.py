"""Side by side with transformers, in one run: how many times slower from command to mask, and whether texts agree."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.contestant import Ours
from bench.figures import ratio, spreads
from bench.interleave import Contestant, Measured, interleave
from bench.reference import PapersWay, models_of
from export.queries import EvalQuery
from segzero_ros.backends import EngineOptions, open_pipeline
from segzero_ros.bundle import Bundle

WARMUP = 4


def measure(
    bundle: Bundle,
    questions: Sequence[EvalQuery],
    *,
    threads: int = 0,
    backend: str = "auto",
    compiled: bool = True,
    reasoner: Path | None = None,
    segmenter: Path | None = None,
) -> dict[str, Any]:
    """Ask ours and theirs the same questions, interleaved; return medians, ratios and how often the texts agree.

    ``threads``: of both sides' engines, 0 = each side's own choice. ``reasoner``, ``segmenter``: checkpoints with the
    bundle's weights; without them the bundle's graphs are turned back into models. The first WARMUP questions do not
    count, nor does compiling: the compiled contestant has answered every question once before.
    """
    if threads:
        torch.set_num_threads(threads)
    contestants: dict[str, Contestant] = {
        "ours": Ours(open_pipeline(bundle, backend, options=EngineOptions(threads=threads))),
        "eager": PapersWay(bundle, models_of(bundle, reasoner, segmenter)),
    }
    compiling = {}
    if compiled:
        theirs = PapersWay(bundle, models_of(bundle, reasoner, segmenter), compiled=True)
        start = time.perf_counter()
        for question in questions:  # every shape once: a shape not met before makes it compile again
            theirs(question)
        compiling["compile_s"] = round(time.perf_counter() - start, 1)
        contestants["compiled"] = theirs
    found = interleave(contestants, questions, warmup=WARMUP, label="ours, theirs:")
    settings = {"torch_threads": torch.get_num_threads(), "ours_threads": threads}
    return {**settings, **compiling, **compared(found)}


def compared(found: Mapping[str, Sequence[Measured]]) -> dict[str, Any]:
    """Return each contestant's medians, and against ours the ratios and the share of equal texts."""
    ours = found["ours"]
    against = {
        name: {
            "command_to_mask": ratio(_ms(theirs, "total"), _ms(ours, "total")),
            "cpu_time": ratio(_ms(theirs, "cpu"), _ms(ours, "cpu")),
            "reasoning": ratio(_ms(theirs, "reasoning"), _ms(ours, "reasoning")),
            "same_text": round(float(np.mean([_same(a, b) for a, b in zip(ours, theirs, strict=True)])), 4),
        }
        for name, theirs in found.items()
        if name != "ours"
    }
    return {
        "questions": len(ours),
        "medians": {name: spreads([{**row.ms, **row.counts} for row in rows]) for name, rows in found.items()},
        "times_slower": against,
        "total_ms": {name: [round(row.ms["total"], 2) for row in rows] for name, rows in found.items()},
    }


def _same(ours: Measured, theirs: Measured) -> bool:
    """Whether the texts are equal up to the answer's end, where ours stops."""
    end = theirs.text.find("</answer>")
    return ours.text == (theirs.text if end < 0 else theirs.text[: end + len("</answer>")])


def _ms(rows: Sequence[Measured], stage: str) -> list[float]:
    return [row.ms[stage] for row in rows]
