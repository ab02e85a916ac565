"""The demo world's camera as a ROS node: image, depth and camera matrix, and beside them the truth of every frame.

`truth/labels` (mono8, 0 = no thing, else the thing's number) and `truth/objects` (JSON: what the numbers are) carry the
stamp of the frame they are about, so that an answer can be judged by the very frame it was given for. They cost
nothing unless somebody subscribes; `truth_dir` has the same written to files. `/tf` says of every frame where the
camera stands to the table, where tf2_msgs is installed. The service `wave` has an arm pass before the camera, which
hides one thing after the other.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger

from segzero_ros.errors import nearest
from segzero_ros.ros.convert import image_message, stamp_ns
from segzero_ros.ros.executor import guard
from segzero_ros.ros.place.frames import Transform, transform_message
from segzero_ros.ros.processes import CAMERA_NODE, TABLE_FRAME, WAVE
from segzero_ros.ros.qos import interface_type, topic_qos
from segzero_ros.tabletop import SCENARIOS, LiveWorld, NoOpenGLError, TruthLog, View

FRAME_ID = "tabletop_camera_optical"
TRUTH_LABELS = "truth/labels"
TRUTH_OBJECTS = "truth/objects"


class BadStartError(Exception):
    """The camera cannot start; the text says why and what to do."""


class TabletopCamera(Node):  # type: ignore[misc]
    """Publishes a live scene at a steady rate; reliable, so that subscribers of either QoS receive it."""

    def __init__(self, **options: Any) -> None:
        """``options``: those of ``rclpy.node.Node``. Raises ``BadStartError``."""
        super().__init__(CAMERA_NODE, **options)
        scenario = self._string("scenario", "demo", f"what happens: {', '.join(SCENARIOS)}")
        seed = self._int("seed", 44, 0, 1_000_000, "which scene; the same seed and scenario always give the same one")
        size = (self._int("width", 640, 64, 1920, "pixels"), self._int("height", 480, 48, 1080, "pixels"))
        rate = self._rate()
        truth_dir = self._string("truth_dir", "", "write the truth of every frame into this directory; empty = do not")
        if scenario not in SCENARIOS:
            raise BadStartError(f"got the scenario {scenario!r}{nearest(scenario, SCENARIOS)}")
        try:
            self._world = LiveWorld(scenario, seed, size, depth=True)
        except NoOpenGLError as error:
            raise BadStartError(str(error)) from error
        try:
            self._log = TruthLog(Path(truth_dir)) if truth_dir else None
        except OSError as error:
            raise BadStartError(f"got truth_dir {truth_dir!r}, want a directory to write to ({error})") from error
        self._pictures = {name: self._publisher(Image, name) for name in ("image", "depth", TRUTH_LABELS)}
        self._info = self._publisher(CameraInfo, "camera_info")
        self._objects = self._publisher(String, TRUTH_OBJECTS)
        self._frames = self._frames_publisher()
        self.create_service(Trigger, WAVE, guard.service(self, self._wave))
        self._began = time.monotonic()
        self.create_timer(
            1.0 / rate, guard.callback(self, self._publish), clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self.get_logger().info(f"{scenario}, seed {seed}: {size[0]} x {size[1]} at {rate:g} Hz")

    def destroy_node(self) -> None:
        """Free the renderer, too."""
        self._world.close()
        super().destroy_node()

    def _publish(self) -> None:
        view = self._world.step(time.monotonic() - self._began)
        header = Header(frame_id=FRAME_ID, stamp=self.get_clock().now().to_msg())
        if self._log is not None:  # before the picture, so that whoever has the picture finds its truth
            self._log.write(stamp_ns(header.stamp), view)
        if self._frames is not None:  # before the picture as well: what is placed in it wants to be turned
            self._frames.publish(interface_type("/tf")(transforms=[stand(header, view)]))
        self._info.publish(camera_info(header, view))
        if view.depth_m is not None:
            self._pictures["depth"].publish(image_message(header, view.depth_m, "32FC1"))
        if self._pictures[TRUTH_LABELS].get_subscription_count():
            self._pictures[TRUTH_LABELS].publish(image_message(header, view.labels, "mono8"))
        if self._objects.get_subscription_count():
            self._objects.publish(String(data=json.dumps(objects(stamp_ns(header.stamp), view))))
        self._pictures["image"].publish(image_message(header, view.rgb, "rgb8"))

    def _wave(self, _: Trigger.Request) -> tuple[bool, str]:
        self._world.wave()
        return True, "an arm passes"

    def _frames_publisher(self) -> Any:
        """Return the publisher of `/tf`, None where ROS has no message for it."""
        try:
            return self.create_publisher(interface_type("/tf"), "/tf", topic_qos("/tf"))
        except ImportError:
            return None

    def _publisher(self, kind: Any, name: str) -> Any:
        return self.create_publisher(kind, name, topic_qos("image", "reliable"))

    def _string(self, name: str, default: str, description: str) -> str:
        descriptor = ParameterDescriptor(description=description, read_only=True)
        return str(self.declare_parameter(name, default, descriptor).value)

    def _int(self, name: str, default: int, low: int, high: int, description: str) -> int:
        span = [IntegerRange(from_value=low, to_value=high, step=1)]
        descriptor = ParameterDescriptor(description=description, read_only=True, integer_range=span)
        return int(self.declare_parameter(name, default, descriptor).value)

    def _rate(self) -> float:
        span = [FloatingPointRange(from_value=0.1, to_value=100.0)]
        descriptor = ParameterDescriptor(description="frames per second", read_only=True, floating_point_range=span)
        return float(self.declare_parameter("rate", 10.0, descriptor).value)


def camera_info(header: Header, view: View) -> CameraInfo:
    """Return the camera matrix of a view: a pinhole without distortion."""
    width, height = view.size
    k = np.asarray(view.intrinsics, np.float64)
    p = np.hstack([k, np.zeros((3, 1))])
    info = CameraInfo(header=header, width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k, info.r, info.p = k.ravel(), np.eye(3).ravel(), p.ravel()
    return info


def stand(header: Header, view: View) -> TransformStamped:
    """Return where the camera of the picture with ``header`` stands to the table: z up, metres."""
    way = Transform(np.asarray(view.camera.rotation), np.asarray(view.camera.position))
    return transform_message(Header(frame_id=TABLE_FRAME, stamp=header.stamp), header.frame_id, way)


def objects(stamp: int, view: View) -> dict[str, Any]:
    """Return what `truth/objects` says: the things in the picture, left to right, boxes and points in its pixels."""
    things = [
        {
            "id": thing.id,
            "kind": thing.kind,
            "colour": thing.colour,
            "box": list(thing.box),
            "point": list(thing.point),
            "visible": thing.visible,
        }
        for thing in view.things
    ]
    return {"stamp_ns": stamp, "objects": things}
