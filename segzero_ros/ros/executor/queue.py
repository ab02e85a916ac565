"""Work handed from any thread to the node's executor, so that one thread alone talks to ROS."""

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.node import Node


class ExecutorQueue:
    """A queue of calls that the executor runs in order; posting wakes it up.

    After ``close`` posting does nothing: the node is going away and nobody could run the call.
    """

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._calls: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()  # a trigger must not meet the destruction of its guard condition
        self._guard = node.create_guard_condition(self.drain)
        self._open = True

    def post(self, call: Callable[[], None]) -> None:
        """Queue ``call`` for the executor; from any thread."""
        with self._lock:
            if self._open:
                self._calls.append(call)
                self._guard.trigger()

    def drain(self) -> None:
        """Run everything queued; only in the executor's thread."""
        while self._calls:
            call = self._calls.popleft()
            try:
                call()
            except Exception as error:  # noqa: BLE001 - one bad call must not take the others, or the node, with it
                self._node.get_logger().error(f"INTERNAL: {type(error).__name__}: {error}")

    def close(self) -> None:
        """Run what is left and stop taking more."""
        self.drain()
        with self._lock:
            self._open = False
            self._node.destroy_guard_condition(self._guard)
