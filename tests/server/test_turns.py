"""Robots are answered in turn, the queue is bounded, and the engine's thread outlives every fault."""

import contextlib
import socket
import threading
import time
from queue import Queue

import numpy as np
import pytest

from segzero_ros.backends.fake import PROFILE, FakeReasoner, FakeSegmenter, RaisingReasoner, WaitingReasoner
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.host.fair_queue import PER_CLIENT
from segzero_ros.host.messages import Open
from segzero_ros.host.process import Started
from segzero_ros.host.room import Room
from segzero_ros.host.server import Server
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from segzero_ros.reasoner import Answer, Reasoner
from segzero_ros.server.chat_request import Refusal
from segzero_ros.server.turns import Question, Turns
from tests.server.conftest import LIMIT_S, until

FRAME = Frame(np.zeros((8, 8, 3), np.uint8), 0)
DONE = "<think></think><answer>[]</answer>"


class HostHere:
    """A host in a thread of this process, around ``engine``, and the turns of HTTP clients at it."""

    def __init__(self, engine: Reasoner, most_waiting: int = 9) -> None:
        pipeline = Pipeline(get_profile(PROFILE), engine, FakeSegmenter(), engines="here")
        self.room = Room(lambda _wanted: ("fakes", "", pipeline))
        ours, theirs = socket.socketpair()
        self._server = Server(self.room, owner=theirs)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        wanted = Open("fakes", "auto", {}, False, reasoner_only=True, most_waiting=most_waiting)
        self.turns = Turns(lambda: Started(ours), wanted)
        until(lambda: self.turns.state().phase == "ready", "the engines")

    def holds(self, waiting: int) -> None:
        """Wait until the host's queue has so many."""
        until(lambda: self.room.queue.waiting == waiting, f"{waiting} to wait")

    def end(self) -> None:
        """End both."""
        self.turns.stop()
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()


class Robot:
    """Asks, and collects its answers in the order in which they came."""

    def __init__(self, host: HostHere, name: str, ends: Queue[tuple[str, object]], peer: str = "") -> None:
        self._host, self.name, self._ends, self._peer = host, name, ends, peer

    def ask(self, text: str = "x", **more: object) -> Question:
        end = lambda answer: self._ends.put((text, answer))  # noqa: E731
        question = Question(FRAME, text, 10**6, end, client=self.name, peer=self._peer, **more)
        self._host.turns.submit(question)
        return question


@contextlib.contextmanager
def host_around(engine: Reasoner, most_waiting: int = 9):
    host = HostHere(engine, most_waiting)
    try:
        yield host
    finally:
        host.end()


@pytest.fixture
def ends():
    return Queue()


@pytest.fixture
def engine():
    return WaitingReasoner()


@pytest.fixture
def host(engine):
    with host_around(engine, most_waiting=6) as made:
        yield made
        engine.go(10**5)


def test_a_robot_with_many_questions_waits_between_them_for_the_others(host, engine, ends):
    greedy, modest = Robot(host, "greedy", ends), Robot(host, "modest", ends)
    running = greedy.ask("first")
    assert engine.started.wait(LIMIT_S)
    for text in ("a1", "a2", "a3"):
        greedy.ask(text)
    modest.ask("b1")
    modest.ask("b2")
    host.holds(5)
    host.turns.withdraw(running)
    engine.texts = [DONE]
    engine.go(10**4)
    order = [ends.get(timeout=LIMIT_S)[0] for _ in range(6)]
    assert order == ["first", "a1", "b1", "a2", "b2", "a3"]


def test_the_queue_is_bounded_for_each_and_for_all(host, engine, ends):
    Robot(host, "at work", ends).ask()
    assert engine.started.wait(LIMIT_S)
    one, other = Robot(host, "one", ends), Robot(host, "other", ends)
    for _ in range(PER_CLIENT):
        one.ask()
    one.ask("too many of one")
    text, refusal = ends.get(timeout=LIMIT_S)
    assert (text, refusal.status, refusal.wait_s) == ("too many of one", 429, 1)
    for _ in range(6 - PER_CLIENT):
        other.ask()
    Robot(host, "third", ends).ask("too many of all")
    text, refusal = ends.get(timeout=LIMIT_S)
    assert (text, refusal.status, refusal.wait_s) == ("too many of all", 503, 1)


def test_invented_names_share_the_turns_of_their_address(host, engine, ends):
    running = Robot(host, "running", ends, "10.0.0.9").ask("first")
    assert engine.started.wait(LIMIT_S)
    for number in range(4):
        Robot(host, f"invented {number}", ends, "10.0.0.66").ask(f"x{number}")
    honest = Robot(host, "arm", ends, "10.0.0.2")
    honest.ask("a1")
    honest.ask("a2")
    host.holds(6)
    host.turns.withdraw(running)
    engine.texts = [DONE]
    engine.go(10**4)
    order = [ends.get(timeout=LIMIT_S)[0] for _ in range(7)]
    assert order == ["first", "x0", "a1", "x1", "a2", "x2", "x3"]


def test_an_address_that_fills_the_queue_makes_room_for_another(host, engine, ends):
    Robot(host, "running", ends).ask()
    assert engine.started.wait(LIMIT_S)
    for number in range(6):
        Robot(host, f"invented {number}", ends, "10.0.0.66").ask(f"x{number}")
    honest = Robot(host, "arm", ends, "10.0.0.2")
    for number in range(3):
        honest.ask(f"a{number}")
    told = [ends.get(timeout=LIMIT_S) for _ in range(3)]
    assert [(text, refusal.status, refusal.wait_s) for text, refusal in told] == [(f"x{n}", 503, 1) for n in (5, 4, 3)]
    honest.ask("its own share is full")
    Robot(host, "invented 9", ends, "10.0.0.66").ask("x9")
    for expected in ("its own share is full", "x9"):
        text, refusal = ends.get(timeout=LIMIT_S)
        assert (text, "6 questions wait already" in refusal.detail) == (expected, True)
    assert host.room.queue.waiting == 6


def test_a_question_withdrawn_while_it_waits_leaves_its_place_and_never_runs(host, engine, ends):
    robot = Robot(host, "robot", ends)
    running = robot.ask("running")
    assert engine.started.wait(LIMIT_S)
    waiting = robot.ask("waiting")
    host.holds(1)
    host.turns.withdraw(waiting)
    assert host.turns.waiting == 0
    host.holds(0)
    host.turns.withdraw(running)
    until(host.room.queue.running.withdrawn.is_set, "the host to know")
    engine.go()
    found = dict(ends.get(timeout=LIMIT_S) for _ in range(2))
    assert found["running"].finish == "cancelled"
    assert isinstance(found["waiting"], Refusal)
    assert [command.text for command in engine.commands] == ["running"]


def test_stopping_tells_everybody(engine, ends):
    host = HostHere(engine)
    robot = Robot(host, "robot", ends)
    robot.ask("running")
    assert engine.started.wait(LIMIT_S)
    robot.ask("waiting")
    host.holds(1)
    stopping = threading.Thread(target=host.turns.stop)
    stopping.start()
    found = dict(ends.get(timeout=LIMIT_S) for _ in range(2))
    assert {text: refusal.status for text, refusal in found.items()} == {"waiting": 503, "running": 503}
    engine.go()
    stopping.join(LIMIT_S)
    with pytest.raises(Refusal):
        robot.ask("late")
    host.end()
    assert ends.empty()


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (RuntimeError("CUDA out of memory at 0x7f"), 500, "see the server's log"),
        (RejectedInput(Code.COMMAND_TOO_LONG, "say less"), 400, "say less"),
    ],
)
def test_an_engine_that_raises_is_a_refusal_and_the_next_one_has_its_turn(error, status, reason, ends):
    with host_around(RaisingReasoner(error)) as host:
        for _ in range(2):
            Robot(host, "robot", ends).ask()
            refusal = ends.get(timeout=LIMIT_S)[1]
            assert (refusal.status, refusal.detail.endswith(reason)) == (status, True)


class Nonsense(FakeReasoner):
    """Returns what cannot be said."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self._answer_is = answer

    def reason(self, request):
        request.on_text("half a pair \ud83d")
        return self._answer_is


@pytest.mark.parametrize("answer", [None, Answer("x", -1, 1.0, {}, "stop"), Answer("x", 1, float("nan"), {}, "stop")])
def test_an_answer_that_cannot_be_handed_on_is_a_refusal_and_the_host_lives(answer, ends):
    with host_around(Nonsense(answer)) as host:
        for _ in range(2):
            Robot(host, "robot", ends).ask()
            assert ends.get(timeout=LIMIT_S)[1].status == 500
        assert host.turns.state().restarts == 0


def test_names_and_stop_texts_that_are_no_text_harm_nobody(ends):
    with host_around(FakeReasoner()) as host:
        Robot(host, "\ud83d", ends).ask(stops=("\udc00",))
        assert isinstance(ends.get(timeout=LIMIT_S)[1], Answer)
        assert host.turns.state().restarts == 0


def test_answers_are_counted(ends):
    with host_around(FakeReasoner()) as host:
        Robot(host, "robot", ends).ask()
        assert isinstance(ends.get(timeout=LIMIT_S)[1], Answer)
        assert (host.turns.answered, host.turns.waiting, host.turns.running_s) == (1, 0, 0.0)


def test_an_answer_ends_after_as_many_pieces_as_are_wanted_or_behind_a_stop(ends):
    with host_around(FakeReasoner("<think>one two three</think><answer>[]</answer>", piece=3)) as host:
        heard: list[tuple[str, int]] = []
        hear = lambda text, pieces: heard.append((text, pieces))  # noqa: E731
        Robot(host, "robot", ends).ask(most_pieces=5, on_text=hear)
        assert ends.get(timeout=LIMIT_S)[1].text == "<think>one two "
        assert sum(pieces for _, pieces in heard) == 5
        Robot(host, "robot", ends).ask(stops=("k>o", "wo t"))
        assert ends.get(timeout=LIMIT_S)[1].text == "<think>on"
        Robot(host, "robot", ends).ask(stops=("never",))
        assert ends.get(timeout=LIMIT_S)[1].finish == "stop"


def test_a_question_that_waits_ends_at_its_own_deadline_while_another_one_works(host, engine, ends):
    Robot(host, "slow", ends).ask("slow")
    assert engine.started.wait(LIMIT_S)
    began = time.monotonic()
    Robot(host, "hasty", ends).ask("hasty", deadline_ns=time.monotonic_ns() + 300_000_000)
    text, refusal = ends.get(timeout=LIMIT_S)
    assert (text, refusal.status, refusal.code) == ("hasty", 504, "TIMEOUT")
    assert 0.3 <= time.monotonic() - began < 2.0
    assert host.turns.late_s == 0


def test_many_pictures_at_once_are_each_answered_about_themselves(ends):
    class Sees(WaitingReasoner):
        def reason(self, request):
            self.texts = [f"<think></think><answer>{request.frame.rgb[0, 0, 0]}</answer>"]
            self.commands.clear()
            return super().reason(request)

    engine = Sees()
    with host_around(engine, most_waiting=40) as host:
        for number in range(40):
            side = 8 + 8 * (number % 5)  # some do not fit into the memory of those before
            frame = Frame(np.full((side, side, 3), number, np.uint8), number)
            end = lambda answer, number=number: ends.put((number, answer))  # noqa: E731
            host.turns.submit(Question(frame, "x", 256, end, client=f"robot {number}"))
        until(lambda: host.room.queue.waiting == 39, "all to wait")
        engine.go(10**5)
        found = dict(ends.get(timeout=LIMIT_S) for _ in range(40))
    assert {number: answer.text[23:-9] for number, answer in found.items()} == {n: str(n) for n in range(40)}


def test_more_pictures_than_there_is_room_for_get_one_end_each(host, engine, ends):
    Robot(host, "at work", ends).ask("at work")
    assert engine.started.wait(LIMIT_S)
    for number in range(60):
        end = lambda answer, number=number: ends.put((number, answer))  # noqa: E731
        frame = Frame(np.full((16, 16, 3), number, np.uint8), number)
        host.turns.submit(Question(frame, "x", 256, end, client=f"robot {number}"))
    refused = [ends.get(timeout=LIMIT_S) for _ in range(54)]
    assert {refusal.status for _, refusal in refused} == {503}
    engine.texts = [DONE]
    engine.go(10**5)
    answered = [ends.get(timeout=LIMIT_S) for _ in range(7)]
    assert all(isinstance(answer, Answer) for _, answer in answered)
    assert len({name for name, _ in refused + answered}) == 61
    assert ends.empty()
