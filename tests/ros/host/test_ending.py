"""The node as a process with engines in another: whenever it ends, by signal or by force, nothing stays behind."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.host.conftest import named_memory, until
from tests.ros.test_process import PROMISED_S, Child

SOON_S = 1.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.fixture
def start():
    children = []

    def start(*words: str) -> tuple[Child, int]:
        """A node, and the process id of its engines."""
        children.append(Child(sys.executable, "-m", "tests.ros.host.hosted_node", *words))
        return children[-1], pid_of_engines(children[-1])

    yield start
    for child in children:
        child.process.kill()
        child.process.wait()


def pid_of_engines(child: Child) -> int:
    return int(child.wait_for("engines-pid ").split()[1])


def lives(pid: int) -> bool:
    """Whether a process runs; one that is dead and waits to be collected by init does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("words", "mark"),
    [(("slow:60",), ""), (("first", "hang"), "at work"), (("first",), "now restarting")],
    ids=["loading", "reasoning", "restarting"],
)
def test_ctrl_c_ends_the_node_with_status_0_and_its_engines_with_it(start, words, mark):
    child, pid = start(*words)
    if mark == "now restarting":
        child.wait_for("now ready")
        os.kill(pid, signal.SIGKILL)
    if mark:
        child.wait_for(mark)
    status, seconds, said = child.end(signal.SIGINT)
    assert status == 0, said
    assert "Traceback" not in said
    assert seconds < PROMISED_S
    pids = [int(line.split()[1]) for line in said.splitlines() if line.startswith("engines-pid ")]
    until(lambda: not any(map(lives, pids)), "the engines to be gone")


@pytest.mark.parametrize("words", [("first", "slow mug"), ("slow:60",)], ids=["reasoning", "loading"])
def test_a_node_that_is_killed_takes_its_engines_with_it(start, words):
    memory = named_memory()
    child, pid = start(*words)
    if len(words) == 2:
        child.wait_for("at work")
    assert lives(pid)
    child.process.kill()
    began = time.monotonic()
    until(lambda: not lives(pid), "the engines to be gone")
    assert time.monotonic() - began < SOON_S
    assert named_memory() <= memory
