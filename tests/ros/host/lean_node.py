"""`python -m tests.ros.host.lean_node`: two nodes, one after the other, whose engines are in a process of their own.

It prints "KEY=VALUE" lines: when this process, which has the node in it, had OpenCV loaded, and what was answered.
"""

import itertools
import sys
from typing import Any

import rclpy
from rclpy.parameter import Parameter
from segzero_ros.msg import Segmentation

from segzero_ros.errors import Code
from segzero_ros.ros.node import GroundingNode
from tests.ros.robot import DOMAIN, Robot, picture

CHANNELS = {"rgb8": 3, "bgr8": 3, "mono8": 1}
PARAMETERS = {"backend": "fake", "stale_sec": 60.0, "track": True, "reground_sec": 0.0}


def main() -> None:
    """Ask about raw pictures and follow what was found; then configure for a camera of compressed ones."""
    rclpy.init(args=[], domain_id=DOMAIN)
    robot = start()
    tell("started")
    robot.is_ready()
    for number, encoding in enumerate(CHANNELS, start=1):
        message = picture(encoding=encoding)
        message.width = message.step // CHANNELS[encoding]
        robot.publish_image(message)
        robot.send_command(f"the mug in {encoding}")
        answer = robot.answer(number)
        print(f"{encoding}={Code(answer.code).name} {any(answer.mask.data)}", flush=True)
    tell("answered")
    tracks = robot.listen("tracks", Segmentation)
    robot.until(lambda: robot.client.count_publishers("tracks"), "the node's tracks")
    seconds = itertools.count(8)

    def is_followed() -> bool:
        robot.publish_image(picture(stamp=(next(seconds), 0)))
        return any(message.instances for message in tracks)

    robot.until(is_followed, "something on the topic `tracks`")
    tell("followed")
    robot.close()
    robot = start(image_transport="compressed").is_("active")
    tell("compressed")
    robot.close()
    rclpy.try_shutdown()


def start(**parameters: Any) -> Robot:
    """Start a node and a client in this process."""
    given = PARAMETERS | parameters
    return Robot(GroundingNode(parameter_overrides=[Parameter(name, value=value) for name, value in given.items()]))


def tell(when: str) -> None:
    """Print whether OpenCV is loaded."""
    print(f"{when}={'cv2' in sys.modules}", flush=True)


if __name__ == "__main__":
    main()
