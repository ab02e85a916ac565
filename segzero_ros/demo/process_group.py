"""The processes the demo starts: each in a group of its own with a log file, and none of them left behind."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LAST_LINES = 12  # of the log of a process that died, for the message
SOFT_S = 5.0  # from SIGINT to SIGKILL
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)  # loaded here: between fork and exec nothing may be


class ProcessDiedError(Exception):
    """A process ended by itself; the text has its last log lines."""


@dataclass(frozen=True, slots=True)
class Child:
    """One running process, leader of its own group, with the file it writes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


class ProcessGroup:
    """Starts processes, watches over them and ends them; use it in a ``with``."""

    def __init__(self, logs: Path) -> None:
        """``logs``: the directory of the log files."""
        self._logs = logs
        self._children: list[Child] = []
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "ProcessGroup":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], environ: Mapping[str, str]) -> Child:
        """Start a process; its output goes to NAME.log."""
        log = self._logs / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environ),
                start_new_session=True,  # Ctrl-C reaches the demo alone, which then ends the others in order
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call: no lock, no memory
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def check(self) -> None:
        """Raise ``ProcessDiedError`` if one has ended."""
        for child in self._children:
            status = child.process.poll()
            if status is not None:
                raise ProcessDiedError(f"{child.name} ended with status {status}; {child.log} ends:\n{tail(child.log)}")

    def end(self, child: Child) -> None:
        """End one of them, as ``stop`` ends all."""
        others, self._children = [one for one in self._children if one is not child], [child]
        try:
            self.stop()
        finally:
            self._children = others

    def stop(self) -> None:
        """End all of them, with their groups: SIGINT first, SIGKILL after `SOFT_S`."""
        for child in self._children:
            _signal(child, signal.SIGINT)
        end = time.monotonic() + SOFT_S
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, end - time.monotonic()))
            _signal(child, signal.SIGKILL)
            child.process.wait()
        self._children.clear()


def _signal(child: Child, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # the whole group is gone already
        os.killpg(child.process.pid, number)


def _die_with_parent() -> None:
    """Have the kernel end this process when the demo is killed without a chance to clean up."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def tail(log: Path, lines: int = LAST_LINES) -> str:
    """Return the last lines of a log, indented."""
    text = log.read_text("utf-8", "replace").splitlines()[-lines:]
    return "\n".join(f"  | {line[:300]}" for line in text) or "  | (nothing)"


def free_domain() -> int:
    """Return a ROS_DOMAIN_ID that nobody on this machine uses: DDS discovery listens on port 7400 + 250 * domain."""
    for domain in sorted(range(1, 102), key=lambda _: os.urandom(4)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
            try:
                port.bind(("127.0.0.1", 7400 + 250 * domain))
            except OSError:
                continue
            return domain
    raise RuntimeError("all ROS_DOMAIN_IDs from 1 to 101 are in use on this machine")
