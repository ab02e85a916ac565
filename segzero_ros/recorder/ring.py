"""The last seconds in memory, bounded by time and by bytes; one thread at a time."""

from collections import deque

from segzero_ros.recorder.entry import Entry


class Ring:
    """Entries in the order they came; the oldest go when they are too old or too many bytes."""

    def __init__(self, seconds: float, most_bytes: int) -> None:
        self._period_ns, self._most_bytes = int(seconds * 1e9), most_bytes
        self._entries: deque[Entry] = deque()
        self.bytes = 0

    def add(self, entry: Entry) -> None:
        """Keep an entry; one that is larger than the ring is not kept."""
        self._entries.append(entry)
        self.bytes += entry.size
        oldest_ns = entry.time_ns - self._period_ns
        while self._entries and (self.bytes > self._most_bytes or self._entries[0].time_ns < oldest_ns):
            self.bytes -= self._entries.popleft().size

    def entries(self) -> list[Entry]:
        """Return what is kept, the oldest first."""
        return list(self._entries)

    def find(self, message: object) -> Entry | None:
        """Return the entry of this very message, the newest first."""
        return next((entry for entry in reversed(self._entries) if entry.message is message), None)

    def __len__(self) -> int:
        return len(self._entries)
