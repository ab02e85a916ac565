"""config/segzero.rviz loads: what it names RViz has, its topics are the node's, and nothing the node says is missed.

RViz itself was not at hand; `rviz_displays.json` beside this file holds what its sources say.
"""

import json
from pathlib import Path

import pytest
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible

from segzero_ros.ros import processes, views
from segzero_ros.ros.qos import ENDPOINTS

yaml = pytest.importorskip("yaml", reason="needs PyYAML, which ROS brings along")
FACTS = json.loads((Path(__file__).parent / "rviz_displays.json").read_text(encoding="utf-8"))
COMMON = {"Class", "Name", "Enabled", "Value", "Topic"}
RELIABILITY = {"Best Effort": ReliabilityPolicy.BEST_EFFORT, "Reliable": ReliabilityPolicy.RELIABLE}
DURABILITY = {"Volatile": DurabilityPolicy.VOLATILE, "Transient Local": DurabilityPolicy.TRANSIENT_LOCAL}


@pytest.fixture(scope="module")
def manager():
    return yaml.safe_load(views.config_path(views.CONFIG).read_text(encoding="utf-8"))["Visualization Manager"]


@pytest.fixture(scope="module")
def displays(manager):
    return manager["Displays"]


def kind_of(display):
    return display["Class"].removeprefix("rviz_default_plugins/")


def plugins(node):
    """Every class of rviz_default_plugins anywhere in the file."""
    if isinstance(node, dict):
        found = [node["Class"]] if str(node.get("Class", "")).startswith("rviz_default_plugins/") else []
        return found + [name for value in node.values() for name in plugins(value)]
    return [name for value in node for name in plugins(value)] if isinstance(node, list) else []


def test_every_class_is_one_that_rviz_ships(manager):
    used = [name.removeprefix("rviz_default_plugins/") for name in plugins(manager)]
    assert len(used) > 10
    assert set(used) <= set(FACTS["plugins"])


def test_every_property_and_choice_of_a_display_exists(displays):
    for display in displays:
        facts = FACTS["displays"][kind_of(display)]
        assert set(display) - COMMON <= set(facts["properties"]), display["Name"]
        for name, choices in facts["choices"].items():
            assert display.get(name, choices[0]) in choices, display["Name"]
        if "Topic" in display:
            assert set(display["Topic"]) == {"Value", *FACTS["qos"]}


def test_the_camera_hides_displays_that_exist(displays):
    names = {display["Name"] for display in displays}
    assert len(names) == len(displays)
    for display in displays:
        assert set(display.get("Visibility", {})) - {"Value"} <= names


def test_each_topic_has_the_type_that_its_display_takes(displays):
    for display in (display for display in displays if "Topic" in display):
        endpoint = ENDPOINTS[display["Topic"]["Value"]]
        wanted = FACTS["displays"][kind_of(display)]["type"]
        if endpoint.name.endswith("/compressed"):  # image_transport decodes it
            wanted = wanted.replace("/Image", "/CompressedImage")
        assert (endpoint.type, endpoint.name) == (wanted, display["Topic"]["Value"])


def test_what_is_asked_of_the_node_is_what_it_publishes(robot, displays):
    asked = [display["Topic"] for display in displays if "Topic" in display and display["Topic"]["Value"] != "image"]
    assert len(asked) >= 4
    seen = 0
    for topic in asked:
        endpoint = ENDPOINTS[topic["Value"]]
        offers = robot.client.get_publishers_info_by_topic(f"/{endpoint.name}")
        if not offers and endpoint.type.startswith("visualization_msgs/"):
            continue  # where that package is not installed
        (offer,) = offers
        assert offer.topic_type == endpoint.type
        reliability = RELIABILITY[topic["Reliability Policy"]]
        durability = DURABILITY[topic["Durability Policy"]]
        wish = QoSProfile(depth=topic["Depth"], reliability=reliability, durability=durability)
        assert qos_check_compatible(offer.qos_profile, wish)[0] != QoSCompatibility.ERROR
        assert (offer.qos_profile.reliability, topic["Depth"]) == (reliability, endpoint.depth)
        seen += 1
    assert seen >= 4


def test_the_camera_is_taken_whatever_it_offers(displays):
    (camera,) = (display["Topic"] for display in displays if kind_of(display) == "Camera")
    assert (camera["Value"], camera["Reliability Policy"]) == ("image", "Best Effort")


def test_everything_in_space_that_the_node_says_is_shown(displays):
    shown = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    in_space = {"target", "grasps", "cloud", "markers"}
    assert in_space | {"image", "overlay/compressed"} == shown


def test_its_frame_is_the_one_the_demos_camera_stands_in(manager):
    assert manager["Global Options"]["Fixed Frame"] == processes.TABLE_FRAME
