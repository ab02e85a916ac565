"""`mask` and `detections`, which carry no code, are published only of commands that were carried out."""

import sys
import types

import pytest
from segzero_ros.msg import Instance, Segmentation
from sensor_msgs.msg import CompressedImage, Image

from segzero_ros.backends.fake import (
    FakeReasoner,
    GarbageReasoner,
    RaisingReasoner,
    RaisingSegmenter,
    WaitingReasoner,
)
from segzero_ros.errors import Code
from segzero_ros.ros.qos import topic_qos

NOTHING = "<think>No mug.</think><answer>[]</answer>"


class StandIn:
    """A message of vision_msgs as far as its fields go: each is there as soon as it is asked for."""

    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        self.__dict__[name] = StandIn()
        return self.__dict__[name]


class Recorder(list):
    """A publisher that keeps what it is given."""

    publish = list.append


@pytest.fixture
def vision_msgs(monkeypatch):
    """Puts a stand-in where the package would be; called once the node, which asks for the real one, is there."""
    names = ("BoundingBox2D", "Detection2D", "Detection2DArray", "ObjectHypothesisWithPose")
    messages = types.ModuleType("vision_msgs.msg")
    for name in names:
        setattr(messages, name, StandIn)

    def install():
        monkeypatch.setitem(sys.modules, "vision_msgs", types.ModuleType("vision_msgs"))
        monkeypatch.setitem(sys.modules, "vision_msgs.msg", messages)
        monkeypatch.delitem(sys.modules, "segzero_ros.ros.detections", raising=False)

    yield install
    sys.modules.pop("segzero_ros.ros.detections", None)


def parts_of(robot, vision_msgs):
    """The masks and detections that come."""
    vision_msgs()
    robot.node._outputs._publishers["detections"] = detections = Recorder()
    return robot.listen("mask", Image), detections


@pytest.mark.parametrize(
    ("engines", "code"),
    [
        ((GarbageReasoner(),), Code.ANSWER_UNREADABLE),
        ((RaisingReasoner(),), Code.REASONER_FAILED),
        ((FakeReasoner(), RaisingSegmenter()), Code.SEGMENTER_FAILED),
    ],
)
def test_a_command_that_failed_shows_no_empty_scene(make_robot, vision_msgs, engines, code):
    robot = make_robot(*engines).is_("active")
    masks, detections = parts_of(robot, vision_msgs)
    robot.publish_image()
    robot.send_command("the mug")
    assert robot.answer().code == code
    robot.diagnostics()  # a message published before them would be here by now
    assert (masks, detections) == ([], [])


def test_neither_does_one_that_was_preempted_or_cancelled(make_robot, vision_msgs):
    reasoner = WaitingReasoner()
    robot = make_robot(reasoner).is_("active")
    masks, detections = parts_of(robot, vision_msgs)
    robot.publish_image()
    robot.send_command("the mug")
    robot.until(reasoner.started.is_set, "the reasoner")
    robot.send_command("the bowl")
    robot.until(lambda: robot.node._worker.stats().commands == 2, "the second command")
    robot.reset()
    reasoner.go(20_000)
    robot.until(lambda: len(robot.answers) == 2, "both answers")
    assert {answer.code for answer in robot.answers} == {Code.PREEMPTED, Code.CANCELLED}
    robot.diagnostics()
    assert (masks, detections) == ([], [])


@pytest.mark.parametrize(("text", "code", "count"), [(NOTHING, Code.NO_TARGET, 0), (None, Code.OK, 1)])
def test_one_that_was_carried_out_shows_what_is_there(make_robot, vision_msgs, text, code, count):
    robot = make_robot(FakeReasoner(text) if text else None).is_("active")
    masks, detections = parts_of(robot, vision_msgs)
    robot.publish_image()
    robot.send_command("the mug")
    assert robot.answer().code == code
    robot.until(lambda: masks and detections, "mask and detections")
    assert [len(array.detections) for array in detections] == [count]


@pytest.mark.parametrize("reliability", ["reliable", "best_effort"])
def test_a_viewer_of_either_reliability_gets_every_overlay(robot, reliability):
    overlays = []
    qos = topic_qos("overlay/compressed", reliability)
    robot.client.create_subscription(CompressedImage, "overlay/compressed", overlays.append, qos)
    publisher = robot.node._outputs._publishers["overlay/compressed"]
    robot.until(publisher.get_subscription_count, "the viewer")
    for number in (1, 2, 3):
        robot.publish_image()
        robot.send_command("the mug")
        robot.answer(number)
        robot.until(lambda number=number: len(overlays) == number, "the overlay")


@pytest.mark.parametrize(("track", "id"), [(0, ""), (7, "7")])
def test_a_detection_has_an_id_only_where_it_is_tracked(vision_msgs, track, id):
    vision_msgs()
    from segzero_ros.ros.detections import detections_message

    answer = Segmentation(instances=[Instance(label="the mug", track_id=track), Instance(label="a cup")])
    assert [found.id for found in detections_message(answer).detections] == [id, ""]
