"""A burst of commands: each gets its answer, and of more than the queue holds the loss is said."""

import threading
from collections import Counter

import pytest
from rclpy.qos import QoSProfile
from segzero_ros.action import Segment
from segzero_ros.msg import Segmentation
from std_msgs.msg import String

from segzero_ros.errors import Code
from segzero_ros.health import Health, Level
from segzero_ros.ros.executor.lost import UNNUMBERED, LostMessages
from segzero_ros.ros.qos import COMMAND_DEPTH


def burst(robot, count):
    """Publish so many commands while the node's executor is held by a callback; returns the growing answers."""
    answers = []
    robot.client.create_subscription(Segmentation, "segmentation", answers.append, QoSProfile(depth=2 * count))
    talker = robot.client.create_publisher(String, "command", QoSProfile(depth=count))
    robot.until(lambda: talker.get_subscription_count() and robot.client.count_subscribers("segmentation") >= 2, "both")
    robot.publish_image()
    held, free = threading.Event(), threading.Event()
    robot.node._queue.post(lambda: (held.set(), free.wait(60)))
    assert held.wait(60)
    for number in range(count):
        talker.publish(String(data=f"the mug {number}"))
    free.set()
    return answers


@pytest.mark.parametrize("policy", ["preempt", "reject"])
def test_each_command_of_a_burst_is_answered_once(make_robot, policy):
    robot = make_robot(busy_policy=policy).is_("active")
    answers = burst(robot, 300)
    robot.until(lambda: len(answers) >= 300, "300 answers")
    assert Counter(answer.command for answer in answers) == Counter(f"the mug {number}" for number in range(300))
    assert {answer.code for answer in answers} <= {Code.OK, Code.PREEMPTED, Code.BUSY}


def test_goals_that_come_at_once_are_answered_too(robot):
    robot.publish_image()
    assert robot.segment.wait_for_server(60)
    sent = threading.Event()
    robot.node._queue.post(lambda: sent.wait(60))
    sending = [robot.segment.send_goal_async(Segment.Goal(command=f"the cup {number}")) for number in range(60)]
    sent.set()
    handles = [robot.result(future, "a goal's acceptance") for future in sending]
    results = [robot.result(handle.get_result_async(), "a goal's result").result for handle in handles]
    assert [result.segmentation.command for result in results] == [f"the cup {number}" for number in range(60)]


def test_what_the_queue_cannot_hold_is_counted_and_said(make_robot):
    robot = make_robot(busy_policy="reject").is_("active")
    answers = burst(robot, COMMAND_DEPTH + 234)
    robot.until(lambda: len(answers) >= COMMAND_DEPTH, "the answers")
    status = robot.diagnostics()["inputs"]
    assert {value.key: value.value for value in status.values}["commands_lost"] == "234"
    assert "wait for the answers" in status.message


class Arrivals:
    """A queue of ``depth`` in front of ``LostMessages``, on a clock of its own."""

    def __init__(self, depth):
        self.depth, self.ns, self.waiting, self.dropped, self.lost = depth, 0, [], 0, 0
        self.counter = LostMessages(depth, lambda: self.ns)

    def put(self, *numbers):
        for number in numbers:
            self.ns += 1
            self.waiting.append((number, self.ns))
            self.dropped += len(self.waiting) > self.depth
            self.waiting = self.waiting[-self.depth :]

    def take(self, count):
        for _ in range(min(count, len(self.waiting))):
            self.ns += 1
            self.lost += self.counter.count(*self.waiting.pop(0))


def test_a_queue_that_runs_over_is_counted_exactly():
    arrivals = Arrivals(10)
    arrivals.put(*range(1, 51))
    arrivals.take(50)
    assert arrivals.lost == arrivals.dropped == 40
    arrivals.put(*range(51, 61))
    arrivals.take(10)
    assert arrivals.lost == 40


def test_publishers_that_come_go_and_have_talked_before_are_no_loss():
    arrivals = Arrivals(10)
    for number in (700, 701, 1, 2, 33, 702, 34, 3, 9000, 703, 1, 2):
        arrivals.put(number)
        arrivals.take(1)
    arrivals.put(*range(704, 713))
    arrivals.take(10)
    assert arrivals.lost == 0


def test_a_load_that_stays_too_high_is_counted_while_it_lasts():
    arrivals = Arrivals(10)
    for number in range(1, 2001, 2):
        arrivals.put(number, number + 1)
        arrivals.take(1)
    arrivals.take(10)
    assert arrivals.dropped == 991
    assert arrivals.lost == pytest.approx(arrivals.dropped, abs=20)


def test_where_messages_have_no_number_nothing_is_said():
    counter = LostMessages(2)
    assert [counter.count(number, 0) for number in (None, UNNUMBERED, None)] == [0, 0, 0]


def test_lost_commands_warn_in_diagnostics():
    health = Health(1.0)
    health.count_lost_commands(3)
    health.count_lost_commands(4)
    inputs = health.report()[-1]
    assert (inputs.level, inputs.values) == (Level.WARN, {"commands_lost": "7"})
