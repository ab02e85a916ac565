"""The action `segment`: a command with feedback, cancel and a result that says how it went.

Every goal is accepted, bad ones too, since a rejection cannot say why: what is wrong comes as code and detail of the
result of an aborted goal.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.task import Future
from sensor_msgs.msg import Image

from segzero_ros.action import Segment
from segzero_ros.errors import ANSWERED, Code, RejectedInput
from segzero_ros.msg import Segmentation
from segzero_ros.ros.camera import CameraFrame
from segzero_ros.ros.command_server import CommandServer, Progress
from segzero_ros.ros.parameters import Parameters
from segzero_ros.ros.qos import goal_qos

if TYPE_CHECKING:
    from rclpy.action.server import ServerGoalHandle
    from rclpy.node import Node

RESULT_KEPT_S = 30  # rclpy keeps results for 15 minutes by default, masks and all: gigabytes at one command per second
MAX_TIMEOUT_S = 3600.0

Wrap = Callable[[Image], CameraFrame | None]


class SegmentAction:
    """The action server; a goal becomes a command and waits for its answer without holding a thread."""

    def __init__(self, node: "Node", command_server: CommandServer, wrap: Wrap, parameters: Parameters) -> None:
        """``wrap``: makes a frame's source of a goal's own image; None while there is no camera."""
        self.waiting = 0
        self._commands = command_server
        self._wrap = wrap
        self._parameters = parameters
        self._server = ActionServer(
            node,
            Segment,
            "segment",
            execute_callback=self._execute,
            goal_callback=lambda _goal: GoalResponse.ACCEPT,
            cancel_callback=self._cancel,
            result_timeout=RESULT_KEPT_S,
            goal_service_qos_profile=goal_qos(),
            result_service_qos_profile=goal_qos(),
        )

    def destroy(self) -> None:
        """End the server; the executor must not spin any more."""
        self._server.destroy()

    async def _execute(self, goal: "ServerGoalHandle") -> Segment.Result:
        """Take the goal's command in, wait for its answer, and close the goal."""
        answered: Future = Future()
        self.waiting += 1
        try:
            self._submit(goal, answered)
            answer = await answered
        finally:
            self.waiting -= 1
        return _finish(goal, answer)

    def _submit(self, goal: "ServerGoalHandle", answered: Future) -> None:
        request = goal.request
        try:
            timeout_s, fault = self._timeout_s(request), None
            source = self._wrap(request.image) if request.image.width else None
        except RejectedInput as error:
            timeout_s, source, fault = 1.0, None, error
        self._commands.submit(
            request.command,
            command_id=_goal_id(goal),
            timeout_s=timeout_s,
            track=bool(request.track),
            source=source,
            fault=fault,
            on_progress=lambda progress: _publish_feedback(goal, progress),
            on_answer=answered.set_result,
        )

    def _cancel(self, goal: "ServerGoalHandle") -> CancelResponse:
        return CancelResponse.ACCEPT if self._commands.cancel(_goal_id(goal)) else CancelResponse.REJECT

    def _timeout_s(self, request: Segment.Goal) -> float:
        if not 0.0 <= request.timeout_sec <= MAX_TIMEOUT_S:
            raise RejectedInput(
                Code.CONFIG_VALUE,
                f"got timeout_sec = {request.timeout_sec:g}, want 0 (the node's) to {MAX_TIMEOUT_S:g}",
            )
        return float(request.timeout_sec) or float(self._parameters.value("timeout_sec"))


def _goal_id(goal: "ServerGoalHandle") -> str:
    return bytes(goal.goal_id.uuid).hex()


def _publish_feedback(goal: "ServerGoalHandle", progress: Progress) -> None:
    goal.publish_feedback(
        Segment.Feedback(
            stage=str(progress.stage.value),
            partial_reasoning=progress.reasoning,
            elapsed_sec=float(progress.elapsed_s),
        )
    )


def _finish(goal: "ServerGoalHandle", answer: Segmentation) -> Segment.Result:
    if answer.code in ANSWERED:
        goal.succeed()
    elif goal.is_cancel_requested:
        goal.canceled()
    else:
        goal.abort()
    return Segment.Result(code=answer.code, detail=answer.detail, segmentation=answer)
