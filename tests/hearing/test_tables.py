"""The tables agree: the settings, docs/speech.md, the node's parameters, the launch file. Needs no ROS."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

from segzero_ros.hearing.settings import HearingSettings
from segzero_ros.ros import processes
from segzero_ros.ros.hearing.process import PARAMETERS, spoken

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "speech.md").read_text(encoding="utf-8")
NODE = ROOT / "segzero_ros" / "ros" / "hearing" / "config.py"
ROWS = {row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \| `?(.*?)`? ?\| (.*?) ?\| (.*) \|$", PAGE, re.MULTILINE)}
SOURCE = ROOT / "launch" / "listener.launch.py"


def arguments():
    """The launch file's own arguments: name -> default."""
    nodes = ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8")))
    table = next(node.value for node in nodes if isinstance(node, ast.Assign) and node.targets[0].id == "ARGUMENTS")
    return {name: row[0] for name, row in ast.literal_eval(table).items()}


def defaults():
    common = {name: default for name, (default, _, _) in processes.COMMON_ARGUMENTS.items()}
    return {name: processes.read_argument(name, text) for name, text in {**common, **arguments()}.items()}


def test_the_arguments_are_the_listeners_parameters():
    assert PARAMETERS.keys() <= arguments().keys()
    assert set(PARAMETERS.values()) <= ROWS.keys()


def test_by_default_a_node_is_started_as_always_and_a_listener_with_its_own_defaults():
    node, listener = spoken(**defaults())
    assert node == processes.node()
    assert (listener.executable, dict(listener.parameters), dict(listener.remaps)) == ("segzero_listener", {}, {})
    assert processes.executable_path(listener.executable).stat().st_mode & 0o111


def test_the_listener_alone_gets_what_it_is_given():
    given = {"node": "false", "speech_model": "base.en", "words": "the red mug", "audio": "/mic", "namespace": "arm"}
    (listener,) = spoken(**{**defaults(), **given})
    assert dict(listener.parameters) == {"model": "base.en", "words": "the red mug"}
    assert dict(listener.remaps) == {"audio": "/mic"}
    assert "__ns:=/arm" in listener.command_line()


@pytest.mark.parametrize("name", ["use_sim_time"])
def test_what_is_for_all_nodes_is_for_the_listener_too(name):
    for process in spoken(**{**defaults(), name: True}):
        assert process.parameters[name] is True


def test_every_setting_is_on_the_page_with_its_default_and_its_range():
    for each in fields(HearingSettings):
        default, span, about = ROWS[each.name]
        limits = each.metadata
        assert default == str(each.default)
        assert span == (
            ", ".join(limits["choices"]) if "choices" in limits else f"{limits['low']:g} to {limits['high']:g}"
        )
        assert about == limits["description"]


def test_every_parameter_of_the_node_is_on_the_page_and_no_other():
    own = set(re.findall(r"_(?:text|choice|whole)\(\s*node, \"(\w+)\"", NODE.read_text(encoding="utf-8")))
    assert ROWS.keys() == own | {each.name for each in fields(HearingSettings)}
