"""`make demo ARGS=--spoken`: spoken, heard and answered over real DDS, with nothing left behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("segzero_ros.msg", reason="needs the built interfaces")
pytest.importorskip("mujoco", reason="needs the demo world")

from segzero_ros.tabletop import NoOpenGLError, Renderer

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300


def test_what_is_spoken_in_the_demo_is_heard_and_answered(voice, model, tmp_path):
    try:
        Renderer(64, 48).close()
    except NoOpenGLError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-u", "-m", "segzero_ros.demo", "--spoken", "--backend", "fake", "--commands", "3"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "of 3 spoken sentences were found right; word error rate" in done.stdout
    commands = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["commands"]
    assert {one["way"] for one in commands} == {"spoken"}
    assert [one["answers"] for one in commands] == [1, 1, 1]
