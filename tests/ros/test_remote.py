"""Four robots, each a node with a camera of its own, on one `segzero serve`; then without it."""

import signal

import numpy as np
import pytest
from rclpy.parameter import Parameter
from segzero_ros.msg import Segmentation
from std_msgs.msg import Header

from segzero_ros.backends import EngineOptions, open_pipeline
from segzero_ros.bundle import open_bundle, resolve_bundle
from segzero_ros.command import read_command
from segzero_ros.frame import Frame
from segzero_ros.ros import convert
from segzero_ros.ros.node import GroundingNode
from tests.ros.robot import PATIENCE_S, Robot
from tests.server.conftest import ServeProcess

ROBOTS = 4


@pytest.fixture(scope="module")
def questions():
    """A picture and a command for each robot, and what the bundle answers on this machine."""
    from segzero_ros.tabletop import samples

    pipeline = open_pipeline(open_bundle(resolve_bundle("tabletop")), "onnx", options=EngineOptions(threads=1))
    drawn = [(one.view.rgb, one.instruction.text) for one in samples("test", 11, ROBOTS)]
    return [(rgb, text, pipeline.ground(Frame(rgb, 0), read_command(text, "here"))) for rgb, text in drawn]


@pytest.fixture
def server():
    started = ServeProcess()
    yield started
    if started.process.poll() is None:
        started.end()


@pytest.fixture
def robots(ros, server):
    made = [Robot(make_node(number, server.url)) for number in range(ROBOTS)]
    yield [robot.is_ready() for robot in made]
    for robot in made:
        robot.close()


def make_node(number: int, url: str) -> GroundingNode:
    values = {
        "backend": "remote",
        "server": url,
        "server_timeout_sec": PATIENCE_S,
        "timeout_sec": 2 * PATIENCE_S,
        "stale_sec": 60.0,
        "threads": 1,
    }
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    return GroundingNode(namespace=f"robot{number}", parameter_overrides=overrides)


def everybody_asks(robots, questions, number: int) -> list[Segmentation]:
    """Show each robot its picture, ask all of them, and only then wait for the answers."""
    for robot, (rgb, text, _) in zip(robots, questions, strict=True):
        robot.publish_image(convert.image_message(Header(frame_id="camera"), rgb, "rgb8"))
        robot.send_command(text)
    return [robot.answer(number) for robot in robots]


def agrees(answer: Segmentation, expected) -> bool:
    found = [(one.x0, one.y0, one.x1, one.y1) for one in answer.instances]
    wanted = [one.box for one in expected.instances]
    same = (answer.code, answer.reasoning) == (expected.code, expected.reasoning)
    return same and np.allclose(found, wanted)


def test_four_nodes_on_one_server_answer_as_they_would_alone_and_go_on_when_it_dies(robots, server, questions):
    for number in (1, 2):
        answers = everybody_asks(robots, questions, number)
        assert [agrees(*pair) for pair in zip(answers, (expected for _, _, expected in questions), strict=True)] == [
            True
        ] * ROBOTS
        if number == 1:
            server.end(signal.SIGKILL)
    for robot in robots:
        said = "the local bundle answers: SERVER_UNREACHABLE"
        robot.until(lambda: said in robot.diagnostics()["node"].message, "the diagnostics to say it")  # noqa: B023
