"""`segzero host`: the engines as a process, for the nodes of this machine."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import signal
import socket
from pathlib import Path

from segzero_ros.cli.options import DEFAULT_BUNDLE, add_engine_options, engine_options
from segzero_ros.cli.parser import OK, Parser
from segzero_ros.host import messages
from segzero_ros.host.room import Room
from segzero_ros.host.server import Server
from segzero_ros.host.sockets import default_path, listen

ABOUT = (
    "Open a bundle's engines once, for all nodes (cameras) of this machine that are started with host:=PATH. A node "
    "without that starts a host of its own. Nodes take turns."
)
EXAMPLES = ("segzero host", "segzero host --bundle visionreasoner-7b --backend tensorrt --socket /run/robot/host.sock")


def configure(parser: Parser) -> None:
    """Add the options."""
    parser.describe(ABOUT, EXAMPLES)
    add_engine_options(parser)
    parser.add_argument(
        "--socket", default="", metavar="PATH", help=f"to listen at (default {default_path()}); this user's only"
    )
    parser.add_argument("--fd", type=int, default=-1, help=argparse.SUPPRESS)  # of the node that starts it
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop, or until the node that started it has ended."""
    logging.basicConfig(level=logging.INFO, format="segzero host: %(levelname)s %(message)s")
    room = Room()
    if options.fd >= 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        server = Server(room, owner=socket.socket(fileno=options.fd), guard=True)
        signal.signal(signal.SIGTERM, lambda *_: server.stop())
        server.run()
        return OK
    path = Path(options.socket).expanduser() if options.socket else default_path()
    listener = listen(path)
    room.open(_wanted(options))
    server = Server(room, listener=listener, guard=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stop())
    print(f"engines for the nodes of this machine, host:={path}", flush=True)
    try:
        server.run()
    finally:
        path.unlink(missing_ok=True)
    return OK


def _wanted(options: argparse.Namespace) -> messages.Open:
    engines = dataclasses.asdict(engine_options(options))
    bundle = DEFAULT_BUNDLE if options.bundle is None else options.bundle
    return messages.Open(bundle, options.backend, engines, self_test=True)
