"""How many messages a full queue has dropped, which DDS does not tell of a queue that keeps the last ones only.

Each publisher numbers its messages; a number that jumps is one that was dropped, or a publisher never heard before. So
a jump is believed only where the queue was full: as many messages as it holds had come by then.
Covered: several publishers, ones that come and go. Not covered: ROS 2 Humble, which hands out no numbers.
"""

import time
from collections import deque
from collections.abc import Callable

UNNUMBERED = 2**64 - 1  # RMW_MESSAGE_INFO_SEQUENCE_NUMBER_UNSUPPORTED
PUBLISHERS = 64  # whose numbers are remembered


class LostMessages:
    """Counts what one topic's queue has dropped; single-threaded."""

    def __init__(self, depth: int, now: Callable[[], int] = time.time_ns) -> None:
        """``depth``: of the queue. ``now``: the clock of the messages' time of arrival, in ns."""
        self._depth = depth
        self._now = now
        self._newest: deque[int] = deque(maxlen=PUBLISHERS)
        self._jumps = self._behind = self._jumped_ns = 0

    def count(self, number: int | None, arrived_ns: int) -> int:
        """Take note of a message and return how many are known by it to be lost.

        ``number``: its publisher's, from 1 on. ``arrived_ns``: when it came into the queue.
        """
        if number is None or number == UNNUMBERED:
            return 0
        skipped = self._skipped(number)
        if self._jumps:
            self._behind += skipped + (arrived_ns <= self._jumped_ns)
            if arrived_ns > self._jumped_ns and self._behind < self._depth - 1:
                self._jumps = 0  # the queue was not full: the jump was somebody new
        if skipped:
            if not self._jumps:
                self._behind, self._jumped_ns = 0, self._now()
            self._jumps += skipped
        if not self._jumps or self._behind < self._depth - 1:
            return 0
        lost, self._jumps = self._jumps, 0
        return lost

    def _skipped(self, number: int) -> int:
        """Return how many numbers lie between this one and the one before it."""
        if number - 1 in self._newest:
            self._newest.remove(number - 1)
            self._newest.append(number)
            return 0
        before = max((newest for newest in self._newest if newest < number), default=0)
        self._newest.append(number)
        return number - before - 1
