"""Fewer bits per weight beside the bundle they were made from: faster? And do they pass the parity check?"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.contestant import Ours
from bench.figures import ratio, spreads
from bench.interleave import Contestant, interleave
from export.checks import to_json
from export.parity_check import check_parity, tabletop_examples
from export.quantise import copy_quantised
from export.queries import EvalQuery
from segzero_ros.backends import EngineOptions, open_pipeline
from segzero_ros.bundle import Bundle

WAYS = {"int8": {"bits": 8, "block": 32}, "int4": {"bits": 4, "block": 32}, "int4_block16": {"bits": 4, "block": 16}}
PARITY_QUESTIONS = 200  # of the validation split; the times are of the test split's


def measure(
    bundle: Bundle, questions: Sequence[EvalQuery], *, threads: int = 0, parity_questions: int = PARITY_QUESTIONS
) -> dict[str, Any]:
    """Time every way beside the parent and check its parity, whether it passes or not."""
    options = EngineOptions(threads=threads)
    with tempfile.TemporaryDirectory(prefix="segzero-quantised-") as folder:
        smaller = {name: copy_quantised(bundle, Path(folder) / name, **how) for name, how in WAYS.items()}
        contestants: dict[str, Contestant] = {"parent": Ours(open_pipeline(bundle, "onnx", options=options))}
        contestants |= {name: Ours(open_pipeline(made, "onnx", options=options)) for name, made in smaller.items()}
        found = interleave(contestants, questions, label="parent, quantised:")
        checks = {
            name: to_json(check_parity(made, bundle, tabletop_examples(parity_questions, seed=3), threads=threads))
            for name, made in smaller.items()
        }
        sizes = {name: made.reasoner.files["decoder"].stat().st_size for name, made in smaller.items()}
    parent = found["parent"]
    return {
        "questions": len(parent),
        "medians": {name: spreads([{**row.ms, **row.counts} for row in rows]) for name, rows in found.items()},
        "times_faster": {
            name: {
                key: ratio([row.ms[key] for row in parent], [row.ms[key] for row in found[name]])
                for key in ("total", "per_token")
            }
            for name in smaller
        },
        "parity": checks,
        "decoder_bytes": {"parent": bundle.reasoner.files["decoder"].stat().st_size, **sizes},
    }
