"""Robots are answered in turn, the queue is bounded, and the engine's thread outlives every fault."""

import threading
import time
from queue import Queue

import numpy as np
import pytest

from segzero_ros.backends.fake import FakeReasoner, RaisingReasoner, WaitingReasoner
from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.host.fair_queue import PER_CLIENT, Ticket
from segzero_ros.reasoner import Answer, Request
from segzero_ros.server.chat_request import Refusal
from segzero_ros.server.turns import Turns
from tests.server.conftest import LIMIT_S

FRAME = Frame(np.zeros((8, 8, 3), np.uint8), 0)


class Robot:
    """Asks, and collects its answers in the order in which they came."""

    def __init__(self, queue: Turns, name: str, ends: Queue[tuple[str, object]], peer: str = "") -> None:
        self._queue, self.name, self._ends, self._peer = queue, name, ends, peer

    def ask(self, text: str = "x") -> Ticket:
        end = lambda answer: self._ends.put((text, answer))  # noqa: E731
        ticket = self._queue.ticket(self.name, Request(FRAME, Command(text, text), 10**6), end, peer=self._peer)
        self._queue.submit(ticket)
        return ticket


@pytest.fixture
def ends():
    return Queue()


@pytest.fixture
def engine():
    return WaitingReasoner()


@pytest.fixture
def queue(engine):
    made = Turns(engine, most_waiting=6)
    yield made
    engine.go(10**5)
    assert made.stop(LIMIT_S)


def test_a_robot_with_many_questions_waits_between_them_for_the_others(queue, engine, ends):
    greedy, modest = Robot(queue, "greedy", ends), Robot(queue, "modest", ends)
    running = greedy.ask("first")
    assert engine.started.wait(LIMIT_S)
    for text in ("a1", "a2", "a3"):
        greedy.ask(text)
    modest.ask("b1")
    modest.ask("b2")
    running.withdraw()
    engine.texts = ["<think></think><answer>[]</answer>"]
    engine.go(10**4)
    order = [ends.get(timeout=LIMIT_S)[0] for _ in range(6)]
    assert order == ["first", "a1", "b1", "a2", "b2", "a3"]


def test_the_queue_is_bounded_for_each_and_for_all(queue, engine, ends):
    Robot(queue, "at work", ends).ask()
    assert engine.started.wait(LIMIT_S)
    one, other = Robot(queue, "one", ends), Robot(queue, "other", ends)
    for _ in range(PER_CLIENT):
        one.ask()
    with pytest.raises(Refusal) as refusal:
        one.ask()
    assert (refusal.value.status, refusal.value.wait_s) == (429, 1)
    for _ in range(6 - PER_CLIENT):
        other.ask()
    with pytest.raises(Refusal) as refusal:
        Robot(queue, "third", ends).ask()
    assert (refusal.value.status, refusal.value.wait_s) == (503, 1)


def test_invented_names_share_the_turns_of_their_address(queue, engine, ends):
    running = Robot(queue, "running", ends, "10.0.0.9").ask("first")
    assert engine.started.wait(LIMIT_S)
    for number in range(4):
        Robot(queue, f"invented {number}", ends, "10.0.0.66").ask(f"x{number}")
    honest = Robot(queue, "arm", ends, "10.0.0.2")
    honest.ask("a1")
    honest.ask("a2")
    running.withdraw()
    engine.texts = ["<think></think><answer>[]</answer>"]
    engine.go(10**4)
    order = [ends.get(timeout=LIMIT_S)[0] for _ in range(7)]
    assert order == ["first", "x0", "a1", "x1", "a2", "x2", "x3"]


def test_an_address_that_fills_the_queue_makes_room_for_another(queue, engine, ends):
    Robot(queue, "running", ends).ask()
    assert engine.started.wait(LIMIT_S)
    for number in range(6):
        Robot(queue, f"invented {number}", ends, "10.0.0.66").ask(f"x{number}")
    honest = Robot(queue, "arm", ends, "10.0.0.2")
    for number in range(3):
        honest.ask(f"a{number}")
    told = [ends.get(timeout=LIMIT_S) for _ in range(3)]
    assert [(text, refusal.status, refusal.wait_s) for text, refusal in told] == [(f"x{n}", 503, 1) for n in (5, 4, 3)]
    with pytest.raises(Refusal, match="6 questions wait already"):
        honest.ask("its own share is full")
    with pytest.raises(Refusal, match="6 questions wait already"):
        Robot(queue, "invented 9", ends, "10.0.0.66").ask()
    assert queue.waiting == 6


def test_a_question_withdrawn_while_it_waits_leaves_its_place_and_never_runs(queue, engine, ends):
    robot = Robot(queue, "robot", ends)
    running = robot.ask("running")
    assert engine.started.wait(LIMIT_S)
    waiting = robot.ask("waiting")
    queue.withdraw(waiting)
    assert queue.waiting == 0
    queue.withdraw(running)
    engine.go()
    text, answer = ends.get(timeout=LIMIT_S)
    assert (text, answer.finish) == ("running", "cancelled")
    assert [command.text for command in engine.commands] == ["running"]


def test_stopping_tells_everybody_who_waits(engine, ends):
    queue = Turns(engine, most_waiting=9)
    robot = Robot(queue, "robot", ends)
    robot.ask("running")
    assert engine.started.wait(LIMIT_S)
    robot.ask("waiting")
    stopping = threading.Thread(target=queue.stop, args=(LIMIT_S,))
    stopping.start()
    text, refusal = ends.get(timeout=LIMIT_S)
    assert (text, refusal.status) == ("waiting", 503)
    engine.go()
    assert ends.get(timeout=LIMIT_S)[1].finish == "cancelled"
    stopping.join(LIMIT_S)
    with pytest.raises(Refusal):
        robot.ask("late")


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (RuntimeError("CUDA out of memory at 0x7f"), 500, "see the server's log"),
        (RejectedInput(Code.COMMAND_TOO_LONG, "say less"), 400, "say less"),
    ],
)
def test_an_engine_that_raises_is_a_refusal_and_the_next_one_has_its_turn(error, status, reason, ends):
    engine = RaisingReasoner(error)
    queue = Turns(engine, most_waiting=9)
    robot = Robot(queue, "robot", ends)
    for _ in range(2):
        robot.ask()
        refusal = ends.get(timeout=LIMIT_S)[1]
        assert (refusal.status, refusal.detail.endswith(reason)) == (status, True)
    assert queue.stop(LIMIT_S)


def test_answers_are_counted(ends):
    queue = Turns(FakeReasoner(), most_waiting=9)
    Robot(queue, "robot", ends).ask()
    assert isinstance(ends.get(timeout=LIMIT_S)[1], Answer)
    assert queue.stop(LIMIT_S)
    assert (queue.answered, queue.waiting, queue.running_s) == (1, 0, 0.0)


class Hung(WaitingReasoner):
    """An engine that does not look at anything any more."""

    def reason(self, request):
        self.started.set()
        threading.Event().wait()


def ask_with_deadline(queue, ends, text, seconds):
    deadline_ns = time.monotonic_ns() + int(seconds * 1e9)
    request = Request(FRAME, Command(text, text), 10, deadline_ns)
    queue.submit(queue.ticket(text, request, lambda answer: ends.put((text, answer))))


def test_an_engine_that_hangs_ends_the_server_and_until_then_health_says_so(ends):
    statuses, engine = Queue(), Hung()
    queue = Turns(engine, most_waiting=9)
    watching = queue.watch(statuses.put)
    ask_with_deadline(queue, ends, "hangs", 0.2)
    assert engine.started.wait(LIMIT_S)
    ask_with_deadline(queue, ends, "waits", 0.3)
    text, refusal = ends.get(timeout=LIMIT_S)
    assert (text, refusal.status, refusal.code) == ("waits", 400, "TIMEOUT")
    assert queue.late_s > 0
    text, refusal = ends.get(timeout=LIMIT_S)
    assert (text, refusal.code) == ("hangs", "TIMEOUT")
    assert statuses.get(timeout=LIMIT_S) == 70
    watching.join(LIMIT_S)


def test_a_busy_engine_is_not_late(queue, engine, ends):
    Robot(queue, "robot", ends).ask()
    assert engine.started.wait(LIMIT_S)
    assert queue.late_s == 0
