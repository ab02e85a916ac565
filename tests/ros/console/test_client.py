"""The console's client beside a real node with fake engines: what it hears, and what it asks."""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Int16MultiArray

from segzero_ros.backends.fake import FakeReasoner
from segzero_ros.config import NodeConfig
from segzero_ros.errors import Code
from segzero_ros.ros.console import client as console_client
from segzero_ros.ros.console.client import MANY, ConsoleClient
from tests.ros.console.policy import allowed, used
from tests.ros.robot import PATIENCE_S, Robot, picture

Make = Callable[..., Robot]


class Notes:
    """A hearer that queues what it hears by kind."""

    def __init__(self) -> None:
        kinds = ("image", "thinking", "answer", "track", "health")
        self.heard: dict[str, queue.SimpleQueue[Any]] = {kind: queue.SimpleQueue() for kind in kinds}

    def on_image(self, stamp: int, decode: Any, message: Any) -> None:
        self.heard["image"].put((stamp, decode().size))

    def on_thinking(self, text: str) -> None:
        self.heard["thinking"].put(text)

    def on_answer(self, answer: Any, masked: int, message: Any) -> None:
        self.heard["answer"].put((answer, masked, message))

    def on_track(self, answer: Any, masked: int) -> None:
        self.heard["track"].put((answer, masked))

    def on_health(self, parts: Mapping[str, Any]) -> None:
        self.heard["health"].put(parts)

    def next(self, kind: str) -> Any:
        return self.heard[kind].get(timeout=PATIENCE_S)


@pytest.fixture
def make_console(ros: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], tuple[ConsoleClient, Notes]]]:
    """Consoles in this process' ROS context, which is the session's: none starts or ends it."""
    monkeypatch.setattr(console_client, "start_ros", lambda arguments: None)
    monkeypatch.setattr(console_client.rclpy, "try_shutdown", lambda: None)
    made = []

    def make() -> tuple[ConsoleClient, Notes]:
        console, notes = ConsoleClient(), Notes()
        made.append(console)
        console.start(notes)
        return console, notes

    yield make
    for console in made:
        console.close()


@pytest.fixture
def film() -> Iterator[Callable[[Robot], None]]:
    """``film(robot)``: pictures as of a camera."""
    ending, threads = threading.Event(), []

    def run(robot: Robot) -> None:
        stamp = 1
        while not ending.wait(0.05):
            robot.images.publish(picture(stamp=(stamp, 0)))
            stamp += 1

    def start(robot: Robot) -> None:
        threads.append(threading.Thread(target=run, args=(robot,)))
        threads[-1].start()

    yield start
    ending.set()
    for thread in threads:
        thread.join(PATIENCE_S)


def told() -> tuple[Callable[[bool, str], None], queue.SimpleQueue[tuple[bool, str]]]:
    said: queue.SimpleQueue[tuple[bool, str]] = queue.SimpleQueue()
    return lambda good, text: said.put((good, text)), said


def test_pictures_thinking_answer_and_health_are_heard(robot: Robot, make_console: Any, film: Any) -> None:
    console, notes = make_console()
    film(robot)
    assert notes.next("image")[1] == (64, 48)
    while "node" not in notes.next("health"):
        pass
    tell, said = told()
    console.ask("the red mug", track=False, timeout_s=30, tell=tell)
    answer, masked, message = notes.next("answer")
    assert (answer.code, answer.command.text, message.command) == (Code.OK, "the red mug", "the red mug")
    assert masked % 1_000_000_000 == 0 and masked > 0
    assert notes.next("thinking")
    assert said.empty()


def test_stop_ends_a_command_whoever_sent_it(make_robot: Make, make_console: Any, film: Any) -> None:
    begun, going_on = threading.Event(), threading.Event()

    class Slow(FakeReasoner):
        def reason(self, request: Any) -> Any:
            begun.set()
            while not request.cancelled() and not going_on.wait(0.01):
                pass
            return super().reason(request)

    robot = make_robot(Slow()).is_("active")
    console, notes = make_console()
    film(robot)
    notes.next("image")
    tell, said = told()
    console.ask("the red mug", track=False, timeout_s=60, tell=tell)
    assert begun.wait(PATIENCE_S)
    console.stop(tell)
    assert notes.next("answer")[0].code is Code.CANCELLED
    assert said.get(timeout=PATIENCE_S)[0]
    going_on.set()


def test_the_button_of_a_recorder_that_is_off_says_so(robot: Robot, make_console: Any) -> None:
    console, notes = make_console()
    notes.next("health")
    tell, said = told()
    console.save_failure(tell)
    good, text = said.get(timeout=PATIENCE_S)
    assert not good and "record" in text


def test_the_nodes_parameters_are_known_and_are_a_configuration(make_robot: Make, make_console: Any) -> None:
    make_robot(host="/run/robot/host.sock").is_("active")
    console, notes = make_console()
    notes.next("health")
    found = console.parameters()
    assert found["host"] == "/run/robot/host.sock"
    assert NodeConfig.from_mapping(found).host == found["host"]


def test_without_a_node_each_question_is_answered_with_what_to_do(make_console: Any) -> None:
    console, notes = make_console()
    for ask in (
        console.stop,
        console.save_failure,
        lambda tell: console.ask("mug", track=False, timeout_s=9, tell=tell),
    ):
        tell, said = told()
        ask(tell)
        good, text = said.get(timeout=PATIENCE_S)
        assert not good and text.startswith("no node 'segzero'")
    assert console.parameters() == {} and notes.next("health") == {}


def test_audio_is_published_and_it_is_known_whether_anybody_listens(make_console: Any) -> None:
    console, _ = make_console()
    assert not console.hear(b"\x01\x00\xfe\xff")
    heard: list[list[int]] = []
    listener, executor = Node("listens"), SingleThreadedExecutor()
    listener.create_subscription(Int16MultiArray, "audio", lambda message: heard.append(list(message.data)), MANY)
    executor.add_node(listener)
    for _ in range(int(PATIENCE_S / 0.05)):
        if console.hear(b"\x01\x00\xfe\xff") and heard:
            break
        executor.spin_once(timeout_sec=0.05)
    assert heard[0] == [1, -2]
    executor.shutdown()
    listener.destroy_node()


def test_the_security_policy_allows_the_console_what_it_uses_and_nothing_else(
    make_console: Callable[[], tuple[ConsoleClient, Notes]],
) -> None:
    assert used(make_console()[0]._node) == allowed("segzero_console")
