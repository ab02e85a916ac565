"""A camera that shows one picture for ever: publishes a JPEG or PNG file on `image`, ten times a second.

    python3 tools/still_camera.py docs/images/table.jpg [--ros-args ...]

For trying an installation where MuJoCo, which renders the demo world, is not wanted. Needs rclpy, sensor_msgs, OpenCV.
"""

import sys

import cv2
import rclpy
from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import Image


def main() -> int:
    """Publish until SIGINT."""
    pixels = cv2.imread(sys.argv[1])
    if pixels is None:
        print(f"still_camera: could not read {sys.argv[1]!r}; give the path of a JPEG or PNG file", file=sys.stderr)
        return 2
    rclpy.init(args=sys.argv)
    node = rclpy.create_node("still_camera")
    publisher = node.create_publisher(Image, "image", 1)
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding="bgr8", step=3 * pixels.shape[1])
    message.header.frame_id = "camera"
    message.data.frombytes(pixels.tobytes())

    def publish() -> None:
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)

    node.create_timer(0.1, publish)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
