"""Where a host comes from: a process of the node's own, or a socket that somebody else listens at."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.host.sockets import peer_uid

KILL_S = 2.0  # for the kernel to end a process that was killed; more only where a driver holds it
LEAVE_S = 0.5  # for a host to end by itself once its node has left
# Ctrl-C is the node's to handle; the host ends with its connection. A session would do as well, but Linux makes that a
# scheduling group of its own (autogroup), and on a busy machine every word between the two would wait for its turn.
_APART: dict[str, Any] = {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}


@dataclass(slots=True, eq=False)
class Started:
    """A connection to a host, and its process where that is ours."""

    sock: socket.socket
    process: "subprocess.Popen[bytes] | None" = None

    def end(self, patience_s: float = 0.0) -> None:
        """Close the connection; end our own process, by force after ``patience_s``, and leave no zombie."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            if patience_s:
                self.process.wait(patience_s)
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(KILL_S)

    def kill(self) -> None:
        """End our own process at once."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()

    def how_it_ended(self) -> str:
        """Say in a few words how our process ended, to be called when its connection has."""
        if self.process is None:
            return "its connection was closed"
        try:
            status = self.process.wait(KILL_S)
        except subprocess.TimeoutExpired:
            return "its connection was closed"
        if status < 0:
            with contextlib.suppress(ValueError):
                return f"ended by {signal.Signals(-status).name}"
        return f"ended with status {status}"


def command_line(python: str) -> tuple[str, ...]:
    """Return the words that start a host under the interpreter ``python``."""
    return python, "-m", "segzero_ros.cli", "host"


def start_own(command: Sequence[str], inherited: Sequence[int] = ()) -> Started:
    """Start a host as a process of ours, which ends with this one.

    ``command``: without its --fd. ``inherited``: file descriptors for it, beside our connection.

    Raises ``RejectedInput`` HOST_UNUSABLE where it cannot be started.
    """
    ours, theirs = socket.socketpair()
    try:
        process = subprocess.Popen(
            [*command, "--fd", str(theirs.fileno())],
            pass_fds=[theirs.fileno(), *inherited],
            stdin=subprocess.DEVNULL,
            env=_environment(),
            **_APART,
        )
    except OSError as error:
        ours.close()
        raise RejectedInput(
            Code.HOST_UNUSABLE, f"the engines' Python {command[0]} does not start ({error}); segzero engines install"
        ) from None
    finally:
        theirs.close()
    return Started(ours, process)


def _environment() -> dict[str, str]:
    """The environment of a host: this package is found first, by whichever Python."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def connect(path: Path) -> Started:
    """Connect to the host that listens at ``path``; ``RejectedInput`` HOST_UNUSABLE where this user has none."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(str(path))
    except OSError as error:
        sock.close()
        raise RejectedInput(
            Code.HOST_UNUSABLE, f"nobody answers at {path} ({error.strerror or error}); start `segzero host` there"
        ) from None
    if peer_uid(sock) not in (os.getuid(), 0):
        sock.close()
        raise RejectedInput(Code.HOST_UNUSABLE, f"{path} belongs to another user's process; start a host of your own")
    return Started(sock)
