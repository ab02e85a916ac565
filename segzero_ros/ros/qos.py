"""Every name the node has on the ROS graph: one table of topics, services and actions with their types and QoS.

The table itself is plain data and needs no ROS, so that documentation, security policy and tests can read it anywhere.
Names are relative: a namespace or a remap moves them. The exceptions are ``/diagnostics``, ``/tf`` and
``/tf_static``, where all of ROS looks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rclpy.qos import QoSProfile

Role = Literal["subscribe", "publish", "service", "action"]
Reliability = Literal["best_effort", "reliable"]

SENSOR_DEPTH = 5
"""Queue of the small or optional streams; the depth of ROS's own sensor data profile."""


COMMAND_DEPTH = 1000
"""Queue of commands and of goals: so many may come at once, and each is answered; more are counted as lost."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One name on the graph; volatile: an answer about an old picture helps nobody who comes later.

    What is heard of before our time is latched, `camera_info` and `/tf_static`; see ``latched_qos``.

    ``type``: as in ``ros2 interface list``. ``depth``: messages kept by history "keep last" (topics only).
    """

    name: str
    role: Role
    type: str
    reliability: Reliability = "reliable"
    depth: int = 10
    meaning: str = ""


_TABLE = (
    Endpoint(
        "image",
        "subscribe",
        "sensor_msgs/msg/Image",
        "best_effort",
        1,
        "the camera; reliable where it is so: `image_qos`",
    ),
    Endpoint(
        "image/compressed",
        "subscribe",
        "sensor_msgs/msg/CompressedImage",
        "best_effort",
        1,
        "the camera, with `image_transport:=compressed`",
    ),
    Endpoint(
        "depth",
        "subscribe",
        "sensor_msgs/msg/Image",
        "best_effort",
        SENSOR_DEPTH,
        "16UC1 mm or 32FC1 m, with `use_depth`",
    ),
    Endpoint(
        "camera_info",
        "subscribe",
        "sensor_msgs/msg/CameraInfo",
        "best_effort",
        SENSOR_DEPTH,
        "the camera matrix, with `use_depth`",
    ),
    Endpoint("/tf", "subscribe", "tf2_msgs/msg/TFMessage", "reliable", 100, "with `target_frame`"),
    Endpoint("/tf_static", "subscribe", "tf2_msgs/msg/TFMessage", "reliable", 100, "latched; with `target_frame`"),
    Endpoint("command", "subscribe", "std_msgs/msg/String", "reliable", COMMAND_DEPTH, "what to find, in words"),
    Endpoint(
        "stop", "subscribe", "std_msgs/msg/String", "reliable", 10, "the `command_id` to follow no longer; empty = all"
    ),
    Endpoint(
        "segmentation", "publish", "segzero_ros/msg/Segmentation", "reliable", 5, "the answer; exactly one per command"
    ),
    Endpoint(
        "tracks",
        "publish",
        "segzero_ros/msg/Segmentation",
        "reliable",
        5,
        "what is followed: one per followed command and frame, and one that says how it ended",
    ),
    Endpoint("mask", "publish", "sensor_msgs/msg/Image", "reliable", 5, "the label image alone"),
    Endpoint("reasoning", "publish", "std_msgs/msg/String", "reliable", 10, "the final reasoning (untrusted text)"),
    Endpoint("reasoning_stream", "publish", "std_msgs/msg/String", "reliable", 10, "the reasoning while it grows"),
    Endpoint(
        "overlay/compressed",
        "publish",
        "sensor_msgs/msg/CompressedImage",
        "reliable",  # viewers ask for that by default, and one that does not is served as well
        SENSOR_DEPTH,
        "JPEG for people, drawn only while somebody subscribes",
    ),
    Endpoint(
        "detections",
        "publish",
        "vision_msgs/msg/Detection2DArray",
        "reliable",
        10,
        "boxes, where vision_msgs is installed",
    ),
    Endpoint(
        "target",
        "publish",
        "geometry_msgs/msg/PoseStamped",
        "reliable",
        10,
        "the middle of the best instance's box and how it is turned, with `use_depth`",
    ),
    Endpoint("grasps", "publish", "geometry_msgs/msg/PoseArray", "reliable", 10, "how to take hold of `target`"),
    Endpoint("cloud", "publish", "sensor_msgs/msg/PointCloud2", "reliable", 5, "the instances' points, with `label`"),
    Endpoint(
        "detections3d",
        "publish",
        "vision_msgs/msg/Detection3DArray",
        "reliable",
        10,
        "boxes in 3-D, where vision_msgs is installed",
    ),
    Endpoint(
        "markers",
        "publish",
        "visualization_msgs/msg/MarkerArray",
        "reliable",
        10,
        "boxes and grasps for RViz, where visualization_msgs is installed",
    ),
    Endpoint("/diagnostics", "publish", "diagnostic_msgs/msg/DiagnosticArray", "reliable", 10, "health, 1 Hz"),
    Endpoint("segment", "action", "segzero_ros/action/Segment", meaning="a command with feedback, cancel and result"),
    Endpoint("enable", "service", "std_srvs/srv/SetBool", meaning="activate or deactivate the node"),
    Endpoint("reset", "service", "std_srvs/srv/Trigger", meaning="cancel all commands, forget the last frame"),
    Endpoint("save_failure", "service", "std_srvs/srv/Trigger", meaning="record the last seconds, with `record`"),
)

ENDPOINTS: Mapping[str, Endpoint] = MappingProxyType({endpoint.name: endpoint for endpoint in _TABLE})


def topic_qos(name: str, reliability: Reliability | None = None) -> "QoSProfile":
    """The QoS profile of the topic ``name`` of the table; ``reliability`` overrides the table's."""
    from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

    endpoint = ENDPOINTS[name]
    policies = {"best_effort": ReliabilityPolicy.BEST_EFFORT, "reliable": ReliabilityPolicy.RELIABLE}
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=endpoint.depth,
        reliability=policies[reliability or endpoint.reliability],
        durability=DurabilityPolicy.VOLATILE,
    )


def latched_qos(name: str) -> "QoSProfile":
    """The QoS profile that also gets the last message of a latched topic (transient local), of before we were there.

    It receives nothing from volatile publishers, so it goes beside ``topic_qos``, not in its place.
    """
    from rclpy.qos import DurabilityPolicy

    profile = topic_qos(name, "reliable")
    profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
    return profile


def goal_qos() -> "QoSProfile":
    """The QoS profile of the service that takes goals: ROS's own for services, with room for COMMAND_DEPTH of them."""
    from rclpy.qos import QoSProfile

    return QoSProfile(depth=COMMAND_DEPTH)


def interface_type(name: str) -> Any:
    """Import and return the Python class of the endpoint ``name``; ImportError where its package is not installed."""
    import importlib

    package, kind, cls = ENDPOINTS[name].type.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), cls)
