"""The cost of the process border: the same command on the same picture, in this process and of a host, in turn."""

import functools
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np

from bench.record import ROOT
from segzero_ros.backends import DEFAULTS, open_pipeline
from segzero_ros.bundle import open_named_bundle
from segzero_ros.command import Command
from segzero_ros.frame import Frame
from segzero_ros.host.messages import Open
from segzero_ros.host.pipeline import HostPipeline
from segzero_ros.host.process import command_line, start_own
from segzero_ros.pipeline import Segmentation

COMMAND = Command("bench", "the mug left of the yellow ball")
OPEN_S = 120.0
SIZE = (1280, 720)


def picture() -> np.ndarray[Any, Any]:
    """Return the shipped picture at 720p, RGB."""
    bgr = cv2.imread(str(ROOT / "docs" / "images" / "table.jpg"))
    return np.ascontiguousarray(cv2.resize(bgr, SIZE)[:, :, ::-1])


def hosted(backend: str = "auto", command: tuple[str, ...] = (), bundle: str = "tabletop") -> HostPipeline:
    """Return a pipeline whose engines are in a process of their own, and open."""
    start = functools.partial(start_own, command or command_line(sys.executable))
    pipeline = HostPipeline(start, Open(bundle, backend, asdict(DEFAULTS) if not command else {}, True))
    wait_until_ready(pipeline)
    return pipeline


def wait_until_ready(pipeline: HostPipeline) -> None:
    """Wait until the engines are open; RuntimeError where they do not open."""
    until = time.monotonic() + OPEN_S
    while pipeline.state().phase != "ready":
        if time.monotonic() > until or pipeline.state().phase == "failed":
            raise RuntimeError(f"the engines do not open: {pipeline.state()}")
        time.sleep(0.002)


def measure(backend: str, count: int) -> dict[str, Any]:
    """Return ms with and without the border, median of the paired differences and its 95 % interval.

    "warm": the picture was prefilled before the command, as with `warm_frame_hz`.
    """
    here = open_pipeline(None if backend == "fake" else open_named_bundle("tabletop"), backend)
    there = hosted(backend)
    rgb = picture()
    try:
        cold = _paired(lambda pipeline: _ask(pipeline, Frame(rgb.copy(), 0)), here, there, count)
        warm = _paired(lambda pipeline: _ask_warm(pipeline, Frame(rgb.copy(), 0)), here, there, count)
    finally:
        there.close()
    return {"per_command": cold, "warm": warm}


def _ask(pipeline: Any, frame: Frame) -> float:
    began = time.perf_counter()
    result: Segmentation = pipeline.ground(frame, COMMAND)
    if not result.instances:
        raise RuntimeError(f"no answer: {result.code.name} {result.detail}")
    return (time.perf_counter() - began) * 1e3


def _ask_warm(pipeline: Any, frame: Frame) -> float:
    pipeline.prefill_image(frame)
    return _ask(pipeline, frame)


def _paired(ask: Callable[[Any], float], here: Any, there: Any, count: int) -> dict[str, float]:
    found = []
    for number in range(count + 3):
        first, second = (here, there) if number % 2 else (there, here)
        times = {first: ask(first), second: ask(second)}
        if number >= 3:
            found.append((times[here], times[there]))
    pairs = np.array(found)
    differences = pairs[:, 1] - pairs[:, 0]
    rng = np.random.default_rng(0)
    medians = [np.median(rng.choice(differences, len(differences))) for _ in range(2000)]
    low, high = np.percentile(medians, (2.5, 97.5))
    in_process, process = np.median(pairs, axis=0)
    return {
        "in_process_ms": round(float(in_process), 2),
        "process_ms": round(float(process), 2),
        "difference_ms": round(float(np.median(differences)), 2),
        "low_ms": round(float(low), 2),
        "high_ms": round(float(high), 2),
        "count": count,
    }
