"""What the tests of local and remote reasoners do to them, and what of an answer they compare."""

import contextlib
import functools
import sys
from dataclasses import replace
from pathlib import Path

from segzero_ros.backends import EngineOptions
from segzero_ros.backends.fake import PROFILE
from segzero_ros.host.messages import Open
from segzero_ros.host.process import start_own
from segzero_ros.profile import get_profile
from segzero_ros.reasoner import Request
from tests.server.conftest import LIMIT_S

TROUBLE = replace(get_profile(PROFILE), prompt="{question}")  # whose words come through


def options(server, **more):
    return EngineOptions(server=server.url, server_timeout_s=LIMIT_S, fallback=False, **more)


def ask(reasoner, frame, command, *, budget=256, deadline_ns=None, cancelled=lambda: False, on_text=lambda _: None):
    return reasoner.reason(Request(frame, command, budget, deadline_ns, cancelled, on_text))


def essence(answer):
    """What of an answer depends on picture and question alone."""
    return answer.text, answer.finish


def all_but_times(answer):
    """Also what depends on the answers before: an engine learns from them how its model spells."""
    return replace(answer, timings_ms={}, confidence=round(answer.confidence, 6))


def children(pid):
    """The processes that the process ``pid`` has started and that are still there."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, task.read_text().split())
    return found


def serve_trouble(port, bundle="tabletop"):
    """`segzero serve` around the engines of bench/host/trouble.py; ``bundle`` says how they open."""
    from segzero_ros.server.server import Settings, serve

    start = functools.partial(start_own, (sys.executable, "-m", "bench.host.trouble"))
    wanted = Open(bundle, "auto", {}, False, reasoner_only=True, most_waiting=16)
    serve(start, wanted, TROUBLE, Settings("127.0.0.1", port, "trouble"), announce="trouble")
