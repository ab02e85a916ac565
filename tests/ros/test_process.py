"""The processes: signals end them with status 0 within three seconds, wherever they are, and answers come first."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segzero_ros.ros import processes
from tests.ros.robot import DOMAIN, PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
PROMISED_S = 3.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # where others have the processors, later


class Child:
    """A process with its output, line by line."""

    def __init__(self, *words: str) -> None:
        environment = os.environ | {"ROS_DOMAIN_ID": str(DOMAIN + 1), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        self.process = subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []

    def wait_for(self, text: str) -> str:
        """Read on until a line holds ``text``."""
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"the process ended without saying {text!r}: {''.join(self.lines)}")

    def end(self, number: signal.Signals) -> tuple[int, float, str]:
        """Send a signal; (status, seconds, all that was printed)."""
        began = time.monotonic()
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, time.monotonic() - began, "".join(self.lines) + rest


@pytest.fixture
def start():
    children = []

    def start(*words: str) -> Child:
        children.append(Child(*words))
        return children[-1]

    yield start
    for child in children:
        child.process.kill()
        child.process.wait()


@pytest.mark.parametrize(
    ("where", "number"),
    [
        ("idle", signal.SIGINT),
        ("reasoning", signal.SIGTERM),
        ("hanging", signal.SIGINT),
        ("loading", signal.SIGTERM),
    ],
)
def test_a_signal_ends_the_node_with_status_0(start, where, number):
    child = start(sys.executable, "-m", "tests.ros.stuck", where)
    child.wait_for("ready")
    status, seconds, said = child.end(number)
    assert status == 0, said
    assert "Traceback" not in said
    assert seconds < PROMISED_S


def test_the_executable_comes_up_names_a_bad_bundle_and_stays(start, tmp_path):
    (tmp_path / "bundle.json").write_text("{}")
    words = processes.node(bundle=str(tmp_path)).command_line()
    child = start(*words)
    assert "BUNDLE_FORMAT" in child.wait_for("configure failed")
    assert child.process.poll() is None
    status, _, said = child.end(signal.SIGTERM)
    assert (status, "Traceback" in said) == (0, False)


def test_the_executable_with_an_unknown_parameter_names_the_nearest(start):
    words = processes.node(backend="fake").command_line()
    child = start(*words, "-p", "busy_polcy:=reject")
    assert "did you mean 'busy_policy'" in child.wait_for("configure failed")
    assert child.process.poll() is None


def test_the_camera_with_an_unknown_scenario_names_the_nearest(start):
    pytest.importorskip("mujoco", reason="the demo world needs MuJoCo")
    child = start(*processes.tabletop_camera(scenario="dmo").command_line())
    assert "did you mean 'demo'" in child.wait_for("scenario")
    assert child.process.wait(PATIENCE_S) == 2


@pytest.mark.parametrize("arguments", [("-r", "__ns:=/arm-1"), ("--nonsense",), ("-p", "use_sim_time:=7")])
def test_arguments_that_ros_refuses_end_in_a_line_and_status_2(start, arguments):
    child = start(*processes.node(backend="fake").command_line(), *arguments)
    said = child.process.communicate(timeout=PATIENCE_S)[0]
    assert child.process.returncode == 2
    assert "segzero_node: " in said
    assert "Traceback" not in said


HANGS = """
import threading
from segzero_ros.ros.executor.process import ShutdownSignals
ShutdownSignals(patience_s=0.05)
print("ready", flush=True)
threading.Event().wait(60)
"""


def test_a_process_whose_main_thread_does_not_come_back_does_not_say_that_all_is_well(start):
    child = start(sys.executable, "-c", HANGS)
    child.wait_for("ready")
    status, _, said = child.end(signal.SIGTERM)
    assert (status, "ending without it" in said) == (1, True), said
