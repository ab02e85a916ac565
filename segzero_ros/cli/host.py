"""`segzero host`: the engines as a process, for the nodes of this machine.

The process that people start is thin: it holds the socket, and keeps a second one alive that has the engines, in their
own environment's Python. That one, started with --fd, is also what a node starts for itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import logging
import queue
import signal
import socket
import sys

from segzero_ros.bundle import resolve_bundle, user_path
from segzero_ros.cli.options import DEFAULT_BUNDLE, add_engine_options, engine_options
from segzero_ros.cli.parser import OK, REFUSED, Parser, refuse
from segzero_ros.engines.environment import find_environment
from segzero_ros.host import messages
from segzero_ros.host.pipeline import HostPipeline
from segzero_ros.host.process import command_line, start_own
from segzero_ros.host.room import Room
from segzero_ros.host.server import Server
from segzero_ros.host.sockets import default_path, listen
from segzero_ros.host.supervisor import HostState

ABOUT = (
    "Open a bundle's engines once, for all nodes (cameras) of this machine that are started with host:=PATH. A node "
    "without that starts a host of its own. Nodes take turns; engines that crash or hang are started again."
)
EXAMPLES = ("segzero host", "segzero host --bundle visionreasoner-7b --backend tensorrt --socket /run/robot/host.sock")


def configure(parser: Parser) -> None:
    """Add the options."""
    parser.describe(ABOUT, EXAMPLES)
    add_engine_options(parser)
    add = parser.add_argument
    add("--socket", default="", metavar="PATH", help=f"to listen at (default {default_path()}); this user's only")
    environment = "a name of `segzero engines list` or a path (default the fastest there is, or this Python)"
    add("--engines", default="", metavar="NAME", help=environment)
    add("--fd", type=int, default=-1, help=argparse.SUPPRESS)  # the connection of whoever started this process
    add("--listen-fd", type=int, default=-1, help=argparse.SUPPRESS)  # the socket where nodes come
    add("--ros-args", nargs=argparse.REMAINDER, default=[], help=argparse.SUPPRESS)  # of a launch file; of no use
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop; 2 where the engines do not open."""
    logging.basicConfig(level=logging.INFO, format="segzero host: %(levelname)s %(message)s")
    return run_engines(options) if options.fd >= 0 else run_for_nodes(options)


def run_engines(options: argparse.Namespace) -> int:
    """Have the engines and answer, until whoever started this process has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.socket(fileno=options.listen_fd) if options.listen_fd >= 0 else None
    server = Server(Room(), owner=socket.socket(fileno=options.fd), listener=listener, guard=True)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.run()
    return OK


def run_for_nodes(options: argparse.Namespace) -> int:
    """Hold the socket and keep the engines' process alive, until SIGINT or SIGTERM."""
    wanted = messages.Open(
        "" if options.backend == "fake" else str(resolve_bundle(options.bundle or DEFAULT_BUNDLE)),
        options.backend,
        dataclasses.asdict(engine_options(options)),
        self_test=True,
    )
    is_plain = options.backend == "fake" and not options.engines
    python = sys.executable if is_plain else str(find_environment(options.engines).python)
    path = user_path(options.socket) if options.socket else default_path()
    listener = listen(path)
    states: queue.SimpleQueue[HostState | None] = queue.SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: states.put(None))
    command = (*command_line(python), "--listen-fd", str(listener.fileno()))
    start = functools.partial(start_own, command, (listener.fileno(),))
    engines = HostPipeline(start, wanted, name="segzero host", on_change=lambda _, state: states.put(state))
    print(f"engines for the nodes of this machine, host:={path}", flush=True)
    try:
        return _report(states)
    finally:
        engines.close()
        path.unlink(missing_ok=True)


def _report(states: queue.SimpleQueue[HostState | None]) -> int:
    """Print what becomes of the engines until they do not open or the process is to end; return its status."""
    while (state := states.get()) is not None:
        if state.phase == "failed":
            refuse("segzero host", str(state.fault or state.detail))
            return REFUSED
        print(f"{state.phase}: {state.detail}", flush=True)
    return OK
