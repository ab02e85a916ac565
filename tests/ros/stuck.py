"""`python -m tests.ros.stuck WHERE`: the node as a process that is idle or stuck somewhere, for tests that end it.

It prints "ready" once it is where it should be. WHERE: idle, reasoning (between tokens), hanging (inside an engine),
loading (inside the opening of one).
"""

import sys
import threading
from typing import Any

from segzero_ros.ros.executor.process import ShutdownSignals, finish_node, run

shutdown = ShutdownSignals()

from segzero_ros.backends.fake import PROFILE, FakeReasoner, FakeSegmenter, HangingReasoner, WaitingReasoner  # noqa: E402
from segzero_ros.pipeline import Pipeline  # noqa: E402
from segzero_ros.profile import get_profile  # noqa: E402
from segzero_ros.ros.node import GroundingNode  # noqa: E402
from tests.ros.robot import picture  # noqa: E402


class Stuck(GroundingNode):
    """Submits a command to itself as soon as it is active."""

    def __init__(self, where: str) -> None:
        self._where = where
        reasoners = {"reasoning": WaitingReasoner, "hanging": HangingReasoner}
        self._reasoner = reasoners.get(where, FakeReasoner)()
        super().__init__(open_engines=self._open, stopping=shutdown.requested)

    def _open(self, _config: Any) -> tuple[str, Pipeline]:
        if self._where == "loading":
            ready()
            threading.Event().wait()
        return "test", Pipeline(get_profile(PROFILE), self._reasoner, FakeSegmenter())

    def _bring_up(self) -> None:
        super()._bring_up()
        if self._where == "idle":
            ready()
        elif self._where != "loading":
            image = self._camera.wrap(picture())
            self._commands.submit("the mug", timeout_s=60.0, source=image)
            threading.Thread(target=lambda: self._reasoner.started.wait() and ready(), daemon=True).start()


def ready() -> None:
    """Print what the test waits for."""
    print("ready", flush=True)


if __name__ == "__main__":
    sys.exit(run(shutdown, lambda: Stuck(sys.argv[1]), [], finish_node))
