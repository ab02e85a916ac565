"""`python -m bench.recording`: what the flight recorder costs, and whether what it recorded can be had again.

Two nodes with the same bundle, one of which records (``record: all``); each question of the demo world is asked of
both in turn, with a 30 Hz camera for the one whose turn it is. Then the recording is replayed.
"""

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.figures import ratio, spread
from bench.node import PATIENCE_S, cpu_seconds, ros
from bench.record import RESULTS, device_slug, record, write
from export.queries import EvalQuery, tabletop_questions
from segzero_ros.cli.parser import Parser, at_least
from segzero_ros.demo.process_group import ProcessGroup
from segzero_ros.recorder.commands import read_commands
from segzero_ros.recorder.reader import open_recording
from segzero_ros.recorder.store import recordings
from segzero_ros.replay.command import Engines
from segzero_ros.replay.compare import replay
from segzero_ros.ros import processes

HZ = 30
LEAD_S = 0.3  # pictures before a command: a ring that is filled, a frame that is fresh
NAMES = ("without", "with")
WARMUP = 3


def main() -> int:
    """Measure, print, write the figures."""
    parser = Parser("python -m bench.recording", __doc__ or "")
    parser.add_argument("--count", type=at_least(5), default=60, help="questions (60)")
    parser.add_argument("--seed", type=at_least(0), default=7)
    parser.add_argument("--mode", choices=("failures", "all"), default="all", help="what the one that records does")
    parser.add_argument("--backend", default="auto", help="fake: what recording adds in ms")
    parser.add_argument("--out", type=Path, default=RESULTS / device_slug() / "recording.json")
    options = parser.parse_args()
    questions = tabletop_questions(options.count + WARMUP, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(questions, Path(folder), options.mode, options.backend)
        figures["replay"] = replay_all(Path(folder))
    print(json.dumps(figures, indent=2))
    settings = {name: getattr(options, name) for name in ("count", "seed", "mode", "backend")}
    command = ("python", "-m", "bench.recording", *(f"--{name} {value}" for name, value in settings.items()))
    write(record("recording", command, {**settings, "hz": HZ}, figures), options.out)
    return 0


def measure(questions: Sequence[EvalQuery], folder: Path, mode: str, backend: str) -> dict[str, Any]:
    """Return the ms from command to mask of both nodes, and the CPU time that recording takes."""
    took: dict[str, list[float]] = {name: [] for name in NAMES}
    with ros() as rclpy, ProcessGroup(folder) as children:
        given = {"without": {}, "with": {"record": mode, "record_dir": str(folder)}}
        given = {name: {"backend": backend, **parameters} for name, parameters in given.items()}
        started = {
            name: children.start(name, processes.node(namespace=name, **given[name]).command_line(), os.environ)
            for name in NAMES
        }
        robots = {name: _Robot(rclpy, name) for name in NAMES}
        for name in NAMES:
            robots[name].wait_until_answering(questions[0], children.check)
        before = {name: cpu_seconds(started[name].process.pid) for name in NAMES}
        for number, question in enumerate(questions):
            for name in NAMES[:: 1 if number % 2 else -1]:
                ms = robots[name].ask(question)
                if number >= WARMUP:
                    took[name].append(ms)
        used = {name: cpu_seconds(started[name].process.pid) - before[name] for name in NAMES}
    return {
        "command_to_mask_ms": {name: spread(values) for name, values in took.items()},
        "with_to_without": ratio(took["with"], took["without"]),
        "cpu_s_of_the_nodes_process": {name: round(value, 2) for name, value in used.items()},
    }


def replay_all(folder: Path) -> dict[str, Any]:
    """Ask everything that was recorded again."""
    engines, counts, changes = Engines(), Counter[str](), []
    size = 0
    for path in recordings(folder):
        size += path.stat().st_size
        for recorded in read_commands(open_recording(path)):
            verdict = replay(recorded, engines.of(recorded.about))
            counts[verdict.kind] += 1
            changes += verdict.changes if verdict.kind == "different" else ()
    return {**counts, "changes": changes[:20], "bytes": size}


class _Robot:
    """One node's camera and client."""

    def __init__(self, rclpy: Any, namespace: str) -> None:
        from rclpy.executors import SingleThreadedExecutor
        from segzero_ros.msg import Segmentation
        from sensor_msgs.msg import Image
        from std_msgs.msg import String

        from segzero_ros.ros.qos import topic_qos

        self._node = rclpy.create_node("bench_client", namespace=namespace)
        self._images = self._node.create_publisher(Image, "image", topic_qos("image", "reliable"))
        self._commands = self._node.create_publisher(String, "command", topic_qos("command"))
        self.answers: list[Any] = []
        self._node.create_subscription(Segmentation, "segmentation", self.answers.append, topic_qos("segmentation"))
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._next_s = 0.0

    def wait_until_answering(self, question: EvalQuery, check: Any) -> None:
        """Ask until there is an answer that is none of a node still opening its engines."""
        end = time.monotonic() + PATIENCE_S
        while not (self.answers and self.answers[-1].code in (0, 1)):
            check()
            if time.monotonic() > end:
                raise TimeoutError("a node does not answer; see its log")
            self._film(question, lambda: False, 1.0)
            if self._commands.get_subscription_count():
                self.ask(question)

    def ask(self, question: EvalQuery) -> float:
        """Show the picture as a camera does, say the command; return the ms until the answer with the mask is here."""
        from std_msgs.msg import String

        self._film(question, lambda: False, LEAD_S)
        count = len(self.answers)
        start = time.perf_counter()
        self._commands.publish(String(data=question.command.text))
        self._film(question, lambda: len(self.answers) > count, PATIENCE_S)
        return (time.perf_counter() - start) * 1e3

    def _film(self, question: EvalQuery, done: Any, seconds: float) -> None:
        """Publish the picture HZ times a second until ``done()``, or for so long."""
        from std_msgs.msg import Header

        from segzero_ros.ros.convert import image_message

        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            if time.monotonic() >= self._next_s:
                self._next_s = time.monotonic() + 1 / HZ
                header = Header(frame_id="camera", stamp=self._node.get_clock().now().to_msg())
                self._images.publish(image_message(header, question.frame.rgb, "rgb8"))
            self._executor.spin_once(timeout_sec=0.002)


if __name__ == "__main__":
    sys.exit(main())
