"""config/segzero.foxglove.json fits: panels that exist, topics, types and services that the node really has.

`foxglove_panels.json` beside this file holds what the sources of Lichtblick, Foxglove's open fork, say of panels.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from segzero_ros.msg import Segmentation
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from segzero_ros.ros import convert, views
from segzero_ros.ros.qos import ENDPOINTS, interface_type

LAYOUT = json.loads(views.config_path("segzero.foxglove.json").read_text(encoding="utf-8"))
FACTS = json.loads((Path(__file__).parent / "foxglove_panels.json").read_text(encoding="utf-8"))
CONFIGS = LAYOUT["configById"]
(SCRIPT,) = LAYOUT["userNodes"].values()
DRAWN = re.search(r'export const output = "([^"]+)"', SCRIPT["sourceCode"])[1]
INPUTS = json.loads(re.search(r"export const inputs = (\[.*?\])", SCRIPT["sourceCode"])[1])
TYPES_ONLY = re.compile(
    r"^import .*|^type .*|^export (?:default )?|: ImageAnnotations"
    r"|: (?:Event|Picture|Point|Uint8Array|number)(?:\[\])*(?=[,) ])",
    re.MULTILINE,
)


def panels(kind):
    return {name: config for name, config in CONFIGS.items() if name.partition("!")[0] == kind}


def endpoint(topic):
    """The node's endpoint of an absolute name of the layout."""
    return ENDPOINTS.get(topic) or ENDPOINTS[topic.removeprefix("/")]


def leaves(node):
    """The panels of a mosaic."""
    return [node] if isinstance(node, str) else leaves(node["first"]) + leaves(node["second"])


def test_every_panel_is_somewhere_and_configured():
    tabs = [tab["layout"] for config in panels("Tab").values() for tab in config["tabs"]]
    assert sorted(leaves(LAYOUT["layout"]) + tabs) == sorted(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_panels_and_their_settings_exist(name):
    known = FACTS["panels"][name.partition("!")[0]]
    assert set(CONFIGS[name]) - {FACTS["title"]} <= set(known)


@pytest.mark.parametrize("name", panels("Image"))
def test_image_panels_show_pictures_of_the_node_and_its_camera(name):
    mode = CONFIGS[name]["imageMode"]
    for setting, types in FACTS["image"].items():
        if setting in mode:
            assert endpoint(mode[setting]).type in types
    assert set(mode.get("annotations", {})) <= {DRAWN}
    assert bool(mode.get("annotations")) == bool(mode.get("synchronize")), "a mask belongs to one picture alone"
    for topic, settings in CONFIGS[name].get("topics", {}).items():
        assert set(settings) <= set(FACTS["space"][endpoint(topic).type])


def test_the_space_panel_draws_all_that_the_node_says_in_space():
    (panel,) = panels("3D").values()
    for topic, settings in panel["topics"].items():
        assert set(settings) <= set(FACTS["space"][endpoint(topic).type])
    assert {"/target", "/grasps", "/cloud", "/markers"} <= set(panel["topics"])
    assert all(settings["visible"] for settings in panel["topics"].values())


@pytest.mark.parametrize("name", panels("RawMessages"))
def test_message_paths_lead_to_fields(name):
    topic, *fields = CONFIGS[name]["topicPath"].split(".")
    assert endpoint(topic).role == "publish"
    kind = interface_type(endpoint(topic).name)
    assert set(fields) <= set(kind.get_fields_and_field_types())


@pytest.mark.parametrize("name", panels("Publish"))
def test_what_is_published_is_what_the_node_listens_to(name):
    config = CONFIGS[name]
    asked = endpoint(config["topicName"])
    assert (asked.role, asked.type) == ("subscribe", config["datatype"])
    interface_type(asked.name)(**json.loads(config["value"]))


def test_the_service_is_the_nodes_and_takes_the_request():
    (config,) = panels("CallService").values()
    asked = endpoint(config["serviceName"])
    assert (asked.role, asked.type) == ("service", "std_srvs/srv/Trigger")
    Trigger.Request(**json.loads(config["requestPayload"]))


def test_health_and_log_are_those_of_ros():
    (health,), (log,) = panels("DiagnosticSummary").values(), panels("RosOut").values()
    assert endpoint(health["topicToRender"]).type == "diagnostic_msgs/msg/DiagnosticArray"
    assert log["topicToRender"] == "/rosout"


def test_the_running_node_has_every_name_of_the_layout(robot):
    named = {
        *(
            value
            for config in CONFIGS.values()
            for value in config.get("imageMode", {}).values()
            if str(value)[:1] == "/"
        ),
        *(topic for config in CONFIGS.values() for topic in config.get("topics", {})),
        *(config["topicPath"].partition(".")[0] for config in panels("RawMessages").values()),
        *(config["topicName"] for config in panels("Publish").values()),
        *INPUTS,
    }
    robot.until(robot.connected, "the node")
    there = dict(robot.client.get_topic_names_and_types())
    optional = {"/markers", "/camera_info"}  # of a package that may be missing; with `use_depth` only
    assert named - optional <= set(there)
    assert all(there[name] == [endpoint(name).type] for name in named & set(there))
    assert "/reset" in dict(robot.client.get_service_names_and_types())


def test_the_script_reads_what_answers_are_made_of():
    assert [endpoint(topic).type for topic in INPUTS] == ["segzero_ros/msg/Segmentation"] * 2
    assert {"header", "instances", "mask"} <= set(Segmentation.get_fields_and_field_types())


def drawn(message):
    """What the script makes of a message, run by Node.js without its types."""
    body = TYPES_ONLY.sub("", SCRIPT["sourceCode"])
    call = f"{body}\nconsole.log(JSON.stringify(draw({{ message: {json.dumps(message)} }})));"
    done = subprocess.run(["node", "-e", call], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def instance(**more):
    return {"label": "mug", "track_id": 0, "score": 0.5, "x0": 1.0, "y0": 2.0, "x1": 4.0, "y1": 6.0} | more


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js to run the layout's script")
@pytest.mark.parametrize(("kind", "encoding"), [(np.uint8, "mono8"), (np.uint16, "mono16")])
def test_the_script_draws_boxes_labels_and_every_pixel_of_the_masks(kind, encoding):
    labels = np.random.default_rng(3).choice(np.array([0, 1, 2], kind), (12, 9))
    mask = convert.mask_message(Header(), labels)
    assert mask.encoding == encoding
    picture = {name: getattr(mask, name) for name in ("encoding", "width", "height", "step")} | {"data": [*mask.data]}
    stamp = {"sec": 7, "nsec": 8}
    things = [instance(), instance(label="cup", track_id=4, score=0.25, x0=0.0)]
    made = drawn({"header": {"stamp": stamp}, "instances": things, "mask": picture})
    filled = np.zeros_like(labels)
    for number, line in enumerate(made["points"][:2], 1):
        assert (line["type"], line["timestamp"]) == (4, stamp)
        for first, last in zip(line["points"][::2], line["points"][1::2], strict=True):
            assert first["y"] == last["y"]
            filled[int(first["y"]), first["x"] : last["x"]] = number
    assert (filled == labels).all()
    assert [line["type"] for line in made["points"]] == [4, 4, 2, 2]
    assert made["points"][3]["points"][2] == {"x": 4.0, "y": 6.0}
    assert [text["text"] for text in made["texts"]] == ["mug 0.50", "cup #4 0.25"]


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js to run the layout's script")
def test_the_script_draws_nothing_where_nothing_was_found():
    empty = {"encoding": "", "width": 0, "height": 0, "step": 0, "data": []}
    made = drawn({"header": {"stamp": {"sec": 0, "nsec": 0}}, "instances": [], "mask": empty})
    assert made == {"circles": [], "points": [], "texts": []}
