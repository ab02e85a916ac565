"""`python -m bench.host.served DIR`: this `segzero serve` and the one of another checkout, the same questions in turn.

Both open this checkout's demo bundle. Of each: ms to the first byte and to the end of a stream, questions a second of
several clients, CPU ms a question of all its processes, and their memory.
"""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.host.border import picture
from bench.record import ROOT
from segzero_ros.backends.decoding.preprocess import resize_to
from segzero_ros.backends.remote.dialect import chat_messages, encode_picture
from segzero_ros.bundle import open_named_bundle
from segzero_ros.cli.parser import Parser, at_least

QUESTIONS = ("the mug left of the yellow ball", "the red cube", "the bowl", "what can I drink from?", "the ball")
LIMIT_S = 60.0
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Contestant:
    """A `segzero serve` of the checkout in ``folder``; ``first_ms``, ``whole_ms``, ``rates``: what was measured."""

    def __init__(self, folder: Path) -> None:
        words = [sys.executable, "-m", "segzero_ros.cli", "serve", "--port", "0", "--threads", "1"]
        words += ["--bundle", str(ROOT / "bundles" / "tabletop")]
        self.process = subprocess.Popen(
            words, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline() if self.process.stdout else ""
        self.port = int(line.rpartition(":")[2].partition("/")[0])
        self.first_ms: list[float] = []
        self.whole_ms: list[float] = []
        self.rates: list[float] = []
        self.cpu_ms: list[float] = []

    def ask(self, body: bytes) -> tuple[float, float]:
        """Ask once; return ms to the first event and to the end."""
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        connection.request("POST", "/v1/chat/completions", body)
        response = connection.getresponse()
        first = response.readline()
        first_ms = 1e3 * (time.perf_counter() - began)
        rest = response.read()
        if response.status != 200 or not rest.endswith(b"data: [DONE]\n\n"):
            raise RuntimeError(f"answered {response.status}: {(first + rest)[:200]!r}")
        connection.close()
        return first_ms, 1e3 * (time.perf_counter() - began)

    def time_one(self, body: bytes) -> None:
        """Ask once, alone."""
        cpu_s = self.cpu_s()
        first, whole = self.ask(body)
        self.first_ms.append(first)
        self.whole_ms.append(whole)
        self.cpu_ms.append(1e3 * (self.cpu_s() - cpu_s))

    def time_together(self, bodies: list[bytes], clients: int) -> None:
        """Ask all of ``bodies`` by ``clients`` at a time."""
        threads = [
            threading.Thread(target=lambda mine=bodies[n::clients]: [self.ask(body) for body in mine])
            for n in range(clients)
        ]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.rates.append(len(bodies) / (time.perf_counter() - began))

    def pids(self) -> list[int]:
        """The server and what it has started."""
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [self.process.pid, *(int(pid) for file in children for pid in file.read_text().split())]

    def cpu_s(self) -> float:
        """Seconds of CPU so far, of all its processes."""
        rows = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.pids()]
        return sum(int(row[11]) + int(row[12]) for row in rows) * TICK_S

    def memory_mb(self) -> list[float]:
        """Proportional set size of each of its processes, the server's first."""
        rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.pids()]
        return [int(text.partition("Pss:")[2].split()[0]) / 1024 for text in rollups]

    def figures(self) -> dict[str, Any]:
        """Medians of what was measured."""
        values: dict[str, list[float]] = {"first_ms": self.first_ms, "whole_ms": self.whole_ms, "per_s": self.rates}
        found = {name: round(float(np.median(value)), 2) for name, value in values.items()}
        return {
            **found,
            "cpu_ms": round(float(np.mean(self.cpu_ms)), 2),
            "memory_mb": [round(one, 1) for one in self.memory_mb()],
        }


def _paired(this: Contestant, other: Contestant) -> dict[str, float]:
    """Medians of the differences, question by question, and of the ratio of the rates, round by round."""
    first, whole = (np.subtract(getattr(this, name), getattr(other, name)) for name in ("first_ms", "whole_ms"))
    rates = np.divide(this.rates, other.rates)
    medians = {"first_ms_more": np.median(first), "whole_ms_more": np.median(whole), "rate_ratio": np.median(rates)}
    return {name: round(float(value), 2) for name, value in medians.items()}


def bodies(count: int) -> list[bytes]:
    """Return the requests: each picture is asked about twice."""
    profile, rgb = open_named_bundle("tabletop").profile, picture()
    made = []
    for number in range(count):
        shifted = np.ascontiguousarray(np.roll(rgb, 4 * (number // 2), axis=1))
        shown = encode_picture(resize_to(shifted, profile.image_size))
        text = profile.render(QUESTIONS[number % len(QUESTIONS)])
        asked = {"messages": chat_messages(profile.system, shown, text), "stream": True}
        made.append(json.dumps(asked).encode())
    return made


def main() -> int:
    """Measure both in turn and print the figures."""
    parser = Parser("python -m bench.host.served", __doc__ or "")
    parser.add_argument("other", type=Path, metavar="DIR", help="the other checkout")
    parser.add_argument("--count", type=at_least(20), default=200, help="questions to each, of either kind (200)")
    parser.add_argument("--rounds", type=at_least(1), default=10, help="in which they take turns (10)")
    parser.add_argument("--clients", type=at_least(1), default=4, help="that ask at a time (4)")
    options = parser.parse_args()
    contestants = {"this": Contestant(ROOT), "other": Contestant(options.other.absolute())}
    asked, order = bodies(options.count), list(contestants.values())
    try:
        for each in contestants.values():
            each.time_together(asked[:8], 2)
            each.rates.clear()
        for number in range(options.rounds):
            some = asked[number * len(asked) // options.rounds : (number + 1) * len(asked) // options.rounds]
            for index, body in enumerate(some):
                for each in order[:: 1 if index % 2 else -1]:
                    each.time_one(body)
            for each in order[:: 1 if number % 2 else -1]:
                each.time_together(some, options.clients)
        print(json.dumps({name: each.figures() for name, each in contestants.items()} | _paired(*order), indent=1))
    finally:
        for each in contestants.values():
            each.process.terminate()
            each.process.wait(LIMIT_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
