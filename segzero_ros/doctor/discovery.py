"""`python -m segzero_ros.doctor.discovery`: whether two nodes find each other; prints one line of JSON."""

import json
import time

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from std_msgs.msg import String

WAIT_S = 10.0
NAMES_S = 2.0  # after they have met: the names of nodes come later than their topics


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
    nodes, until = grounding_nodes(hearer), time.monotonic() + NAMES_S
    while found and not nodes and time.monotonic() < until:
        time.sleep(0.05)
        nodes = grounding_nodes(hearer)
    for node in (speaker, hearer):
        node.destroy_node()
    for context in (speaking, hearing):
        context.shutdown()
    print(json.dumps({"found": found, "ms": met_ms, "nodes": sorted(nodes)}))


def grounding_nodes(node: Node) -> list[str]:
    """Return the nodes named segzero that ``node`` knows of, with their namespaces."""
    return [f"{space.rstrip('/')}/{name}" for name, space in node.get_node_names_and_namespaces() if name == "segzero"]


if __name__ == "__main__":
    main()
