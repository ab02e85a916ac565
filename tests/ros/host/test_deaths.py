"""Engines that crash, hang and are killed under a real node: one answer per command, the node lives, and says so."""

import os
import signal
import threading
import time
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from segzero_ros.errors import Code
from tests.host.conftest import named_memory, open_files, until
from tests.host.test_pipeline import gone

KILLS = 8


def engines_pid(robot: Any) -> int:
    return int(robot.node._host.state().pid)


def is_open(robot: Any) -> bool:
    return bool(robot.node._host.state().phase == "ready" and engines_pid(robot))


def ask(robot: Any, words: str, *, by_action: bool, **fields: Any) -> Code:
    """One command by topic or action; exactly one answer is published either way."""
    number = len(robot.answers) + 1
    if by_action:
        code = robot.goal_result(words, **fields)[1].code
        assert robot.answer(number).code == code
    else:
        robot.send_command(words)
        code = robot.answer(number).code
    return Code(code)


def test_kills_at_any_moment_leave_one_answer_each_and_the_node_says_what_happens(make_hosted):
    robot = make_hosted().is_ready()
    robot.publish_image()
    heard = robot.listen("/diagnostics", DiagnosticArray)
    assert ask(robot, "the mug", by_action=True) == Code.OK
    rng, codes, files, memory = np.random.default_rng(11), [], open_files(), named_memory()
    for number in range(KILLS):
        robot.until(lambda: is_open(robot), "the engines to open")
        pid = engines_pid(robot)
        killer = threading.Timer(rng.uniform(0, 0.35), os.kill, (pid, signal.SIGKILL))
        killer.start()
        codes.append(ask(robot, "slow mug", by_action=bool(number % 2)))
        killer.join()
        until(lambda pid=pid: gone(pid), "the process to be gone")
        assert ask(robot, "the mug", by_action=not number % 2) == Code.OK
    assert set(codes) <= {Code.OK, Code.REASONER_DIED}
    assert Code.REASONER_DIED in codes
    assert robot.node._host.state().restarts == KILLS
    said = [status.message for array in heard for status in array.status]
    assert any("being opened again" in message and "SIGKILL" in message for message in said)
    assert robot.diagnostics()["node"].level == DiagnosticStatus.OK
    assert named_memory() == memory
    until(lambda: open_files() <= files, "files to be closed")


def test_a_hang_ends_with_its_deadline_and_the_next_command_is_answered(make_hosted):
    robot = make_hosted().is_ready()
    robot.publish_image()
    pid, began = engines_pid(robot), time.monotonic()
    assert ask(robot, "hang", by_action=True, timeout_sec=0.3) == Code.TIMEOUT
    assert time.monotonic() - began < 0.3 + 2.9 + 2  # on a busy machine
    assert ask(robot, "the mug", by_action=False) == Code.OK
    assert gone(pid)


def test_a_goal_that_is_cancelled_while_its_engine_hangs_is_cancelled(make_hosted):
    robot = make_hosted().is_ready()
    robot.publish_image()
    handle = robot.send_goal("hang")
    robot.result(handle.cancel_goal_async())
    assert robot.result(handle.get_result_async()).result.code == Code.CANCELLED
    assert robot.answer(1).code == Code.CANCELLED
    assert ask(robot, "the mug", by_action=True) == Code.OK
