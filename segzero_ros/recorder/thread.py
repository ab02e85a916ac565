"""The recorder's thread: takes groups from a bounded queue and writes them; nobody ever waits for it.

What does not fit into the queue, or comes while the disk says no, is dropped and counted.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from segzero_ros.pipeline import error_text
from segzero_ros.recorder.entry import Entry
from segzero_ros.recorder.finish import finish_cut_files
from segzero_ros.recorder.store import Store

SYNC_S = 0.5  # between two fdatasync: what a power cut may cost, half a second before the promised one
PAUSE_S = 0.2  # after something has come; Python's threads take turns of 5 ms, which a quick answer would wait for
RETRY_S = 10.0  # after the disk has said no
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecorderStats:
    """What became of the groups. ``file``: the one being written. ``fault``: why nothing is written now, "" = it is."""

    file: str
    written: int
    dropped: int
    fault: str


@dataclass(frozen=True, slots=True)
class _Group:
    """Entries that wait; ``size``: bytes that no group before it has."""

    entries: tuple[Entry, ...]
    size: int


class RecorderThread:
    """Writes groups to a ``Store``."""

    def __init__(self, store: Store, *, most_bytes: int, on_fault: Callable[[str], None]) -> None:
        """``most_bytes``: that may wait. ``on_fault``: told once why nothing is written, in this thread."""
        self._store, self._most_bytes, self._on_fault = store, most_bytes, on_fault
        self._changed = threading.Condition()
        self._waiting: deque[_Group | dict[str, str]] = deque()
        self._bytes = 0
        self._closing = False
        self._written = self._dropped = 0
        self._file, self._fault = "", ""
        self._retry_s = 0.0
        self._dirty, self._synced_s = False, time.monotonic()
        self._thread = threading.Thread(target=self._run, name="segzero-recorder", daemon=True)
        self._thread.start()

    def put(self, group: Sequence[Entry]) -> bool:
        """Have a group written; False where it is dropped, since too much waits already.

        What groups share (the seconds before two failures) counts once. By one thread at a time.
        """
        new = [entry for entry in dict.fromkeys(group) if not entry.is_queued]
        size = sum(entry.size for entry in new)
        with self._changed:
            if self._closing or (self._waiting and self._bytes + size > self._most_bytes):
                self._dropped += 1
                return False
            self._bytes += size
            self._waiting.append(_Group(tuple(group), size))
            self._changed.notify_all()
        for entry in new:
            entry.is_queued = True
        return True

    def describe(self, about: Mapping[str, str]) -> None:
        """See ``Store.describe``; in the order of the groups."""
        with self._changed:
            self._waiting.append(dict(about))
            self._changed.notify_all()

    def stats(self) -> RecorderStats:
        """Return what became of the groups so far."""
        with self._changed:
            return RecorderStats(self._file, self._written, self._dropped, self._fault)

    def close(self, patience_s: float) -> bool:
        """Write what waits, finish the file, end the thread; False where that takes longer than ``patience_s``."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    # ---- the thread ----

    def _run(self) -> None:
        for path in finish_cut_files(self._store.folder):
            _log.info("%s was cut; it has its index now", path)
        while (item := self._next()) is not None:
            try:
                self._do(item)
            except OSError as error:
                self._note_fault(f"cannot record, {error.strerror or error}; free space, or set record_dir", item)
            except Exception as error:  # noqa: BLE001 - a defect; the robot goes on without a recording
                _log.exception("a defect of the recorder")
                self._note_fault(f"cannot record, {error_text(error)}; please report it", item)
            self._note_done(item)
        try:
            self._store.close()
        except OSError as error:
            why = error.strerror or error
            self._note_fault(f"the last recording has no index ({why}); it can be read all the same")

    def _next(self) -> _Group | dict[str, str] | None:
        """Wait for the next item, seeing to the disk meanwhile; None at the end."""
        while True:
            with self._changed:
                if not self._waiting and not self._closing:
                    self._changed.wait(SYNC_S if self._dirty else None)
                    self._let_the_answer_go_first()
                if self._waiting:
                    return self._waiting.popleft()
                if self._closing:
                    return None
            self._sync()

    def _let_the_answer_go_first(self) -> None:
        """Wait PAUSE_S where something has just come: what it belongs to is being worked on; the lock is held."""
        until = time.monotonic() + PAUSE_S
        while self._waiting and not self._closing and self._bytes < self._most_bytes // 2:
            left_s = until - time.monotonic()
            if left_s <= 0:
                return
            self._changed.wait(left_s)

    def _do(self, item: _Group | dict[str, str]) -> None:
        if isinstance(item, dict):
            self._store.describe(item)
            return
        if self._fault and time.monotonic() < self._retry_s:
            with self._changed:
                self._dropped += 1
            return
        self._store.write(item.entries)
        self._dirty = True
        with self._changed:
            self._written += 1
            self._fault = ""
            self._file = str(self._store.path or "")
        if time.monotonic() - self._synced_s >= SYNC_S:
            self._sync()

    def _sync(self) -> None:
        try:
            self._store.sync()
        except OSError as error:
            self._note_fault(f"cannot record, {error.strerror or error}; look at the disk")
        self._dirty, self._synced_s = False, time.monotonic()

    def _note_done(self, item: _Group | dict[str, str]) -> None:
        if not isinstance(item, dict):
            with self._changed:
                self._bytes -= item.size

    def _note_fault(self, fault: str, item: object = None) -> None:
        """Say why nothing is written; ``item``: what was to be written."""
        self._retry_s = time.monotonic() + RETRY_S
        with self._changed:
            is_new, self._fault = not self._fault, fault
            self._dropped += isinstance(item, _Group)
        if is_new:
            self._on_fault(fault)
