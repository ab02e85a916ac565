"""The Unix socket at which a host listens for several nodes: where it lies, and who may be at its other end."""

import contextlib
import os
import socket
import stat
import struct
import tempfile
from pathlib import Path

from segzero_ros.errors import Code, RejectedInput

_PEER = struct.Struct("3i")


def default_path() -> Path:
    """Return the socket's usual path: $XDG_RUNTIME_DIR/segzero/host.sock, without that below /tmp."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    folder = Path(runtime, "segzero") if runtime else Path(tempfile.gettempdir(), f"segzero-{os.getuid()}")
    return folder / "host.sock"


def listen(path: Path) -> socket.socket:
    """Listen at ``path``, this user alone may connect; ``RejectedInput`` HOST_UNUSABLE where that cannot be."""
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_uid not in (os.getuid(), 0) or (found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX):
            raise _unusable(f"{folder} belongs to somebody else or anybody may write there; give another --socket")
        _remove_stale(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(mask)
        sock.listen()
        return sock
    except OSError as error:
        raise _unusable(f"cannot listen at {path} ({error.strerror or error}); give another --socket") from None


def _remove_stale(path: Path) -> None:
    """Remove the socket of a host that is no more; refuse where one listens, or where the file is something else."""
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise _unusable(f"{path} is there and no socket; give another --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(ConnectionRefusedError):
        probe.connect(str(path))
        raise _unusable(f"a host listens at {path} already; use that one (host:={path}), or give another --socket")
    path.unlink()


def peer_uid(sock: socket.socket) -> int:
    """Return the user id of the process at the other end of a Unix socket."""
    return int(_PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[1])


def _unusable(detail: str) -> RejectedInput:
    return RejectedInput(Code.HOST_UNUSABLE, detail)
