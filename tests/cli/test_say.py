"""`segzero say` to a real node over real DDS: an answer, or one line about why there is none."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("segzero_ros.msg", reason="needs the built interfaces")

from segzero_ros.demo.process_group import ProcessGroup, free_domain
from segzero_ros.ros import processes

PATIENCE_S = 200  # seconds on a free machine


@pytest.fixture(scope="module")
def graph():
    """Environment variables of a ROS graph of our own."""
    return os.environ | {"ROS_DOMAIN_ID": str(free_domain()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def say(graph, *arguments):
    command = [sys.executable, "-m", "segzero_ros.cli", "say", *arguments]
    done = subprocess.run(command, env=graph, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    return done.returncode, done.stdout, done.stderr


def test_without_a_node_it_says_how_to_start_one(graph):
    status, _, complaint = say(graph, "the mug", "--wait", "1")
    assert status == 2
    assert "ros2 launch segzero_ros demo.launch.py" in complaint
    assert "Traceback" not in complaint


def test_the_nodes_answer_is_printed_and_its_code_is_the_status(graph, tmp_path):
    node = processes.node(backend="fake", namespace="arm")
    line = [*node.command_line(), "-p", "first_frame_sec:=0.1"]
    with ProcessGroup(tmp_path) as children:
        children.start("node", line, graph)
        options = ["the mug", "--wait", "150", "--json", "--ros-args", "-r", "__ns:=/arm"]
        status, shown, complaint = say(graph, *options)
        children.check()
    assert status == 1, complaint
    answer = json.loads(shown)
    assert (answer["code"], answer["command"], answer["instances"]) == ("NO_FRAME", "the mug", [])
    assert "no frame" in answer["detail"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("-r", "__ns:=/arm-1"),
        ("--params-file", "/nowhere/robot.yaml"),
        ("--log-level", "loud"),
        ("-p", "wait"),
        ("--nonsense",),
    ],
)
def test_arguments_that_ros_refuses_end_in_a_line_and_status_2(graph, arguments):
    status, shown, complaint = say(graph, "the mug", "--wait", "1", "--ros-args", *arguments)
    assert (status, shown) == (2, "")
    (line,) = [line for line in complaint.splitlines() if line.startswith("segzero say: ")]
    assert "correct what follows --ros-args" in line
    assert arguments[-1] in line
    assert "Traceback" not in complaint
