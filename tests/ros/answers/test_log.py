"""The log tells of each command what became of it, in one line, and nothing that is not its business."""

import pytest
from rcl_interfaces.msg import Log

from segzero_ros.backends.fake import FakeReasoner, RaisingReasoner
from segzero_ros.errors import Code
from segzero_ros.ros.command_server import LOGGED_CHARS

SECRET = "sk-0123456789"


def logged(robot):
    """The growing list of what the node's log says of commands."""
    lines = []

    def on_line(message):
        if message.msg.startswith("command ") and message.level == 20:  # INFO
            lines.append(message.msg)

    robot.client.create_subscription(Log, "/rosout", on_line, 100)
    robot.until(lambda: robot.client.count_publishers("/rosout") >= 2, "the log")
    return lines


@pytest.mark.parametrize(
    ("engine", "code", "found"),
    [
        (FakeReasoner(), Code.OK, 1),
        (FakeReasoner(f"<think>{SECRET}</think><answer>[]</answer>"), Code.NO_TARGET, 0),
        (RaisingReasoner(RuntimeError(SECRET)), Code.REASONER_FAILED, 0),
    ],
)
def test_a_command_is_one_line_with_its_id_words_code_and_time(make_robot, engine, code, found):
    robot = make_robot(engine).is_("active")
    lines = logged(robot)
    robot.publish_image()
    robot.send_command('the  "red"\nmug')
    answer = robot.answer()
    (line,) = robot.until(lambda: lines, "the line")
    assert line.startswith(f"command {answer.command_id} 'the \"red\" mug': {code.name}, {found} found, ")
    assert line.endswith(" ms")
    assert SECRET not in line


def test_refused_commands_are_in_the_log_too(make_robot):
    robot = make_robot(autostart=False).is_("unconfigured")
    lines = logged(robot)
    for number, (text, code) in enumerate([("the mug", "NOT_ACTIVE"), ("", "COMMAND_EMPTY")], start=1):
        robot.send_command(text)
        robot.answer(number)
        assert f"{text!r}: {code}" in robot.until(lambda number=number: lines[number - 1 :], "the line")[0]


def test_a_long_command_is_cut_in_the_log(make_robot):
    robot = make_robot(autostart=False).is_("unconfigured")
    lines = logged(robot)
    robot.send_command("cup " * 100)
    robot.answer()
    (line,) = robot.until(lambda: lines, "the line")
    assert ("cup " * 100)[:LOGGED_CHARS] + "..." in line
    assert len(line) < 2 * LOGGED_CHARS + 60
