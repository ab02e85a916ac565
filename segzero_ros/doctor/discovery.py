"""`python -m segzero_ros.doctor.discovery`: whether two nodes find each other; prints one line of JSON."""

import json
import time

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from std_msgs.msg import String

WAIT_S = 10.0


def main() -> None:
    """Make two participants and let one hear the other."""
    began = time.monotonic()
    speaking, hearing = Context(), Context()
    for context in (speaking, hearing):
        rclpy.init(args=[], context=context)
    speaker, hearer = Node("segzero_doctor_a", context=speaking), Node("segzero_doctor_b", context=hearing)
    publisher = speaker.create_publisher(String, "segzero_doctor", 1)
    hearer.create_subscription(String, "segzero_doctor", lambda _: None, 1)
    found = False
    while not found and time.monotonic() - began < WAIT_S:
        found = publisher.get_subscription_count() > 0
        time.sleep(0.01)
    met_ms = 1e3 * (time.monotonic() - began)
    nodes = [
        f"{space.rstrip('/')}/{name}" for name, space in hearer.get_node_names_and_namespaces() if name == "segzero"
    ]
    for node in (speaker, hearer):
        node.destroy_node()
    for context in (speaking, hearing):
        context.shutdown()
    print(json.dumps({"found": found, "ms": met_ms, "nodes": sorted(nodes)}))


if __name__ == "__main__":
    main()
