"""The demo itself, over real DDS with the fake engines: one answer each, pictures, and nothing left behind."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("segzero_ros.msg", reason="needs the built interfaces")
pytest.importorskip("mujoco", reason="needs the demo world")

from segzero_ros.tabletop import NoOpenGLError, Renderer

ROOT = Path(__file__).parents[2]
PATIENCE_S = 400  # half a minute on a free machine


@pytest.fixture(autouse=True, scope="module")
def something_to_draw_with():
    try:
        Renderer(64, 48).close()
    except NoOpenGLError as error:
        pytest.skip(str(error))


def start(out, *options):
    command = [sys.executable, "-u", "-m", "segzero_ros.demo", "--backend", "fake", "--out", str(out), *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def left_behind(out):
    """Command lines of processes that were started for this output directory or its ROS domain."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(out) in line and "pytest" not in line:
            found.append(line)
    return found


def test_every_command_gets_one_answer_and_its_picture(tmp_path):
    demo = start(tmp_path, "--commands", "4")
    shown, _ = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 0, shown
    assert "5 commands, exactly one answer each" in shown
    commands = json.loads((tmp_path / "summary.json").read_text())["commands"]
    assert {command["way"] for command in commands} == {"topic", "action"}
    assert [command["cancel"] for command in commands].count(True) == 1
    assert all(command["answers"] == 1 for command in commands)
    assert len(list((tmp_path / "overlays").iterdir())) == 5
    assert (tmp_path / "contact_sheet.png").exists()
    assert (tmp_path / "animation.gif").exists()
    assert "\033" not in shown, "plain text where nobody watches"
    assert not left_behind(tmp_path)


def test_ctrl_c_ends_everything_with_status_130(tmp_path):
    demo = start(tmp_path)
    for line in demo.stdout:
        if "camera and node are up" in line:
            break
    demo.send_signal(signal.SIGINT)
    rest, _ = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 130, rest
    assert "Traceback" not in rest
    assert not left_behind(tmp_path)


def test_a_bundle_that_is_not_there_is_refused_before_anything_starts(tmp_path):
    demo = start(tmp_path, "--backend", "onnx", "--bundle", "/nowhere")
    shown, _ = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 2
    assert "BUNDLE_MISSING" in shown
