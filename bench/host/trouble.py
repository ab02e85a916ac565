"""`python -m bench.host.trouble --fd N`: a real host whose engines do what the words of a command say.

crash, hang, hold (Python's lock), raise, slow, drip; all other words: the middle of the picture. What the bundle is
called says what opening it does: crash, slow, refuse.
"""

import argparse
import functools
import os
import re
import signal
import socket
import threading
import time
from dataclasses import replace

from segzero_ros.backends.fake import PROFILE, FakeReasoner, FakeSegmenter
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.host.messages import Open
from segzero_ros.host.room import Room
from segzero_ros.host.server import Server
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from segzero_ros.reasoner import Answer, Request
from segzero_ros.tracking.prompted import PromptedTracker


class Trouble(FakeReasoner):
    """Does what the command says."""

    def reason(self, request: Request) -> Answer:
        """Obey, or answer with the middle."""
        word = request.command.text.partition(" ")[0]
        if word == "crash":
            signal.raise_signal(signal.SIGSEGV)
        elif word == "exit":
            os._exit(3)
        elif word == "hang":
            threading.Event().wait()
        elif word == "hold":
            re.match("(a+)+$", "a" * 60 + "b")  # for years, with the lock held
        elif word == "raise":
            raise RuntimeError("out of memory")
        elif word == "slow":
            time.sleep(0.3)
        return super().reason(_dripping(request) if word == "drip" else request)


def _dripping(request: Request) -> Request:
    """A request whose answer takes 10 ms a piece."""

    def hear(piece: str) -> None:
        time.sleep(0.01)
        request.on_text(piece)

    return replace(request, on_text=hear)


def open_engines(wanted: Open) -> tuple[str, str, Pipeline]:
    """Open what the bundle's name says; see ``Room``."""
    if wanted.bundle == "crash":
        signal.raise_signal(signal.SIGABRT)
    if wanted.bundle == "refuse":
        raise RejectedInput(Code.BUNDLE_ALTERED, "got weights that differ from their hash; copy the bundle again")
    if wanted.bundle.startswith("slow"):
        time.sleep(float(wanted.bundle.partition(":")[2]))
    sees = FakeSegmenter(ellipse=True)
    follows = functools.partial(PromptedTracker, sees)
    pipeline = Pipeline(get_profile(PROFILE), Trouble(), sees, engines="troublesome", make_tracker=follows)
    return wanted.bundle, "0" * 64, pipeline


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int)
    Server(Room(open_engines), owner=socket.socket(fileno=parser.parse_args().fd), guard=True).run()
