"""A real `segzero serve` process with the demo bundle, and questions about the demo world."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from segzero_ros.backends import EngineOptions, open_reasoner
from segzero_ros.bundle import Bundle, open_bundle, resolve_bundle
from segzero_ros.command import Command, read_command
from segzero_ros.frame import Frame
from segzero_ros.reasoner import Reasoner

LIMIT_S = 60.0


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for ``condition``, and return what it does."""
    end = time.monotonic() + LIMIT_S
    while not (value := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.002)
    return value


class ServeProcess:
    """`segzero serve` in a process of its own; ``url`` is what its first line says."""

    def __init__(self, *options: str, port: int = 0, **environment: str) -> None:
        words = [sys.executable, "-m", "segzero_ros.cli", "serve", "--threads", "1", "--port", str(port), *options]
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        first = self.process.stdout.readline()
        self.url = first.rpartition(" at ")[2].strip()
        assert self.url.startswith(("http://127.0.0.1:", "https://127.0.0.1:")), first + self.process.stderr.read()
        self.port = int(self.url.rpartition(":")[2].partition("/")[0])

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send the signal; return the exit status and what it said on standard error."""
        self.process.send_signal(number)
        said = self.process.communicate(timeout=LIMIT_S)[1]
        return self.process.returncode, said


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return open_bundle(resolve_bundle("tabletop"))


@pytest.fixture(scope="session")
def server() -> Iterator[ServeProcess]:
    started = ServeProcess()
    yield started
    status, said = started.end()
    assert (status, "Traceback" in said) == (0, False), said


@pytest.fixture(scope="session")
def local(bundle: Bundle) -> Reasoner:
    return open_reasoner("onnx", bundle, EngineOptions(threads=1))


@pytest.fixture(scope="session")
def questions() -> list[tuple[Frame, Command]]:
    """Ten rendered tables, each with a question of its own."""
    from segzero_ros.tabletop import samples

    drawn = samples("test", 11, 10)
    return [(Frame(one.view.rgb, one.index), read_command(one.instruction.text, str(one.index))) for one in drawn]
