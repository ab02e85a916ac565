"""A robot for the tests: the real node over real DDS with fake engines, and a client that talks to it.

The node spins in a thread of its own; the client's executor is spun by the test, until what it waits for has come.
Nothing sleeps; every wait has an end that is far longer than a healthy machine needs.
"""

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter, parameter_value_to_python
from segzero_ros.action import Segment
from segzero_ros.msg import Segmentation
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from std_srvs.srv import SetBool, Trigger

from segzero_ros.backends.fake import PROFILE, FakeReasoner, FakeSegmenter
from segzero_ros.config import NodeConfig
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from segzero_ros.ros import convert
from segzero_ros.ros.node import GroundingNode
from segzero_ros.ros.qos import topic_qos

PATIENCE_S = 60.0  # a healthy machine needs a tenth of a second
DOMAIN = 100 + os.getpid() % 100  # of this process alone, as good as certainly

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


def picture(
    width: int = 64,
    height: int = 48,
    *,
    stamp: tuple[int, int] = (7, 8),
    frame_id: str = "camera",
    encoding: str = "rgb8",
    cut: int = 0,
) -> Image:
    """An image message of noise, rgb8 whatever ``encoding`` says; ``cut``: so many bytes are missing at its end."""
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = stamp
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    message = convert.image_message(header, pixels, encoding)
    del message.data[len(message.data) - cut :]
    return message


def start_node(reasoner: Any = None, segmenter: Any = None, *, faults: Any = (), **parameters: Any) -> GroundingNode:
    """Make the node with fake engines; opening them raises the ``faults`` first, one at each attempt."""
    waiting = list(faults)

    def open_engines(_config: NodeConfig) -> tuple[str, Pipeline]:
        from segzero_ros.tracking.prompted import PromptedTracker  # with OpenCV: tests.ros.host.lean_node has none

        if waiting:
            raise waiting.pop(0)
        sees = segmenter or FakeSegmenter()
        tracker = partial(PromptedTracker, sees)
        return "test", Pipeline(get_profile(PROFILE), reasoner or FakeReasoner(), sees, make_tracker=tracker)

    parameters = {"stale_sec": 60.0, **parameters}  # a busy machine may take its time between frame and command
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    return GroundingNode(open_engines=open_engines, parameter_overrides=overrides)


class Robot:
    """The node under test, and a client beside it with everything the node publishes."""

    def __init__(self, node: GroundingNode) -> None:
        self.node = node
        self.client = rclpy.create_node("client", namespace=node.get_namespace())
        self.answers: list[Segmentation] = []
        self.received: dict[str, list[Any]] = {}
        self._mine = SingleThreadedExecutor()
        self._mine.add_node(self.client)
        self._its = SingleThreadedExecutor()
        self._its.add_node(node)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._spin_node, name="node")
        self._thread.start()
        self.listen("segmentation", Segmentation, self.answers)
        self.commands = self.client.create_publisher(String, "command", topic_qos("command"))
        self.images = self.client.create_publisher(Image, "image", topic_qos("image", "reliable"))
        self.segment = ActionClient(self.client, Segment, "segment")

    def close(self) -> None:
        """End node and client, in DDS too: an executor holds what it waited for last until it is shut down."""
        self._ending.set()
        self._its.wake()
        self._thread.join(PATIENCE_S)
        self._its.shutdown()
        self._mine.shutdown()
        self.node.destroy_node()
        self.segment.destroy()
        self.client.destroy_node()

    def _spin_node(self) -> None:
        while not self._ending.is_set():
            self._its.spin_once(timeout_sec=0.5)

    # ---- waiting ----

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Spin the client until ``condition()`` is true, and return what it returned."""
        end = time.monotonic() + PATIENCE_S
        while not (value := condition()):
            assert time.monotonic() < end, f"waited {PATIENCE_S:.0f} s in vain for {what}"
            self._mine.spin_once(timeout_sec=0.002)
        return value

    def is_(self, state: str) -> "Robot":
        """Wait for a lifecycle state."""
        self.until(lambda: self.node.state == state, f"the state {state}")
        return self

    def is_ready(self) -> "Robot":
        """Wait until the engines, which are in another process, are open."""
        self.is_("active")
        self.until(lambda: self.diagnostics()["node"].level == DiagnosticStatus.OK, "the engines to open")
        return self

    def answer(self, number: int = 1) -> Segmentation:
        """Wait for the ``number``-th answer; there must be no more than that."""
        self.until(lambda: len(self.answers) >= number, f"answer {number}")
        assert len(self.answers) == number
        return self.answers[-1]

    def result(self, future: Any, what: str = "a reply") -> Any:
        """Wait for a future of the client."""
        self.until(future.done, what)
        return future.result()

    # ---- talking ----

    def listen(self, topic: str, kind: Any, into: list[Any] | None = None) -> list[Any]:
        """Subscribe to a topic of the node and return the growing list of its messages."""
        if topic in self.received:
            return self.received[topic]
        messages = self.received[topic] = [] if into is None else into
        self.client.create_subscription(kind, topic, messages.append, topic_qos(topic))
        return messages

    def send_command(self, text: str) -> None:
        """Publish a command, once the node and its answers are connected."""
        self.until(self.connected, "the node to be connected")
        self.commands.publish(String(data=text))

    def connected(self) -> bool:
        """Whether commands reach the node and everything listened to reaches the client."""
        return bool(
            self.commands.get_subscription_count()
            and all(self.client.count_publishers(topic) for topic in self.received)
        )

    def publish_image(self, image: Any = None) -> None:
        """Publish an image and wait until the node has seen it."""
        self.until(self.images.get_subscription_count, "the node to subscribe to the camera")
        before = self.node.images_seen
        self.images.publish(image or picture())
        self.until(lambda: self.node.images_seen > before, "the node to see the image")

    def send_goal(self, command: str = "the mug", *, feedback: Any = None, **fields: Any) -> Any:
        """Send a goal and return its handle."""
        assert self.segment.wait_for_server(PATIENCE_S)
        goal = Segment.Goal(command=command, **fields)
        return self.result(self.segment.send_goal_async(goal, feedback_callback=feedback), "the goal's acceptance")

    def goal_result(self, command: str = "the mug", **fields: Any) -> Any:
        """Send a goal and return (status, result)."""
        handle = self.send_goal(command, **fields)
        reply = self.result(handle.get_result_async(), "the goal's result")
        return reply.status, reply.result

    def call(self, kind: Any, name: str, request: Any = None) -> Any:
        """Call a service of the node."""
        client = self.client.create_client(kind, name)
        assert client.wait_for_service(PATIENCE_S)
        reply = self.result(client.call_async(request or kind.Request()), f"the service {name}")
        self.client.destroy_client(client)
        return reply

    def enable(self, on: bool) -> Any:
        """Call `enable`."""
        return self.call(SetBool, "enable", SetBool.Request(data=on))

    def reset(self) -> Any:
        """Call `reset`."""
        return self.call(Trigger, "reset")

    def get_parameters(self, *names: str) -> list[Any]:
        """Read parameters of the node by its service."""
        reply = self.call(GetParameters, "segzero/get_parameters", GetParameters.Request(names=names))
        return [parameter_value_to_python(value) for value in reply.values]

    def set_parameter(self, name: str, value: Any) -> Any:
        """Set a parameter of the node by its service; returns the ``SetParametersResult``."""
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self.call(SetParameters, "segzero/set_parameters", request).results[0]

    def change_state(self, transition: str) -> bool:
        """Ask for a lifecycle transition by its label, as `ros2 lifecycle set` does."""
        request = ChangeState.Request()
        request.transition.id = getattr(Transition, f"TRANSITION_{transition.upper()}")
        return bool(self.call(ChangeState, "segzero/change_state", request).success)

    def diagnostics(self) -> dict[str, Any]:
        """Wait for the next diagnostics of this node (others publish there too); its statuses by their name."""
        arrays = self.listen("/diagnostics", DiagnosticArray)
        before, own = len(arrays), f"{self.node.get_fully_qualified_name()}: "

        def newest() -> dict[str, Any]:
            found: dict[str, Any] = {}
            for array in arrays[before:]:
                found.update({one.name[len(own) :]: one for one in array.status if one.name.startswith(own)})
            return found

        self.until(newest, "diagnostics")
        return newest()
