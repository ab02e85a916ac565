"""The demo world's camera and the node, and a viewer that hears all they say with the QoS that viewers have by default.

What it hears is kept in the order in which it came, and can be written as one MCAP file, as `ros2 bag record -a` would.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image

from segzero_ros.demo.process_group import ProcessGroup, free_domain
from segzero_ros.recorder.entry import Channel, Entry
from segzero_ros.recorder.store import Store, recordings
from segzero_ros.ros import processes
from segzero_ros.ros.client import Client
from segzero_ros.ros.qos import ENDPOINTS, interface_type
from segzero_ros.ros.recording.definition import definition, type_name

START_S = 120.0
RATE_HZ = 5.0  # of the camera: two cores draw it, run the node and look on
CAMERA = {"image": Image, "camera_info": CameraInfo}


@dataclass(slots=True, eq=False)
class Heard:
    """What came on each topic, and all of it in order: topic, message, time in ns since 1970."""

    by_topic: dict[str, list[Any]] = field(default_factory=dict)
    order: list[tuple[str, Any, int]] = field(default_factory=list)

    def add(self, topic: str, message: Any) -> None:
        """Keep a message."""
        self.by_topic.setdefault(topic, []).append(message)
        self.order.append((topic, message, time.time_ns()))

    def write(self, path: Path) -> None:
        """Write everything into one MCAP file, as the recorder writes."""
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            store = Store(Path(folder), file_bytes=1 << 40, total_bytes=1 << 40)
            channels: dict[str, Channel] = {}
            for number, (topic, message, at) in enumerate(self.order):
                kind = type(message)
                if topic not in channels:
                    name = topic if topic.startswith("/") else f"/{topic}"
                    channels[topic] = Channel(topic, name, type_name(kind), definition(kind), serialize_message)
                store.write([Entry(channels[topic], message, at, number, 1)])
            store.close()
            (written,) = recordings(Path(folder))
            shutil.move(written, path)


@contextlib.contextmanager
def seen(scenario: str, seed: int, logs: Path, **parameters: Any) -> Iterator[tuple[Client, Heard]]:
    """Start camera and node, and listen; ``parameters``: of the node."""
    os.environ["ROS_DOMAIN_ID"] = str(free_domain())
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    camera = processes.tabletop_camera(scenario=scenario, seed=seed)
    table = (
        replace(camera, parameters={**camera.parameters, "rate": RATE_HZ}),
        processes.node(defaults={"use_depth": True}, **parameters),
    )
    with ProcessGroup(logs) as group:
        for process in table:
            group.start(process.name, process.command_line(), os.environ)
        client, heard = Client(alive=group.check), Heard()
        try:
            client.wait_for_node(START_S)
            client.wait_for_engines(START_S)
            _listen(client, heard)
            client.wait(lambda: heard.by_topic.get("image"), START_S)
            yield client, heard
        finally:
            client.close()


def _listen(client: Client, heard: Heard) -> None:
    kinds: dict[str, type] = dict(CAMERA)
    for name in ("/tf", *(name for name, one in ENDPOINTS.items() if one.role == "publish")):
        with contextlib.suppress(ImportError):  # of a package that is not installed
            kinds[name] = interface_type(name)
    for name, kind in kinds.items():
        client.listen(name, kind, partial(heard.add, name))
