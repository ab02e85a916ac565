"""The stage table: where a command's time goes, through worker and pipeline as on the robot."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from bench import node
from bench.contestant import Ours
from bench.figures import spreads
from export.queries import EvalQuery
from segzero_ros.backends import EngineOptions, open_pipeline
from segzero_ros.bundle import Bundle
from segzero_ros.cli.output import format_table
from segzero_ros.pipeline import Segmentation
from segzero_ros.worker import Job, Worker

WARMUP = 3
PATIENCE_S = 600.0  # a command of a 7B model on a CPU
# In the order of the data, with what each means.
STAGES: Mapping[str, str] = {
    "queue": "from the command's arrival to its start",
    "vision": "picture to visual tokens",
    "prefill": "image tokens and question into the cache",
    "first_token": "from the reasoner's start to its first text",
    "per_token": "decoding, per token said",
    "decode": "all of the decoding",
    "encode": "SAM 2's encoder, waiting for it included",
    "mask_decode": "SAM 2's decoder and the masks at the picture's size",
    "publish": "messages made and published",
    "total": "command to masks",
}


def measure(
    bundle: Bundle | None,
    questions: Sequence[EvalQuery],
    *,
    backend: str = "auto",
    options: EngineOptions | None = None,
) -> dict[str, Any]:
    """Ask all questions, one after the other, and return ``spread`` per stage in ms; the first WARMUP do not count."""
    pipeline = open_pipeline(bundle, backend, options=options or EngineOptions())
    ours = Ours(pipeline)
    rows, results = [], []
    worker = Worker(pipeline)
    try:
        for question in questions:
            result = _ask(worker, question)
            rows.append(ours.measured(result, result.timing.total_ms))
            results.append(result)
    finally:
        worker.stop()
    kept = [{**row.ms, **row.counts} for row in rows[WARMUP:]]
    figures = spreads(kept)
    publishing, why = publish_ms(results[WARMUP:])
    if publishing:
        figures["publish"] = spreads([{"publish": ms} for ms in publishing])["publish"]
    codes = [row.code for row in rows[WARMUP:]]
    return {
        "engines": pipeline.engines,
        "questions": len(kept),
        "codes": {code: codes.count(code) for code in sorted(set(codes))},
        "ms": figures,
        **({"publish_not_measured": why} if why else {}),
    }


def publish_ms(results: Sequence[Segmentation]) -> tuple[list[float], str]:
    """Return the ms to publish each result by the real node, or why that cannot be measured here."""
    why = node.available()
    if why:
        return [], why
    with node.ros() as rclpy:
        return node.spread_of_publishing(rclpy, results), ""


def table(figures: Mapping[str, Any]) -> str:
    """Lay the stage table out for a terminal."""
    rows = []
    for stage, what in STAGES.items():
        values = figures["ms"].get(stage)
        rows.append([stage, *(f"{values[key]:.2f}" if values else "-" for key in ("p50", "p95")), what])
    lines = [format_table(["stage", "p50 ms", "p95 ms", "what"], rows, right=[1, 2])]
    tokens, steps = figures["ms"].get("tokens"), figures["ms"].get("steps")
    if tokens and steps:
        lines.append(f"{tokens['p50']:.0f} tokens in {steps['p50']:.0f} steps of the decoder (medians)")
    if "publish_not_measured" in figures:
        lines.append(f"publish: {figures['publish_not_measured']}")
    return "\n".join([figures["engines"], *lines])


def _ask(worker: Worker, question: EvalQuery) -> Segmentation:
    done = threading.Event()
    job = Job(question.command, question.frame, on_done=lambda _: done.set())
    worker.submit(job)
    if not done.wait(PATIENCE_S) or job.result is None:
        raise TimeoutError(f"waited {PATIENCE_S:.0f} s in vain for an answer to {question.command.text!r}")
    return job.result
