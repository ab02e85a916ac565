"""What the SROS 2 policy allows a node, and what the node has opened."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from rclpy.action import ActionClient
from rclpy.node import Node

POLICY = Path(__file__).parents[3] / "config" / "sros2_policy.xml"
SOMETIMES = {"/clock", "image/compressed"}  # with use_sim_time; of a camera that sends nothing else
BELOW = {("publish", "/rosout")}  # opened by rcl, where Python does not see it


def allowed(name: str) -> set[tuple[str, str]]:
    """Pairs of what may be done and the name, as ("publish", "command"), but for ``BELOW``."""
    profile = ET.parse(POLICY).getroot().find(f".//profile[@node='{name}']")  # noqa: S314
    assert profile is not None, f"the policy has no profile of {name}"
    found = {(rule, str(one.text)) for kind in profile for rule in kind.attrib for one in kind}
    assert found >= BELOW
    return found - BELOW - {("subscribe", name) for name in SOMETIMES}


def used(node: Node) -> set[tuple[str, str]]:
    """The same of a node at the root."""
    found = {
        "publish": [one.topic_name for one in node.publishers],
        "subscribe": [one.topic_name for one in node.subscriptions],
        "reply": [one.service_name for one in node.services],
        "request": [one.service_name for one in node.clients],
        "call": [one._action_name for one in node.waitables if isinstance(one, ActionClient)],
    }
    return {(rule, _short(name, node)) for rule, names in found.items() for name in names}


def _short(name: str, node: Node) -> str:
    own = f"/{node.get_name()}/"
    if name.startswith(own):
        return f"~/{name.removeprefix(own)}"
    return name if re.fullmatch(r"/(rosout|parameter_events|diagnostics|clock)", name) else name.removeprefix("/")
