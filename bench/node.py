"""What ROS costs beside the models: a 720p frame from message to published answer, and a camera alone.

The real node over rclpy, with engines that answer at once, so that all the time is the node's own. Beside it what
people write by hand: the picture through NumPy as cv_bridge does it, the masks assigned to the message's field.
"""

from __future__ import annotations

import array
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.figures import ratio, spread
from segzero_ros.answer import Target
from segzero_ros.backends.fake import PROFILE, centre_answer
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from segzero_ros.reasoner import Answer, Request
from segzero_ros.segmenter import Masks

SIZE = (1280, 720)
PIECES = 60  # an answer's tokens, each of them streamed
PATIENCE_S = 60.0


class InstantReasoner:
    """Answers in PIECES pieces without any work in between."""

    def __init__(self, text: str) -> None:
        step = -(-len(text) // PIECES)
        self._pieces = [text[at : at + step] for at in range(0, len(text), step)]

    def reason(self, request: Request) -> Answer:
        """Answer; see ``Reasoner``."""
        for piece in self._pieces:
            request.on_text(piece)
        return Answer("".join(self._pieces), len(self._pieces), 1.0, {}, "stop")


class InstantSegmenter:
    """Hands out masks made beforehand."""

    def __init__(self, size: tuple[int, int]) -> None:
        width, height = size
        self._mask = np.zeros((1, height, width), np.bool_)
        self._mask[:, height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = True

    def set_image(self, frame: Frame) -> None:
        """Do nothing; see ``Segmenter``."""

    def predict(self, _targets: tuple[Target, ...]) -> Masks:
        """Return the masks; see ``Segmenter``."""
        return Masks(self._mask, np.full(1, 0.9, np.float32))


@contextlib.contextmanager
def ros() -> Iterator[Any]:
    """A ROS context on a domain of this process's own, limited to this machine."""
    import rclpy

    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ["ROS_DOMAIN_ID"] = str(100 + os.getpid() % 100)
    rclpy.init(args=[])
    try:
        yield rclpy
    finally:
        rclpy.try_shutdown()


# ---- one frame and one command ----


class Robot:
    """The real node with instant engines, a subscriber beside it that takes what is published."""

    def __init__(self, rclpy: Any, size: tuple[int, int] = SIZE, pipeline: Pipeline | None = None) -> None:
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.parameter import Parameter
        from segzero_ros.msg import Segmentation
        from sensor_msgs.msg import Image

        from segzero_ros.ros.node import GroundingNode
        from segzero_ros.ros.qos import topic_qos

        text = centre_answer(get_profile(PROFILE), thinking="Something stands in the middle of the picture. " * 4)
        engines = pipeline or Pipeline(get_profile(PROFILE), InstantReasoner(text), InstantSegmenter(size))
        self._engines = engines
        self.node = GroundingNode(
            open_engines=lambda _: ("bench", engines), parameter_overrides=[Parameter("stale_sec", value=60.0)]
        )
        self.listener = rclpy.create_node("bench_listener")
        for name, kind in (("segmentation", Segmentation), ("mask", Image)):
            self.listener.create_subscription(kind, name, lambda _: None, topic_qos(name))
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.until(lambda: self.node.state == "active", "the node to become active")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Spin until ``condition`` holds; TimeoutError after a minute."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            self.executor.spin_once(timeout_sec=0.1)
            if time.monotonic() > end:
                raise TimeoutError(f"waited {PATIENCE_S:.0f} s in vain for {what}")

    def answer(self, message: Any) -> float:
        """Give the node an image and a command; return the ms until its answer is published."""
        done: list[Any] = []
        start = time.perf_counter()
        self.node._camera._on_image(message)  # noqa: SLF001 - what DDS calls when an image has come
        self.node._commands.submit("the thing in the middle", timeout_s=PATIENCE_S, on_answer=done.append)  # noqa: SLF001
        self.until(lambda: bool(done), "an answer")
        took = (time.perf_counter() - start) * 1e3
        if done[0].code != 0 or not done[0].mask.data:
            raise RuntimeError(f"got {done[0].detail}, want masks")
        return took

    def work(self, message: Any) -> float:
        """Take the same frame the same way without threads and executor in between; return the ms of the work alone."""
        from segzero_ros.command import read_command
        from segzero_ros.ros import convert

        start = time.perf_counter()
        frame = convert.frame_decoder(message)()
        result = self._engines.ground(frame, read_command("the thing in the middle", "bench"))
        self.node._outputs.publish_answer(result, None)  # noqa: SLF001
        return (time.perf_counter() - start) * 1e3

    def publish_ms(self, result: Any) -> float:
        """Publish a result everywhere; return the ms it took."""
        start = time.perf_counter()
        self.node._outputs.publish_answer(result, None)  # noqa: SLF001
        return (time.perf_counter() - start) * 1e3

    def close(self) -> None:
        """End the node."""
        self.node.close()
        self.node.destroy_node()
        self.listener.destroy_node()


def image_message(size: tuple[int, int] = SIZE, encoding: str = "rgb8") -> Any:
    """Return a camera message of noise."""
    from std_msgs.msg import Header

    from segzero_ros.ros.convert import image_message as wrap

    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return wrap(Header(frame_id="camera"), pixels, encoding)


def overhead(rclpy: Any, count: int, *, warmup: int = 5) -> dict[str, Any]:
    """Return ms per 720p frame of ours and of the ways by hand, interleaved; by hand there are no threads either."""
    robot, message, by_hand = Robot(rclpy), image_message(), ByHand(rclpy)
    ways: dict[str, Callable[[], float]] = {
        "work": lambda: robot.work(message),
        "whole_node": lambda: robot.answer(message),
    }
    ways |= {name: (lambda fill=fill: by_hand.answer(message, fill)) for name, fill in FILLS.items()}
    ways["field_list_checked"] = lambda: by_hand.answer(message, _fill_list, checked=True)
    ways["field_bytes_checked"] = lambda: by_hand.answer(message, _fill_bytes, checked=True)
    found: dict[str, list[float]] = {"alone": [robot.work(message) for _ in range(count + warmup)][warmup:]}
    found |= {name: [] for name in ways}
    for number in range(count + warmup):
        for name, way in ways.items():
            took = way()
            if number >= warmup:
                found[name].append(took)
    robot.close()
    by_hand.close()
    return {
        "ms_per_720p_frame": {name: spread(values) for name, values in found.items()},
        "times_slower_than_work": {n: ratio(found[n], found["work"]) for n in ways if n != "work"},
        "work": "decoding, pipeline, messages and publishing, 60 streamed pieces; whole_node: with its threads, too; "
        "alone: before the others had their turns, which leave the allocator and the caches to be filled anew",
        "checked": "the field's own type check of every byte: always on up to ROS 2 Humble, since then "
        "with ROS_PYTHON_CHECK_FIELDS=1",
    }


# ---- by hand ----


def _fill_list(message: Any, labels: NDArray[np.uint8]) -> None:
    message.data = labels.flatten().tolist()


def _fill_array(message: Any, labels: NDArray[np.uint8]) -> None:
    message.data = labels.flatten()


def _fill_bytes(message: Any, labels: NDArray[np.uint8]) -> None:
    message.data = labels.tobytes()


def _fill_cv_bridge(message: Any, labels: NDArray[np.uint8]) -> None:
    message.data = array.array("B", labels.tobytes())


FILLS = {
    "field_list": _fill_list,
    "field_numpy": _fill_array,
    "field_bytes": _fill_bytes,
    "cv_bridge": _fill_cv_bridge,
}


class ByHand:
    """A node as a tutorial has it: an image in as NumPy, masks out in two messages; no worker, no stages, no checks."""

    def __init__(self, rclpy: Any) -> None:
        from segzero_ros.msg import Segmentation
        from sensor_msgs.msg import Image

        from segzero_ros.ros.qos import topic_qos

        self._node = rclpy.create_node("by_hand", namespace="by_hand")
        self._mask = self._node.create_publisher(Image, "mask", topic_qos("mask"))
        self._answer = self._node.create_publisher(Segmentation, "segmentation", topic_qos("segmentation"))
        self._listener = rclpy.create_node("by_hand_listener", namespace="by_hand")
        for name, kind in (("segmentation", Segmentation), ("mask", Image)):
            self._listener.create_subscription(kind, name, lambda _: None, topic_qos(name))
        self._masks = InstantSegmenter(SIZE).predict(())

    def answer(self, message: Any, fill: Callable[[Any, NDArray[np.uint8]], None], *, checked: bool = False) -> float:
        """Return the ms from the image message to both answers published."""
        import cv2
        from segzero_ros.msg import Segmentation
        from sensor_msgs.msg import Image

        start = time.perf_counter()
        picture = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        labels = self._masks.masks[0].astype(np.uint8)
        out = Image(check_fields=checked) if checked else Image()
        out.header, out.encoding = message.header, "mono8"
        out.height, out.width, out.step = message.height, message.width, message.width
        fill(out, labels)
        self._mask.publish(out)
        self._answer.publish(Segmentation(header=message.header, mask=out))
        return (time.perf_counter() - start) * 1e3

    def close(self) -> None:
        """End the node."""
        self._node.destroy_node()
        self._listener.destroy_node()


# ---- a camera without commands ----


def idle(rclpy: Any, *, seconds: float = 20.0, hz: float = 10.0, backend: str = "onnx", logs: Path) -> dict[str, Any]:
    """Return what share of one core the node's process needs for a 720p camera at ``hz`` without commands.

    The camera is this process. The first seconds, in which engines are opened, do not count.
    """
    from segzero_ros.demo.process_group import ProcessGroup
    from segzero_ros.ros import processes

    node = processes.node(backend=backend, image_qos="reliable")
    with ProcessGroup(logs) as children:
        child = children.start("node", node.command_line(), os.environ)
        camera = Camera(rclpy, hz)
        try:
            camera.until(lambda: camera.frames_received > 2 * hz, children.check)
            before, received, start = cpu_seconds(child.process.pid), camera.frames_received, time.monotonic()
            camera.spin(seconds)
            took = time.monotonic() - start
            used, frames = cpu_seconds(child.process.pid) - before, camera.frames_received - received
        finally:
            camera.close()
    return {
        "share_of_one_core": round(used / took, 4),
        "cpu_ms_per_frame": round(used / max(1, frames) * 1e3, 3),
        "frames": frames,
        "sent_hz": hz,
        "seconds": round(took, 1),
        "backend": backend,
        "also_counted": "receiving 2.8 MB per frame over DDS, and the node's diagnostics at 1 Hz",
    }


class Camera:
    """Publishes the same 720p picture ``hz`` times a second and reads from the node's diagnostics how many came."""

    def __init__(self, rclpy: Any, hz: float) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import Image

        from segzero_ros.ros.qos import topic_qos

        self.frames_received = 0
        self._node = rclpy.create_node("bench_camera")
        self._publisher = self._node.create_publisher(Image, "image", topic_qos("image", "reliable"))
        self._message = image_message()
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, topic_qos("/diagnostics"))
        self._node.create_timer(1 / hz, self._send)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)

    def _send(self) -> None:
        self._message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(self._message)

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            self.frames_received = int(values.get("frames", self.frames_received))

    def spin(self, seconds: float) -> None:
        """Be a camera for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.05)

    def until(self, condition: Callable[[], bool], check: Callable[[], None]) -> None:
        """Be a camera until ``condition`` holds; TimeoutError after a minute, or what ``check`` raises."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            self.spin(0.2)
            check()
            if time.monotonic() > end:
                raise TimeoutError("the node's diagnostics report no frames; see its log")

    def close(self) -> None:
        """Stop."""
        self._node.destroy_node()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, user and system, of a process with all its threads so far (Linux, proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def spread_of_publishing(rclpy: Any, results: Sequence[Any]) -> list[float]:
    """Return the ms that the node needs to publish each of these results."""
    robot = Robot(rclpy)
    try:
        return [robot.publish_ms(result) for result in results]
    finally:
        robot.close()


def available() -> str:
    """Return "" where ROS and the built messages are importable, else what is missing."""
    import importlib.util

    missing = [name for name in ("rclpy", "sensor_msgs") if importlib.util.find_spec(name) is None]
    if not missing and importlib.util.find_spec("segzero_ros.msg") is None:
        missing = ["segzero_ros.msg"]
    return f"{', '.join(missing)} missing; `make test` brings ROS as wheels" if missing else ""
