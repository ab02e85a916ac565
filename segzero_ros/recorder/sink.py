"""A file whose every byte is the system's once it is written: kill -9 takes nothing of it."""

import fcntl
import os
from pathlib import Path


class Sink:
    """An open new file without a buffer, locked for whoever asks ``flock``; OSError where the disk says no."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._at = self._mark = 0

    def write(self, data: bytes) -> int:
        """Write all of it."""
        view = memoryview(data)
        while view:
            written = os.write(self._descriptor, view)
            self._at += written
            view = view[written:]
        return len(data)

    def tell(self) -> int:
        """Return how much was written."""
        return self._at

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def mark(self) -> None:
        """Note that all up to here is whole."""
        self._mark = self._at

    def cut(self) -> None:
        """Take back what came after the last mark."""
        os.ftruncate(self._descriptor, self._mark)

    def sync(self) -> None:
        """Have the disk take it."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
