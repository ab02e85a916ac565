"""Another bundle while the node works: by parameter and by `segzero bundle`, taken when it has passed, else refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rclpy.parameter import Parameter

from segzero_ros.bundle import current_bundles, resolve_bundle
from segzero_ros.errors import Code
from segzero_ros.ros.node import GroundingNode
from tests.host.conftest import TROUBLE
from tests.ros.robot import DOMAIN, Robot


def start(**parameters: object) -> Robot:
    overrides = [Parameter(name, value=value) for name, value in {"stale_sec": 60.0, **parameters}.items()]
    return Robot(GroundingNode(parameter_overrides=overrides))


@pytest.fixture
def robot(ros, monkeypatch):
    """A robot whose engines are in a troublesome process of their own; a bundle's name says what opening it does."""
    monkeypatch.setattr("segzero_ros.host.start.command_line", lambda _: TROUBLE)
    monkeypatch.setattr("segzero_ros.host.start.resolve_bundle", lambda name: name)
    started = start(bundle="first").is_ready()
    yield started
    started.close()


def node_values(robot: Robot) -> dict[str, str]:
    return {pair.key: pair.value for pair in robot.diagnostics()["node"].values}


def test_a_bundle_set_by_parameter_is_opened_beside_the_one_in_use_and_then_taken(robot):
    robot.publish_image()
    assert robot.set_parameter("bundle", "slow:2").successful
    assert "another bundle is being opened" in robot.diagnostics()["node"].message
    robot.send_command("the mug")
    assert robot.answer(1).bundle == "first"
    robot.until(lambda: node_values(robot)["bundle"] == "slow:2", "the change")
    robot.send_command("the mug")
    assert (robot.answer(2).code, robot.answer(2).bundle) == (Code.OK, "slow:2")
    assert robot.diagnostics()["node"].message == "active"


def test_a_bundle_that_does_not_pass_is_not_taken_and_the_parameter_says_what_is_in_use(robot):
    robot.publish_image()
    assert robot.set_parameter("bundle", "refuse").successful
    robot.until(lambda: "was not taken" in robot.diagnostics()["node"].message, "the refusal")
    assert robot.get_parameters("bundle") == ["first"]
    robot.send_command("the mug")
    assert (robot.answer(1).code, robot.answer(1).bundle) == (Code.OK, "first")


def test_a_bundle_that_is_not_there_is_refused_at_once(robot, monkeypatch):
    monkeypatch.setattr("segzero_ros.host.start.resolve_bundle", resolve_bundle)
    reply = robot.set_parameter("bundle", "nosuchbundle")
    assert (reply.successful, "BUNDLE_MISSING" in reply.reason) == (False, True)
    assert robot.get_parameters("bundle") == ["first"]


def bundle_command(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_STATE_HOME": str(home), "ROS_DOMAIN_ID": str(DOMAIN)}
    command = [sys.executable, "-m", "segzero_ros.cli", "bundle", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def copies(tmp_path: Path) -> tuple[Path, Path]:
    """Two bundles that may be used, and a third whose file was changed is made of one by a test."""
    made = []
    for name in ("one", "two"):
        shutil.copytree(resolve_bundle("tabletop"), tmp_path / name)
        (tmp_path / name).chmod(0o755)
        made.append(tmp_path / name)
    return made[0], made[1]


def test_use_and_rollback_change_the_running_node(ros, copies, tmp_path):
    robot = start(bundle=str(copies[0]))
    try:
        robot.is_ready()
        robot.publish_image()
        for words, path in (
            (("use", str(copies[0])), copies[0]),
            (("use", str(copies[1])), copies[1]),
            (("rollback",), copies[0]),
        ):
            done = bundle_command(*words, "--running", home=tmp_path)
            assert done.returncode == 0, done.stderr
            assert json.loads((tmp_path / "segzero_ros" / "bundles.json").read_text())["bundles"][0] == str(path)
            assert robot.get_parameters("bundle") == [str(path)]
        (copies[1] / "bundle.json").write_text("{}")
        done = bundle_command("use", str(copies[1]), "--running", home=tmp_path)
        assert (done.returncode, "BUNDLE_FORMAT" in done.stderr) == (1, True)
        assert robot.get_parameters("bundle") == [str(copies[0])]
    finally:
        robot.close()


def test_current_is_what_use_said(copies, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert bundle_command("rollback", home=tmp_path).returncode == 2
    assert bundle_command("use", str(copies[1]), home=tmp_path).returncode == 0
    assert bundle_command("use", str(copies[0]), home=tmp_path).returncode == 0
    assert resolve_bundle("current") == copies[0]
    assert bundle_command("rollback", home=tmp_path).returncode == 0
    assert resolve_bundle("current") == copies[1]
    assert current_bundles() == [str(copies[1]), str(copies[0])]
    listed = bundle_command("list", home=tmp_path).stdout
    assert f"* two{' ' * 22}" in listed
    assert "  tabletop " in listed
