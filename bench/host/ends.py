"""Hosts that are killed at random instants, and hosts that hang: one answer each, how soon the next, what is left."""

import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from bench.host.border import COMMAND, hosted, picture, wait_until_ready
from segzero_ros.command import Command
from segzero_ros.errors import Code
from segzero_ros.frame import Frame
from segzero_ros.host.pipeline import HostPipeline

TROUBLE = (sys.executable, "-m", "bench.host.trouble")
TIMEOUT_S = 30.0
HANG_S = 0.3  # the deadline of a command whose engine hangs


def kills(count: int, within_s: float = 0.08) -> dict[str, Any]:
    """Kill the demo bundle's host ``count`` times at a random instant up to ``within_s`` after a command was begun."""
    rng, pipeline, rgb = np.random.default_rng(0), hosted(), picture()
    codes, next_s, zombies = Counter[str](), [], 0
    _ask(pipeline, rgb, COMMAND)
    files = _open_files()
    for _ in range(count):
        wait_until_ready(pipeline)
        pid, killed = pipeline.state().pid, list[float]()
        killer = threading.Timer(rng.uniform(0, within_s), _kill, (pid, killed))
        killer.start()
        codes[_ask(pipeline, rgb, COMMAND).name] += 1
        killer.join()
        while _ask(pipeline, rgb, COMMAND) is not Code.OK:
            time.sleep(0.005)
        next_s.append(time.monotonic() - killed[0])
        zombies += Path(f"/proc/{pid}").exists()
    left = _open_files() - files
    pipeline.close()
    return {
        "kills": count,
        "answers": sum(codes.values()),
        "codes": dict(codes),
        "next_answer_s": _spread(next_s),
        "processes_left": zombies,
        "files_left": left,
        "named_shared_memory_left": len(list(Path("/dev", "shm").glob("*segzero*"))),
    }


def hangs(count: int) -> dict[str, Any]:
    """Let an engine hang ``count`` times, every second time with Python's lock held."""
    pipeline, rgb = hosted("auto", TROUBLE), picture()
    ended_s, next_s, codes = [], [], Counter[str]()
    for number in range(count):
        wait_until_ready(pipeline)
        words = ("hang", "hold")[number % 2]
        began = time.monotonic()
        codes[_ask(pipeline, rgb, Command("bench", words), HANG_S).name] += 1
        ended_s.append(time.monotonic() - began - HANG_S)
        while _ask(pipeline, rgb, COMMAND) is not Code.OK:
            time.sleep(0.005)
        next_s.append(time.monotonic() - began - HANG_S)
    restarts = pipeline.state().restarts
    pipeline.close()
    return {
        "hangs": count,
        "codes": dict(codes),
        "restarts": restarts,
        "ended_after_deadline_s": _spread(ended_s),
        "next_answer_after_deadline_s": _spread(next_s),
    }


def _ask(pipeline: HostPipeline, rgb: np.ndarray[Any, Any], command: Command, timeout_s: float = TIMEOUT_S) -> Code:
    deadline_ns = time.monotonic_ns() + int(timeout_s * 1e9)
    return pipeline.ground(Frame(rgb, 0), command, deadline_ns=deadline_ns).code


def _kill(pid: int, when: list[float]) -> None:
    when.append(time.monotonic())
    os.kill(pid, signal.SIGKILL)


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _spread(values: list[float]) -> dict[str, float]:
    median, p95, most = np.percentile(values, (50, 95, 100))
    return {"median": round(float(median), 3), "p95": round(float(p95), 3), "max": round(float(most), 3)}
