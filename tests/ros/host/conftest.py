"""Robots whose engines are in a troublesome process of their own."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.host.conftest import TROUBLE

MakeHosted = Callable[..., Any]


@pytest.fixture
def make_hosted(ros: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeHosted]:
    """``make_hosted(command, **parameters)``: a robot; its bundle's name says what opening the engines does."""
    from rclpy.parameter import Parameter

    from segzero_ros.ros.node import GroundingNode
    from tests.ros.robot import Robot

    monkeypatch.setattr("segzero_ros.host.start.resolve_bundle", lambda name: name)
    robots: list[Robot] = []

    def make(command: tuple[str, ...] = TROUBLE, **parameters: Any) -> Robot:
        monkeypatch.setattr("segzero_ros.host.start.command_line", lambda _: command)
        parameters = {"stale_sec": 60.0, "bundle": "first", **parameters}
        robots.append(
            Robot(
                GroundingNode(parameter_overrides=[Parameter(name, value=value) for name, value in parameters.items()])
            )
        )
        return robots[-1]

    yield make
    for robot in robots:
        robot.close()
