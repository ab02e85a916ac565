"""Real nodes over real DDS: answers and diagnostics while engines open; memory of nodes that share a host or do not."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.host.border import COMMAND, picture, wait_until_ready
from segzero_ros.errors import Code
from segzero_ros.frame import Frame
from segzero_ros.host.pipeline import HostPipeline
from segzero_ros.host.process import connect
from segzero_ros.ros import processes

STARTED_S = 60.0
FAIR_S = 5.0


def while_loading(seconds: float) -> dict[str, Any]:
    """Send a command every 100 ms to a node whose engines take ``seconds`` to open; ms until each answer."""
    from segzero_ros.ros.client import Client

    with _running([sys.executable, "-m", "bench.host.slow_node", str(seconds)]):
        client = Client()
        client.wait_for_node(STARTED_S)
        until, times, codes, heard = time.monotonic() + 0.8 * seconds, [], set(), []
        from diagnostic_msgs.msg import DiagnosticArray

        client._node.create_subscription(DiagnosticArray, "/diagnostics", lambda _: heard.append(time.monotonic()), 10)  # noqa: SLF001
        while time.monotonic() < until:
            began = time.monotonic()
            codes.add(Code(client.publish_command("the mug", timeout_s=10).code).name)
            times.append((time.monotonic() - began) * 1e3)
            client.wait(lambda: False, 0.1)
        client.close()
    gaps = np.diff(heard)
    return {
        "loading_s": seconds,
        "commands": len(times),
        "codes": sorted(codes),
        "answer_ms": {f"p{p}": round(float(np.percentile(times, p)), 1) for p in (50, 99)},
        "diagnostics_gap_s": {"median": round(float(np.median(gaps)), 2), "max": round(float(gaps.max()), 2)},
    }


def memory(count: int) -> dict[str, Any]:
    """Return PSS in MB of ``count`` nodes that share a host, and of as many that have one each; demo bundle."""
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/host.sock"
        host = [sys.executable, "-m", "segzero_ros.cli", "host", "--socket", socket]
        with contextlib.ExitStack() as stack:
            engines = stack.enter_context(_running(host))
            _wait(lambda: Path(socket).exists())
            nodes = [stack.enter_context(_running(_node(number, host=socket))) for number in range(count)]
            _settle([engines, *nodes], 1)
            shared = {"host": _pss(engines), "nodes": [_pss(node) for node in nodes], "rss_of_a_node": _rss(nodes[0])}
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(_running(_node(number))) for number in range(count)]
        _settle(nodes, 2)
        apart = [_pss(node) for node in nodes]
    return {
        "nodes": count,
        "shared_mb": round(shared["host"] + sum(shared["nodes"])),
        "apart_mb": round(sum(apart)),
        "host_mb": round(shared["host"]),
        "node_mb": round(float(np.mean(shared["nodes"]))),
        "node_rss_mb": round(shared["rss_of_a_node"]),
    }


def turns(count: int) -> dict[str, Any]:
    """Let ``count`` clients ask one host without pause; answers of each, and the longest wait of any."""
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder, "host.sock")
        words = [sys.executable, "-m", "segzero_ros.cli", "host", "--socket", str(socket)]
        with _running(words):
            _wait(socket.exists)
            clients = [HostPipeline(lambda: connect(socket), None) for _ in range(count)]
            for client in clients:
                wait_until_ready(client)
            waits: list[list[float]] = [[] for _ in clients]
            until = time.monotonic() + FAIR_S
            threads = [
                threading.Thread(target=_keep_asking, args=(*pair, until)) for pair in zip(clients, waits, strict=True)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for client in clients:
                client.close()
    return {
        "clients": count,
        "answers": [len(own) for own in waits],
        "longest_wait_ms": round(1e3 * max(map(max, waits))),
    }


def _keep_asking(client: HostPipeline, waits: list[float], until: float) -> None:
    rgb = picture()
    while time.monotonic() < until:
        began = time.monotonic()
        if client.ground(Frame(rgb, 0), COMMAND).code is Code.OK:
            waits.append(time.monotonic() - began)


def _node(number: int, **parameters: str) -> list[str]:
    return processes.node(namespace=f"bench{number}", **parameters).command_line()


@contextlib.contextmanager
def _running(words: list[str]) -> Iterator[int]:
    """Run a program and yield its process id; end it with SIGINT."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(condition: Any) -> None:
    until = time.monotonic() + STARTED_S
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError("it did not start")
        time.sleep(0.05)


def _settle(pids: list[int], processes_each: int) -> None:
    """Wait until nodes and engines are open and their memory does not grow any more."""
    _wait(lambda: all(len(_family(pid)) >= processes_each for pid in pids))
    before, until = 0.0, time.monotonic() + STARTED_S
    while time.monotonic() < until:
        time.sleep(4)
        now = sum(map(_pss, pids))
        if now < 1.005 * before:
            return
        before = now


def _family(pid: int) -> list[int]:
    """Return the process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    threads = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
    for thread in threads:
        if thread != pid:
            children += Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def _pss(pid: int) -> float:
    """Return the proportional memory of a process and those below it, MB."""
    return sum(_rollup(one, "Pss:") for one in _family(pid))


def _rss(pid: int) -> float:
    return _rollup(pid, "Rss:")


def _rollup(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
