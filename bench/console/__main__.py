"""`python -m bench.console`: what the console takes of a core, with one page and with ten; how soon it shows a mask.

A real node with the demo bundle, a 30 Hz camera of 640 x 480, the console as a process of its own. Pages are websocket
clients in this process that say of each picture that they have shown it, as a browser does; so the figures are the
console's alone. First mask: from the start of `segzero console` to a page that has the mask of its command.
"""

import asyncio
import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.sync.client import connect as connect_now

from bench.figures import spread
from bench.node import PATIENCE_S, cpu_seconds, ros
from bench.record import RESULTS, device_slug, record, write
from export.queries import EvalQuery, tabletop_questions
from segzero_ros.cli.parser import Parser, at_least
from segzero_ros.console.hub import PICTURE
from segzero_ros.demo.process_group import ProcessGroup
from segzero_ros.ros import processes

HZ = 30
PAGES = (0, 1, 10)
SETTLE_S = 2.0
PICTURES = 30  # different ones, shown in turn: JPEG of a standing picture would be no cheaper, but who knows
SEEN = '{"type":"seen"}'


def main() -> int:
    """Measure, print, write the figures."""
    parser = Parser("python -m bench.console", __doc__ or "")
    parser.add_argument("--seconds", type=at_least(2), default=20, help="of each share of a core (20)")
    parser.add_argument("--starts", type=at_least(1), default=5, help="of the console (5)")
    parser.add_argument("--out", type=Path, default=RESULTS / device_slug() / "console.json")
    options = parser.parse_args()
    questions = tabletop_questions(PICTURES, 7)
    with tempfile.TemporaryDirectory() as folder, ros() as rclpy, ProcessGroup(Path(folder)) as group:
        group.start("node", processes.node().command_line(), os.environ)
        with filming(rclpy, questions) as camera:
            question = found_question(questions, camera)
            starts = [first_mask(group, Path(folder), question) for _ in range(options.starts)]
            figures = {
                "first_mask_s": spread([wall_s for wall_s, _ in starts]),
                "first_mask_cpu_s_of_the_console": spread([cpu_s for _, cpu_s in starts]),
                "pages": shares(group, Path(folder), options.seconds, camera),
            }
    print(json.dumps(figures, indent=2))
    settings = {"seconds": options.seconds, "starts": options.starts, "hz": HZ, "size": [640, 480]}
    command = ("python", "-m", "bench.console", f"--seconds {options.seconds}", f"--starts {options.starts}")
    write(record("console", command, settings, figures), options.out)
    return 0


def found_question(questions: Sequence[EvalQuery], camera: "Camera") -> EvalQuery:
    """Show picture after picture until the node, once its engines are open, finds what is asked of it."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        for number, question in enumerate(questions):
            camera.at = number
            time.sleep(3 / HZ)
            asked = processes.client(question.command.text).command_line()
            done = subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
            if done.returncode == 0:
                return question
    raise TimeoutError("the node finds nothing in any picture")


def shares(group: ProcessGroup, logs: Path, seconds: float, camera: "Camera") -> dict[str, Any]:
    """Return by number of pages the share of a core that the console takes, and the pictures a page gets."""
    camera.at = None
    found = {}
    with console(group, logs) as (port, pid):
        for count in PAGES:
            found[str(count)] = asyncio.run(share(port, pid, count, seconds, camera))
    return found


async def share(port: int, pid: int, count: int, seconds: float, camera: "Camera") -> dict[str, Any]:
    """Measure with so many pages open."""
    shown = [0] * count
    pages = [asyncio.ensure_future(watch(port, shown, number)) for number in range(count)]
    await asyncio.sleep(SETTLE_S)
    before, cpu_s, start_s, published = list(shown), cpu_seconds(pid), time.monotonic(), camera.published
    await asyncio.sleep(seconds)
    took_s, used_s = time.monotonic() - start_s, cpu_seconds(pid) - cpu_s
    rates = [(now - then) / took_s for now, then in zip(shown, before, strict=True)]
    for page in pages:
        page.cancel()
    await asyncio.gather(*pages, return_exceptions=True)
    return {
        "share_of_a_core": round(used_s / took_s, 3),
        "camera_hz": round((camera.published - published) / took_s, 1),
        "pictures_per_s": [round(rate, 1) for rate in sorted(rates)],
    }


async def watch(port: int, shown: list[int], number: int) -> None:
    """Be a page: take pictures, say that they were shown."""
    async with connect(f"ws://127.0.0.1:{port}/live", max_size=None, compression=None) as page:
        async for said in page:
            if isinstance(said, bytes) and len(said) > PICTURE.size:
                shown[number] += 1
                await page.send(SEEN)


def first_mask(group: ProcessGroup, logs: Path, question: EvalQuery) -> tuple[float, float]:
    """Start a console, ask as soon as it can be asked; return the seconds until the mask is here, and its CPU time."""
    start_s = time.monotonic()
    with console(group, logs) as (port, pid), connect_now(f"ws://127.0.0.1:{port}/live", max_size=None) as page:
        ask = json.dumps({"type": "ask", "text": question.command.text, "track": False})
        page.send(ask)
        while True:
            said = page.recv(timeout=PATIENCE_S)
            values = json.loads(said) if isinstance(said, str) else {}
            if values.get("type") == "note" and not values["good"]:  # the node is not found yet
                time.sleep(0.02)
                page.send(ask)
            if values.get("type") == "answer" and values["has_mask"] and values["has_picture"]:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
                connection.request("GET", f"/answers/{values['number']}/mask.png")
                assert connection.getresponse().read()
                return time.monotonic() - start_s, cpu_seconds(pid)
            if values.get("type") == "answer":
                page.send(ask)


@contextlib.contextmanager
def console(group: ProcessGroup, logs: Path) -> Iterator[tuple[int, int]]:
    """A running console: its port and its process."""
    child = group.start("console", processes.console("--port", "0").command_line(), os.environ)
    until_s = time.monotonic() + PATIENCE_S
    while not (said := re.search(r":(\d+)/", (logs / "console.log").read_text("utf-8", "replace"))):
        group.check()
        if time.monotonic() > until_s:
            raise TimeoutError("the console does not listen; see its log")
        time.sleep(0.005)
    try:
        yield int(said[1]), child.process.pid
    finally:
        group.end(child)


class Camera:
    """Publishes HZ pictures a second from a thread; ``at``: which one, None = all in turn."""

    def __init__(self, rclpy: Any, questions: Sequence[EvalQuery]) -> None:
        from sensor_msgs.msg import Image

        from segzero_ros.ros.qos import topic_qos

        self.at: int | None = 0
        self.published = 0
        self._pictures = [question.frame.rgb for question in questions]
        self._node = rclpy.create_node("bench_camera")
        self._images = self._node.create_publisher(Image, "image", topic_qos("image", "reliable"))
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._film, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._ending.set()
        self._thread.join()
        self._node.destroy_node()

    def _film(self) -> None:
        from std_msgs.msg import Header

        from segzero_ros.ros.convert import image_message

        due_s = time.monotonic()
        while not self._ending.is_set():
            rgb = self._pictures[self.published % len(self._pictures) if self.at is None else self.at]
            header = Header(frame_id="camera", stamp=self._node.get_clock().now().to_msg())
            self._images.publish(image_message(header, rgb, "rgb8"))
            self.published += 1
            due_s = max(due_s + 1 / HZ, time.monotonic() - 0.1)
            self._ending.wait(max(0.0, due_s - time.monotonic()))


@contextlib.contextmanager
def filming(rclpy: Any, questions: Sequence[EvalQuery]) -> Iterator[Camera]:
    """A camera that films the questions' pictures."""
    camera = Camera(rclpy, questions)
    try:
        yield camera
    finally:
        camera.close()


if __name__ == "__main__":
    sys.exit(main())
