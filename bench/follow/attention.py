"""What memory attention costs at full size: `python -m bench.follow.attention`.

Random weights with the sizes of sam2.1-hiera-tiny (all released models have this memory), 1024 x 1024, seven memories
and sixteen pointers. The graph is exported twice: with all scores written out at once, and ``QUERIES`` places at a time
as it is in bundles. Each runs in a process of its own, on one thread.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Sam2VideoConfig, Sam2VideoModel

from bench.record import record
from export.segmenter_onnx import save_traced, trace
from export.tracker import modules
from export.tracker.graphs import signature
from segzero_ros.backends.onnx.session import open_session
from segzero_ros.backends.sam2_memory import POINTERS, RECENT

SIDE = 64  # of the grid of places


def export(queries: int, file: Path) -> None:
    """Write the graph of the attention with so many places at a time."""
    torch.manual_seed(0)
    config = Sam2VideoConfig()
    config._attn_implementation = "eager"  # noqa: SLF001 - as the exporter takes it
    model = Sam2VideoModel(config).eval()
    with torch.no_grad():
        for weight in model.memory_attention.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    before, modules.QUERIES = modules.QUERIES, queries
    try:
        inputs, outputs, dynamic = signature(model, "memory_attention", torch.float32)
        save_traced(trace(modules.MemoryAttention(model), inputs, outputs, dynamic), file, "float")
    finally:
        modules.QUERIES = before


def run(graph: Path, objects: int, answer: Path) -> dict[str, float]:
    """One step in this process: MB beyond what it held before, CPU seconds; its result goes to ``answer``."""
    session, rng, slots = open_session(graph, threads=1, provider="cpu"), np.random.default_rng(0), RECENT + 1
    fed = {
        "embedding": rng.standard_normal((1, 256, SIDE, SIDE), np.float32),
        "memories": rng.standard_normal((objects, slots, SIDE * SIDE, 64), np.float32),
        "ages": np.tile(np.arange(slots), (objects, 1)),
        "pointers": rng.standard_normal((objects, POINTERS + 1, 256), np.float32),
        "pointer_ages": np.tile(np.arange(POINTERS + 1, dtype=np.float32), (objects, 1)),
    }
    before, cpu = _peak_mb(), time.process_time()
    (seen,) = session.run(None, fed)
    figures = {"mb": round(_peak_mb() - before), "cpu_s": round(time.process_time() - cpu, 2)}
    np.save(answer, seen)
    return figures


def _peak_mb() -> float:
    """The most this process has held; ``getrusage`` would say what its parent held when it was started."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024 / 1e6


def main() -> int:
    """Measure, print and write; with ``--graph`` be the process of one graph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=1, help="default: 1")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--graph", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.graph:
        print(json.dumps(run(options.graph[0], options.objects, options.graph[1])))
        return 0
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        answers = []
        for name, queries in (("at once", SIDE * SIDE), ("in parts", modules.QUERIES)):
            graph, answer = Path(scratch, "attention.onnx"), Path(scratch, f"{name}.npy")
            export(queries, graph)
            this = [sys.executable, "-m", "bench.follow.attention", "--objects", str(options.objects), "--graph"]
            done = subprocess.run([*this, str(graph), str(answer)], check=True, capture_output=True, text=True)
            figures[name] = json.loads(done.stdout) | {"queries": queries}
            answers.append(np.load(answer))
    figures["largest_difference"] = float(np.abs(answers[0] - answers[1]).max())
    print(json.dumps(figures, indent=1))
    if options.out:
        command = ["python", "-m", "bench.follow.attention", "--objects", str(options.objects)]
        made = record("memory attention", command, {"objects": options.objects}, figures)
        options.out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
