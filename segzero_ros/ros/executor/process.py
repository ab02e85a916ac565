"""The nodes as processes: each spins until SIGINT or SIGTERM, and then ends with status 0 within three seconds.

The two signals are blocked in every thread and waited for in one, so that they are received also while the main thread
sits in an engine's C++ code, or still imports, where Python's own handlers would have to wait or leave a traceback.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported late: this takes seconds on a small machine, and signals must be received by then
    from rclpy.executors import Executor
    from rclpy.node import Node

    from segzero_ros.ros.node import GroundingNode

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE_S = 2.5  # for engines that do not come back; three seconds are promised
HUNG = 1  # exit status of a process that was ended because something in it did not come back
RESULTS_S = 0.5  # for the results of the goals that the shutdown has cancelled
MAX_DOMAIN = 232  # the highest whose ports are below 65536; DDS ends the process where one is above


class StartError(Exception):
    """ROS does not start with these arguments or this environment; the text says which and what to do."""


def start_ros(arguments: Sequence[str] | None) -> None:
    """Initialise ROS, leaving the signals alone; ``StartError`` for arguments or a ROS_DOMAIN_ID that it refuses."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    if not (domain.isascii() and domain.isdecimal() and int(domain) <= MAX_DOMAIN):
        raise StartError(f"got ROS_DOMAIN_ID = {domain[:40]!r}, want a whole number from 0 to {MAX_DOMAIN}")
    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # rclpy's RCLError and UnknownROSArgsError, both of a private module
        reason = str(error).removeprefix("failed to initialize rcl: ").partition(", at /")[0]
        raise StartError(f"ROS refuses its arguments, {reason[:300]}; correct what follows --ros-args") from None


class ShutdownSignals:
    """Waits for the signals that end the process: sets ``requested``, calls ``wake``, at last ends the process."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        """Start to listen; to be made in the main thread, before any other thread exists (they inherit the mask)."""
        self.requested = threading.Event()
        self.wake: Callable[[], None] = lambda: None
        self._patience_s = patience_s
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        threading.Thread(target=self._listen, name="segzero-signals", daemon=True).start()

    def _listen(self) -> None:
        signal.sigwait(SIGNALS)
        self.requested.set()
        self.wake()
        time.sleep(self._patience_s)  # the main thread normally ends the process before this is over
        print("segzero: something does not come back; ending without it", file=sys.stderr, flush=True)
        os._exit(HUNG)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the grounding node; return the exit status."""
    shutdown = ShutdownSignals()
    from rclpy.exceptions import ParameterException

    from segzero_ros.ros.node import GroundingNode

    words = sys.argv if arguments is None else arguments
    try:
        return run(shutdown, lambda: GroundingNode(stopping=shutdown.requested, arguments=words), words, finish_node)
    except (StartError, ParameterException) as error:
        return _refuse("segzero_node", error)


def finish_node(node: "GroundingNode", executor: "Executor") -> None:
    """End the node's work, and spin until every action goal has got its result."""
    node.close()
    until = time.monotonic() + RESULTS_S
    while node.busy and time.monotonic() < until:
        executor.spin_once(timeout_sec=0.05)


def camera_main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo world's camera; return the exit status."""
    shutdown = ShutdownSignals()
    from rclpy.exceptions import ParameterException

    from segzero_ros.ros.camera_node import BadStartError, TabletopCamera

    try:
        return run(shutdown, TabletopCamera, arguments)
    except (BadStartError, StartError, ParameterException) as error:
        return _refuse("tabletop_camera", error)


def _refuse(name: str, error: Exception) -> int:
    print(f"{name}: {error}", file=sys.stderr, flush=True)
    return 2


def run(
    shutdown: ShutdownSignals,
    make: Callable[[], "Node"],
    arguments: Sequence[str] | None,
    finish: Callable[..., None] | None = None,
) -> int:
    """Spin the node that ``make`` makes until shutdown is requested, then call ``finish(node, executor)``."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    if shutdown.requested.is_set():
        return 0
    words = list(sys.argv if arguments is None else arguments)
    start_ros(words)
    node = make()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    guard_condition = node.create_guard_condition(lambda: None)
    shutdown.wake = guard_condition.trigger
    _spin(executor, node, shutdown.requested)
    shutdown.wake = lambda: None
    if finish is not None:
        finish(node, executor)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


def _spin(executor: "Executor", node: "Node", requested: threading.Event) -> None:
    import rclpy
    from rclpy.executors import ExternalShutdownException

    from segzero_ros.ros.executor import guard

    while rclpy.ok() and not requested.is_set():
        try:
            executor.spin_once()
        except ExternalShutdownException:
            return
        except Exception as error:  # noqa: BLE001 - raised by rclpy around a callback
            guard.report(node, "executor", error)


if __name__ == "__main__":
    sys.exit(main())
