"""The action: feedback while it works, cancel, the caller's own image, and a reason for every refusal."""

import threading

import numpy as np
import pytest
from action_msgs.msg import GoalStatus

from segzero_ros import frame
from segzero_ros.backends.fake import FakeReasoner, FakeSegmenter, HangingReasoner, WaitingReasoner
from segzero_ros.errors import Code
from segzero_ros.ros.camera import CameraFrame
from tests.ros.robot import picture

NOTHING = "<think>No mug.</think><answer>[]</answer>"


def test_a_goal_succeeds_with_the_answer_that_is_also_published(robot):
    robot.publish_image()
    status, result = robot.goal_result("the mug")
    assert (status, result.code, result.detail) == (GoalStatus.STATUS_SUCCEEDED, Code.OK, "")
    assert str(result.segmentation) == str(robot.answer())  # equal but for NaN, which never is
    assert result.segmentation.header.frame_id == "camera"


def test_finding_nothing_is_a_success(make_robot):
    robot = make_robot(FakeReasoner(NOTHING)).is_("active")
    robot.publish_image()
    status, result = robot.goal_result("the mug")
    assert (status, result.code) == (GoalStatus.STATUS_SUCCEEDED, Code.NO_TARGET)


class WaitingSegmenter(FakeSegmenter):
    """Waits for ``go`` before it makes masks."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()

    def predict(self, targets):
        self.go.wait()
        return super().predict(targets)


def test_feedback_tells_the_stage_and_the_reasoning_so_far(make_robot):
    reasoner, segmenter = WaitingReasoner(), WaitingSegmenter()
    robot = make_robot(reasoner, segmenter).is_("active")
    robot.publish_image()
    feedback = []
    handle = robot.send_goal("the mug", feedback=lambda said: feedback.append(said.feedback))
    robot.until(lambda: reasoner.go() or any("hm, hm" in f.partial_reasoning for f in feedback), "the reasoning")
    reasoner.go(20_000)
    robot.until(lambda: feedback[-1].stage == "segmenting", "the next stage")
    segmenter.go.set()
    robot.result(handle.get_result_async())
    stages = list(dict.fromkeys(f.stage for f in feedback))
    assert stages in (["queued", "reasoning", "segmenting", "done"], ["queued", "reasoning", "segmenting"])
    elapsed = [f.elapsed_sec for f in feedback]
    assert elapsed == sorted(elapsed)
    lengths = [len(f.partial_reasoning) for f in feedback]
    assert lengths == sorted(lengths)


def test_a_cancelled_goal_ends_after_the_next_token(make_robot):
    reasoner = WaitingReasoner()
    robot = make_robot(reasoner).is_("active")
    robot.publish_image()
    handle = robot.send_goal("the mug")
    robot.until(reasoner.started.is_set, "the reasoner")
    reply = robot.result(handle.cancel_goal_async())
    assert len(reply.goals_canceling) == 1
    reasoner.go()
    reply = robot.result(handle.get_result_async())
    assert (reply.status, reply.result.code) == (GoalStatus.STATUS_CANCELED, Code.CANCELLED)
    assert reply.result.detail
    assert robot.answer().code == Code.CANCELLED


def test_a_goal_may_bring_its_own_image(robot):
    robot.publish_image(picture(frame_id="camera"))
    own = picture(32, 24, stamp=(3, 4), frame_id="hand")
    status, result = robot.goal_result("the mug", image=own)
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert result.segmentation.header == own.header
    assert (result.segmentation.mask.width, result.segmentation.mask.height) == (32, 24)


def test_an_image_is_checked_once_and_decoded_once_wherever_it_comes_from(robot, monkeypatch):
    checked, decoded = [], []
    check, decode = frame._layout, CameraFrame.__call__
    monkeypatch.setattr(frame, "_layout", lambda *fields: checked.append(fields) or check(*fields))
    monkeypatch.setattr(CameraFrame, "__call__", lambda image: decoded.append(image) or decode(image))
    robot.publish_image(picture(64, 48))
    assert robot.goal_result("the mug")[1].code == Code.OK
    assert robot.goal_result("the mug", image=picture(32, 24))[1].code == Code.OK
    assert checked == [(64, 48, "rgb8"), (32, 24, "rgb8")]
    assert [image.header for image in decoded] == [picture().header] * 2


def test_a_goal_with_its_own_image_needs_no_camera(make_robot):
    robot = make_robot(first_frame_sec=0.0).is_("active")
    assert robot.goal_result("the mug", image=picture())[1].code == Code.OK
    assert robot.goal_result("the mug")[1].code == Code.NO_FRAME


@pytest.mark.parametrize(
    ("fields", "code", "says"),
    [
        ({"timeout_sec": -1.0}, Code.CONFIG_VALUE, "timeout_sec"),
        ({"timeout_sec": float("nan")}, Code.CONFIG_VALUE, "timeout_sec"),
        ({"timeout_sec": float("inf")}, Code.CONFIG_VALUE, "timeout_sec"),
        ({"image": picture(8, 6, encoding="64FC4")}, Code.IMAGE_ENCODING, "64FC4"),
        ({"image": picture(8, 6, cut=5)}, Code.IMAGE_LAYOUT, "139 bytes"),
    ],
)
def test_a_bad_goal_is_aborted_with_its_reason(robot, fields, code, says):
    robot.publish_image()
    status, result = robot.goal_result("the mug", **fields)
    assert (status, result.code) == (GoalStatus.STATUS_ABORTED, code)
    assert says in result.detail
    assert robot.answer().code == code
    assert robot.goal_result("the mug")[1].code == Code.OK


@pytest.mark.parametrize("command", ["", "x" * 501])
def test_a_bad_command_is_aborted_with_its_reason(robot, command):
    status, result = robot.goal_result(command)
    assert status == GoalStatus.STATUS_ABORTED
    assert result.code in (Code.COMMAND_EMPTY, Code.COMMAND_TOO_LONG)
    assert result.detail


def test_a_goal_preempted_by_another_is_aborted(make_robot):
    reasoner = WaitingReasoner()
    robot = make_robot(reasoner).is_("active")
    robot.publish_image()
    first = robot.send_goal("the mug")
    robot.until(reasoner.started.is_set, "the reasoner")
    second = robot.send_goal("the bowl")
    reasoner.go(20_000)
    replies = [robot.result(handle.get_result_async()) for handle in (first, second)]
    assert [reply.result.code for reply in replies] == [Code.PREEMPTED, Code.OK]
    assert [reply.status for reply in replies] == [GoalStatus.STATUS_ABORTED, GoalStatus.STATUS_SUCCEEDED]


def test_an_engine_that_hangs_takes_neither_its_goal_nor_the_node_with_it(make_robot):
    reasoner = HangingReasoner()
    robot = make_robot(reasoner).is_("active")
    robot.node._worker._grace_ns = 0
    robot.publish_image()
    handle = robot.send_goal("the mug")
    robot.until(reasoner.started.is_set, "the reasoner")
    robot.result(handle.cancel_goal_async())
    assert robot.result(handle.get_result_async()).result.code == Code.CANCELLED
    assert robot.goal_result("the mug")[1].code == Code.BUSY
    assert "restart" in robot.diagnostics()["node"].message
    reasoner.release.set()
    robot.until(lambda: not robot.node._worker.stats().engine_hung, "the engine to come back")


def test_a_cancel_after_the_end_is_refused(robot):
    robot.publish_image()
    handle = robot.send_goal("the mug")
    robot.result(handle.get_result_async())
    assert robot.result(handle.cancel_goal_async()).goals_canceling == []


def test_a_goal_to_an_inactive_node_says_so(make_robot):
    robot = make_robot(autostart=False)
    status, result = robot.goal_result("the mug", image=picture())
    assert (status, result.code) == (GoalStatus.STATUS_ABORTED, Code.NOT_ACTIVE)
    assert "enable" in result.detail


def test_many_goals_at_once_each_get_one_result(robot):
    robot.publish_image()
    handles = [robot.send_goal(f"the mug {number}") for number in range(12)]
    codes = [robot.result(handle.get_result_async()).result.code for handle in handles]
    assert codes[-1] == Code.OK
    assert set(codes) <= {Code.OK, Code.PREEMPTED}
    robot.until(lambda: len(robot.answers) == 12, "all answers")
    assert len({answer.command_id for answer in robot.answers}) == 12
    assert np.all([bool(answer.detail) for answer in robot.answers if answer.code != Code.OK])
