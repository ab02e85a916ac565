"""The command that the README gives to demo.launch.py fits the table that this launch file shows."""

import re

import numpy as np

from segzero_ros.backends import open_pipeline
from segzero_ros.bundle import open_bundle, resolve_bundle
from segzero_ros.command import Command
from segzero_ros.errors import Code
from segzero_ros.frame import Frame
from segzero_ros.tabletop import LiveWorld
from tools.readme import README, ROOT

MOMENTS_S = (1.0, 4.0, 10.0, 25.0)


def launched_world():
    """The world of the camera node's defaults, which the launch file does not override."""
    source = (ROOT / "segzero_ros" / "ros" / "camera_node.py").read_text(encoding="utf-8")
    scenario = re.search(r'"scenario", "(\w+)"', source).group(1)
    return LiveWorld(scenario, int(re.search(r'"seed", (\d+)', source).group(1)), (640, 480))


def test_it_finds_the_thing_it_names_and_nothing_where_there_is_none():
    named = re.search(r'demo\.launch\.py command:="the ([\w ]+)"', README.read_text(encoding="utf-8")).group(1)
    pipeline = open_pipeline(open_bundle(resolve_bundle("tabletop")), "onnx")
    with launched_world() as world:
        for moment in MOMENTS_S:
            view = world.step(moment)
            frame = Frame(np.ascontiguousarray(view.rgb), 0)
            (thing,) = [thing for thing in view.things if f"{thing.colour} {thing.kind}" == named]
            found, meant = pipeline.ground(frame, Command("it", f"the {named}")).labels > 0, view.labels == thing.id
            assert (found & meant).sum() > 0.5 * (found | meant).sum(), moment
            assert pipeline.ground(frame, Command("none", "the red mug")).code is Code.NO_TARGET, moment
