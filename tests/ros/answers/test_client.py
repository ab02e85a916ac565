"""`segzero say` and its client: ended by Ctrl-C at any moment, and finding its answer whatever was typed."""

import argparse
import signal
import time

import pytest

from segzero_ros.backends.fake import WaitingReasoner
from segzero_ros.cli import say
from segzero_ros.errors import Code
from segzero_ros.ros import client as clients
from segzero_ros.ros.executor.process import StartError, start_ros

OPTIONS = {"command": "the mug", "timeout": 30, "wait": 50, "json": False, "ros_args": []}


@pytest.fixture
def make_client(ros, monkeypatch):
    """Clients in the tests' own ROS context."""
    monkeypatch.setattr(clients, "start_ros", lambda _: None)
    monkeypatch.setattr(clients.rclpy, "try_shutdown", lambda: None)
    return clients.Client


def options(**changed):
    return argparse.Namespace(**{**OPTIONS, **changed})


def test_ctrl_c_while_there_is_no_node_ends_it_at_once(make_client):
    interrupt = say.Interrupt()
    client = make_client(alive=interrupt.check)
    interrupt(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        say.send(client, options(), interrupt)


def test_ctrl_c_cancels_the_command_at_work_and_its_answer_is_printed(make_robot, make_client, capsys):
    reasoner = WaitingReasoner()
    robot = make_robot(reasoner).is_("active")
    robot.publish_image()
    interrupt = say.Interrupt()

    def alive():
        if reasoner.started.is_set() and not interrupt:
            interrupt(signal.SIGINT, None)
        reasoner.go()
        interrupt.check()

    assert say.send(make_client(alive=alive), options(), interrupt) == 1
    assert "CANCELLED" in capsys.readouterr().out


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_it_though_the_node_says_nothing_to_the_cancel(make_robot, make_client, monkeypatch, capsys, times):
    reasoner = WaitingReasoner()
    robot = make_robot(reasoner).is_("active")
    robot.publish_image()
    monkeypatch.setattr(say, "CANCEL_S", 0.0 if times == 1 else 1e9)
    interrupt = say.Interrupt()

    def alive():
        if reasoner.started.is_set():
            for _ in range(times):
                interrupt(signal.SIGINT, None)
        interrupt.check()

    with pytest.raises(KeyboardInterrupt):
        say.send(make_client(alive=alive), options(), interrupt)
    assert "may still be at work" in capsys.readouterr().err
    reasoner.go(50)


def test_a_node_that_ends_at_work_is_said_long_before_the_timeout(make_robot, make_client, monkeypatch):
    reasoner = WaitingReasoner()
    robot = make_robot(reasoner).is_("active")
    robot.publish_image()

    def alive():
        if reasoner.started.is_set():
            monkeypatch.setattr(client._action, "server_is_ready", lambda: False)

    client = make_client(alive=alive)
    client.wait_for_action(50)
    began = time.monotonic()
    with pytest.raises(clients.NoAnswerError, match="the node has ended"):
        client.send_goal("the mug", timeout_s=50)
    assert time.monotonic() - began < 20
    client.close()
    reasoner.go(50)


def test_a_goal_waits_for_the_action_alone(make_robot, make_client, monkeypatch):
    robot = make_robot().is_("active")
    robot.publish_image()
    client = make_client()
    monkeypatch.setattr(type(client._command), "get_subscription_count", lambda _: 0)
    client.wait_for_action(50)
    assert client.send_goal("the mug", timeout_s=30).code == Code.OK
    with pytest.raises(clients.NoAnswerError, match="'command'"):
        client.wait_for_node(0.2)
    client.close()


@pytest.mark.parametrize("text", ["  the mug ", "the\n\tmug", "the\u00a0mug\u200b", "", " \u202e", "mug " * 300])
def test_an_answer_is_found_whatever_white_space_was_typed(make_robot, make_client, text):
    robot = make_robot().is_("active")
    robot.publish_image()
    client = make_client()
    client.wait_for_node(50)
    answer = client.publish_command(text, timeout_s=5)
    assert answer.code in (Code.OK, Code.COMMAND_EMPTY, Code.COMMAND_UNREADABLE, Code.COMMAND_TOO_LONG)
    client.close()


@pytest.mark.parametrize("domain", ["abc", "-1", "233", "1e2", "\u0663"])
def test_a_domain_that_dds_would_die_of_is_refused(monkeypatch, domain):
    monkeypatch.setenv("ROS_DOMAIN_ID", domain)
    with pytest.raises(StartError, match=r"ROS_DOMAIN_ID .*, want a whole number from 0 to 232"):
        start_ros(["--ros-args"])
