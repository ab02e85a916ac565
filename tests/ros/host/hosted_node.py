"""`python -m tests.ros.host.hosted_node BUNDLE [WORD]`: the node with troublesome engines in a process of their own.

It prints "engines-pid PID" for each process of the engines, "now PHASE" for what becomes of it, and "at work" once the
command WORD is being reasoned about.
"""

import sys
import threading
from typing import Any

from segzero_ros.ros.executor.process import ShutdownSignals, finish_node, run

shutdown = ShutdownSignals()

from rclpy.parameter import Parameter  # noqa: E402

from segzero_ros.host import start  # noqa: E402
from segzero_ros.host.supervisor import HostState  # noqa: E402
from segzero_ros.ros.node import GroundingNode  # noqa: E402
from tests.host.conftest import TROUBLE  # noqa: E402
from tests.ros.robot import picture  # noqa: E402


class HostedNode(GroundingNode):
    """Says where its engines are, and asks them ``word`` as soon as they are open."""

    def __init__(self, bundle: str, word: str) -> None:
        self._word = word
        overrides = [Parameter("bundle", value=bundle), Parameter("stale_sec", value=60.0)]
        super().__init__(parameter_overrides=overrides, stopping=shutdown.requested)

    def _bring_up(self) -> None:
        super()._bring_up()
        threading.Thread(target=self._tell, daemon=True).start()

    def _tell(self) -> None:
        """Print each new process of the engines."""
        known = 0
        while not shutdown.requested.wait(0.02):
            host = self._host
            pid = host.state().pid if host is not None else 0
            if pid and pid != known:
                known = pid
                print(f"engines-pid {pid}", flush=True)

    def _on_host(self, host: Any, state: HostState) -> None:
        super()._on_host(host, state)
        print(f"now {state.phase}", flush=True)
        if state.phase == "ready" and self._word:
            source, word, self._word = self._camera.wrap(picture()), self._word, ""
            self._commands.submit(word, timeout_s=60.0, source=source, on_progress=self._on_progress)

    def _on_progress(self, *_: Any) -> None:
        print("at work", flush=True)


if __name__ == "__main__":
    start.command_line = lambda _: TROUBLE
    start.resolve_bundle = lambda name: name  # type: ignore[assignment,return-value]
    bundle, word = [*sys.argv[1:], ""][:2]
    sys.exit(run(shutdown, lambda: HostedNode(bundle, word), [], finish_node))
