"""Hosts for the tests, and what they are asked."""

import functools
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segzero_ros.command import Command
from segzero_ros.frame import Frame
from segzero_ros.host.messages import Open
from segzero_ros.host.pipeline import HostPipeline
from segzero_ros.host.process import start_own

LIMIT_S = 60.0
TROUBLE = (sys.executable, "-m", "bench.host.trouble")


def picture(width: int = 64, height: int = 48, *, seed: int = 0) -> Frame:
    return Frame(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8), 7, "camera")


def open_files() -> int:
    """How many file descriptors this process has."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def named_memory() -> set[str]:
    """What lies in the folder of named shared memory, but for that of ROS nodes, which come and go beside the tests."""
    return {path.name for path in Path("/dev", "shm").iterdir() if "fastrtps" not in path.name}


def until(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + LIMIT_S
    while not (value := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.005)
    return value


def ask(pipeline: HostPipeline, words: str, *, seconds: float = 30.0, **options: Any) -> Any:
    deadline_ns = time.monotonic_ns() + int(seconds * 1e9)
    return pipeline.ground(options.pop("frame", picture()), Command("1", words), deadline_ns=deadline_ns, **options)


@pytest.fixture
def make_pipeline() -> Iterator[Callable[..., HostPipeline]]:
    """``make_pipeline(bundle, command)``: a pipeline whose host is a real process; all end with the test."""
    made: list[HostPipeline] = []

    def make(bundle: str = "tabletop", command: tuple[str, ...] = TROUBLE, **options: Any) -> HostPipeline:
        made.append(HostPipeline(functools.partial(start_own, command), Open(bundle, "auto", {}, True), **options))
        return made[-1]

    yield make
    for pipeline in made:
        pipeline.close()


@pytest.fixture
def pipeline(make_pipeline: Callable[..., HostPipeline]) -> HostPipeline:
    """One whose engines are open."""
    made = make_pipeline()
    until(lambda: made.state().phase == "ready", "the engines to open")
    return made
