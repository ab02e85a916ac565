"""What the tests of local and remote reasoners do to them, and what of an answer they compare."""

from dataclasses import replace

from segzero_ros.backends import EngineOptions
from segzero_ros.reasoner import Request
from tests.server.conftest import LIMIT_S


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
