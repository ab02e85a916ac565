"""A folder of MCAP files: rotated, bounded in size, and whole up to the last group written, whatever ends the process.

A group is written completely or not at all; every file has all that its groups need, so that each can be read alone.
Covered: kill -9, power cuts (up to the last ``sync``), a full disk, a file-size limit, several nodes in one folder.
Not covered: somebody who writes into the files.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

from segzero_ros import __version__
from segzero_ros.bundle import user_path
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.recorder.entry import Channel, Entry
from segzero_ros.recorder.sink import Sink

PREFIX, SUFFIX = "segzero_", ".mcap"
KEEP_FREE_BYTES = 100_000_000  # on the disk: a robot whose disk is full does not start again
CHUNK_BYTES = 1 << 20
ABOUT = "segzero_ros"  # the name of the metadata record that says what answered


class Store:
    """Writes groups of entries; one thread at a time. Every method may raise OSError: the disk says no."""

    def __init__(self, folder: Path, *, file_bytes: int, total_bytes: int, keep_free: int | None = None) -> None:
        """``file_bytes``: from where on the next file is begun. ``total_bytes``: of all files; the oldest go.

        ``keep_free``: nothing is written that would leave less on the disk (default KEEP_FREE_BYTES).
        """
        self.folder, self._file_bytes, self._total_bytes = folder, file_bytes, total_bytes
        self._keep_free = KEEP_FREE_BYTES if keep_free is None else keep_free
        self._file: _File | None = None
        self._about: dict[str, str] = {}

    @property
    def path(self) -> Path | None:
        """The file that is being written, None before the first group."""
        return self._file.path if self._file is not None else None

    def describe(self, about: Mapping[str, str]) -> None:
        """Say what answers from here on: bundle, hash, versions, parameters."""
        self._about = dict(about)
        file = self._file
        if file is not None:
            self._or_abandon(file, lambda: file.describe(self._about))

    def write(self, group: Sequence[Entry]) -> None:
        """Write the entries that the current file does not have yet: all of them, or none and OSError."""
        file = self._file
        name = file.path.name if file is not None else ""
        self._check_room(sum(entry.size for entry in group if not entry.file or entry.file != name))
        if file is None or file.size >= self._file_bytes:
            file = self._begin_file()
        self._or_abandon(file, lambda: file.write(group))

    def sync(self) -> None:
        """Have the disk take what was written."""
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        """Finish the file."""
        file, self._file = self._file, None
        if file is not None:
            file.finish()

    def _check_room(self, size: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < size + self._keep_free:
            raise OSError(f"{free / 1e6:.0f} MB are free, {(size + self._keep_free) / 1e6:.0f} MB are needed")

    def _begin_file(self) -> "_File":
        self.close()
        self._drop_oldest()
        file = self._file = _File(new_path(self.folder))
        self._or_abandon(file, lambda: file.describe(self._about))
        return file

    def _or_abandon(self, file: "_File", do: Callable[[], None]) -> None:
        """Do something with the file; where the disk says no, it ends with the group before."""
        try:
            do()
        except BaseException:
            self._file = None
            file.abandon()
            raise

    def _drop_oldest(self) -> None:
        """Delete the oldest files until there is room for another one within ``total_bytes``."""
        files = recordings(self.folder)
        total = sum(file.stat().st_size for file in files)
        for file in files:
            if total + self._file_bytes <= self._total_bytes:
                return
            if not is_in_use(file):
                total -= file.stat().st_size
                file.unlink(missing_ok=True)


class _File:
    """One file; locked as long as it is open, so that others leave it alone."""

    def __init__(self, path: Path) -> None:
        from mcap.writer import Writer

        self.path = path
        self._sink = Sink(path)
        self._writer: Any = Writer(cast(Any, self._sink), chunk_size=CHUNK_BYTES)
        self._channels: dict[Channel, int] = {}
        self._schemas: dict[str, int] = {}
        try:
            self._writer.start(profile="ros2", library=f"segzero_ros {__version__}")
        except OSError:
            self.abandon()
            raise

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._sink.tell()

    def describe(self, about: Mapping[str, str]) -> None:
        if about:
            self._writer.add_metadata(ABOUT, dict(about))
        self._sink.mark()

    def write(self, group: Sequence[Entry]) -> None:
        for entry in dict.fromkeys(entry for entry in group if entry.file != self.path.name):
            data = entry.channel.serialise(entry.message)
            channel = self._channel(entry.channel)
            self._writer.add_message(channel, entry.time_ns, data, entry.time_ns, entry.sequence)
        self._writer.flush()
        self._sink.mark()
        for entry in group:
            entry.file = self.path.name

    def _channel(self, channel: Channel) -> int:
        if channel not in self._channels:
            if channel.type not in self._schemas:
                text = channel.definition.encode()
                self._schemas[channel.type] = self._writer.register_schema(channel.type, "ros2msg", text)
            schema, metadata = self._schemas[channel.type], {"role": channel.role}
            self._channels[channel] = self._writer.register_channel(channel.topic, "cdr", schema, metadata)
        return self._channels[channel]

    def sync(self) -> None:
        self._sink.sync()

    def finish(self) -> None:
        """Write the index; where that fails the file stays as a cut one, which can be read."""
        try:
            self._writer.finish()
            self._sink.sync()
        except OSError:
            self._sink.cut()
            raise
        finally:
            self._sink.close()

    def abandon(self) -> None:
        """Cut off what was not written to its end, and close."""
        self._sink.cut()
        self._sink.close()


def recordings(folder: Path) -> list[Path]:
    """Return the recordings of a folder, the oldest first."""
    return sorted(folder.glob(f"{PREFIX}*{SUFFIX}"))


def new_path(folder: Path) -> Path:
    """Return a name for the next file: the moment in UTC, to the microsecond, so that names sort by age."""
    return folder / f"{PREFIX}{datetime.now(timezone.utc):%Y%m%dT%H%M%S_%f}Z{SUFFIX}"


def is_in_use(path: Path) -> bool:
    """Tell whether a recorder writes this file now."""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def usable_folder(text: str) -> Path:
    """Return the folder to record to, made where it is not there; ``RejectedInput`` CONFIG_VALUE if it cannot be."""
    folder = user_path(text or "~/.local/state/segzero_ros/recordings")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(0, "no permission to write")
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", "") or str(error)
        detail = f"cannot record to {str(folder)[:200]!r} ({why}); set record_dir to a folder that can be written"
        raise RejectedInput(Code.CONFIG_VALUE, detail) from None
    return folder
