"""What the SROS 2 policy allows a node, and what the node uses on the graph."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from rclpy.action import get_action_client_names_and_types_by_node
from rclpy.node import Node

POLICY = Path(__file__).parents[3] / "config" / "sros2_policy.xml"
SOMETIMES = {"/clock", "image/compressed"}  # with use_sim_time; of a camera that sends nothing else


def allowed(name: str) -> set[tuple[str, str]]:
    """Pairs of what may be done and the name, as ("publish", "command")."""
    profile = ET.parse(POLICY).getroot().find(f".//profile[@node='{name}']")  # noqa: S314
    assert profile is not None, f"the policy has no profile of {name}"
    return {(rule, str(one.text)) for kind in profile for rule in kind.attrib for one in kind} - {
        ("subscribe", name) for name in SOMETIMES
    }


def used(node: Node) -> set[tuple[str, str]]:
    """The same of a node at the root, as the graph has it."""
    of = (node.get_name(), node.get_namespace())
    found = {
        "publish": node.get_publisher_names_and_types_by_node(*of),
        "subscribe": node.get_subscriber_names_and_types_by_node(*of),
        "reply": node.get_service_names_and_types_by_node(*of),
        "request": node.get_client_names_and_types_by_node(*of),
        "call": get_action_client_names_and_types_by_node(node, *of),
    }
    return {(rule, _short(name, node)) for rule, names in found.items() for name, _ in names if "/_action/" not in name}


def _short(name: str, node: Node) -> str:
    own = f"/{node.get_name()}/"
    if name.startswith(own):
        return f"~/{name.removeprefix(own)}"
    return name if re.fullmatch(r"/(rosout|parameter_events|diagnostics|clock)", name) else name.removeprefix("/")
