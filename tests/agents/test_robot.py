"""What an agent asks ends in plain values, whatever the node does; without the SDK in one line."""

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from segzero_ros.agents import command
from segzero_ros.agents.robot import LONGEST_S, Robot
from segzero_ros.cli.main import main


class Gone(Exception):
    """There is no node."""


class Client:
    """A client whose goals wait for ``free``; ``gone``: there is no node."""

    def __init__(self, *, gone: bool = False) -> None:
        self.gone = gone
        self.timeouts: list[float] = []
        self.began, self.free = threading.Event(), threading.Event()

    def wait_for_action(self, timeout_s: float) -> None:
        if self.gone:
            raise Gone("no node offers the action")

    def send_goal(self, text: str, *, timeout_s: float, stop: Any, track: bool) -> Any:
        self.timeouts.append(timeout_s)
        self.began.set()
        self.free.wait(30.0)
        raise Gone("stopped" if stop() else "the node has ended")

    def stop_following(self, command_id: str) -> None: ...

    def diagnostics(self, timeout_s: float) -> Mapping[str, dict[str, Any]]:
        self.wait_for_action(timeout_s)
        return {"node": {}}


def test_a_node_that_is_not_there_is_an_answer() -> None:
    robot = Robot(Client(gone=True), Gone)
    assert robot.ask("the mug", 5.0) == {"code": "NOT_ACTIVE", "detail": "no node offers the action", "objects": []}
    assert robot.status()["code"] == "NOT_ACTIVE"


@pytest.mark.parametrize(
    ("given", "used"), [(5, 5.0), (0, 1.0), (-3.0, 1.0), (1e9, LONGEST_S), (float("nan"), LONGEST_S)]
)
def test_times_are_kept_within_bounds(given: float, used: float) -> None:
    client = Client()
    client.free.set()
    Robot(client, Gone).ask("the mug", given)
    assert client.timeouts == [used]


def test_a_second_command_is_told_which_one_is_at_work_and_a_stop_ends_that() -> None:
    client, answers = Client(), []
    robot = Robot(client, Gone)
    asking = threading.Thread(target=lambda: answers.append(robot.ask("the mug", 5.0)))
    asking.start()
    assert client.began.wait(30.0)
    second = robot.ask("the cup", 5.0)
    assert second["code"] == "BUSY" and "'the mug'" in second["detail"]
    assert robot.status() == {"at_work": "the mug"}
    robot.stop()
    client.free.set()
    asking.join(30.0)
    assert answers[0]["detail"] == "stopped"


def test_without_the_sdk_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "missing", list)
    assert main(["mcp"]) == 2
    assert capsys.readouterr().err == "segzero mcp: needs the package mcp: python3 -m pip install 'mcp>=2'\n"
