"""The log tells of each command what became of it, in one line, and nothing that is not its business."""

import pytest

from segzero_ros.backends.fake import FakeReasoner, RaisingReasoner
from segzero_ros.errors import Code
from segzero_ros.ros.command_server import LOGGED_CHARS

SECRET = "sk-0123456789"


def listen(robot):
    """The lines about commands from now on; the node hands them to its logger at INFO."""
    lines, commands = [], robot.node._commands
    assert commands._log == robot.node.get_logger().info
    commands._log = lines.append
    return lines


def about(answer, lines):
    """The lines about the command of this answer."""
    return [line for line in lines if answer.command_id in line]


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
    lines = listen(robot)
    robot.publish_image()
    robot.send_command('the  "red"\nmug')
    answer = robot.answer()
    (line,) = robot.until(lambda: about(answer, lines), "the line")
    assert line.startswith(f"command {answer.command_id} 'the \"red\" mug': {code.name}, {found} found, ")
    assert line.endswith(" ms")
    assert SECRET not in line


def test_refused_commands_are_in_the_log_too(make_robot):
    robot = make_robot(autostart=False).is_("unconfigured")
    lines = listen(robot)
    for number, (text, code) in enumerate([("the mug", "NOT_ACTIVE"), ("", "COMMAND_EMPTY")], start=1):
        robot.send_command(text)
        answer = robot.answer(number)
        assert f"{text!r}: {code}" in robot.until(lambda answer=answer: about(answer, lines), "the line")[0]


def test_a_long_command_is_cut_in_the_log(make_robot):
    robot = make_robot(autostart=False).is_("unconfigured")
    lines = listen(robot)
    robot.send_command("cup " * 100)
    answer = robot.answer()
    (line,) = robot.until(lambda: about(answer, lines), "the line")
    assert ("cup " * 100)[:LOGGED_CHARS] + "..." in line
    assert len(line) < 2 * LOGGED_CHARS + 60
