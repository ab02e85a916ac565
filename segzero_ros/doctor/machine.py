"""The machine: processor, memory, disk, GPU, shared memory, sockets."""

import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from segzero_ros import __version__
from segzero_ros.bundle import expand_home
from segzero_ros.doctor.finding import Finding
from segzero_ros.errors import RejectedInput, one_line
from segzero_ros.frame import Frame
from segzero_ros.host.pixels import MappedRing, Ring
from segzero_ros.host.process import connect
from segzero_ros.host.protocol import PROTOCOL
from segzero_ros.host.sockets import default_path

MEMORY_FACTOR = 3  # of a bundle's bytes: files, engines and what they work with (the demo bundle needs 12)
LEAST_MEMORY_BYTES = 500 << 20
LEAST_DISK_BYTES = 4 << 30  # an engine environment with CUDA has 3 GB
ASK_S = 10.0


def examine(bundle_bytes: int) -> Iterator[Finding]:
    """Look at the machine; ``bundle_bytes``: of the bundle that is to run here."""
    yield package()
    yield processor()
    yield memory(available_memory(), bundle_bytes)
    yield disk(expand_home(os.environ.get("XDG_DATA_HOME") or "~/.local/share"))
    yield gpu()
    yield shared_memory()
    yield host_socket(default_path())


def package() -> Finding:
    """This package and this Python."""
    where = Path(__file__).resolve().parents[2]
    what = f"segzero_ros {__version__}, protocol {PROTOCOL}, NumPy {np.__version__}, Python {platform.python_version()}"
    return Finding("ok", "package", f"{what}, in {where}")


def processor() -> Finding:
    """Processor and board; one core is too few for camera, node and engines."""
    model = _field("/proc/cpuinfo", "model name") or _field("/proc/cpuinfo", "Model") or platform.machine()
    board = _text("/proc/device-tree/model")
    cores = len(os.sched_getaffinity(0))
    what = f"{', '.join(filter(None, (board, model)))}, {cores} cores, {platform.machine()}, {_system()}"
    if platform.machine() not in ("x86_64", "aarch64"):
        return Finding(
            "warn", "machine", what, "nothing was tried on this processor; ONNX Runtime may have no wheel for it"
        )
    if cores < 2:
        return Finding("warn", "machine", what, "give it two cores: camera and node wait for the engines otherwise")
    return Finding("ok", "machine", what)


def memory(available_bytes: int, bundle_bytes: int) -> Finding:
    """Free memory against what the bundle needs."""
    needed = max(LEAST_MEMORY_BYTES, MEMORY_FACTOR * bundle_bytes)
    what = f"{available_bytes / 2**30:.1f} GiB available; about {needed / 2**30:.1f} GiB are needed"
    if available_bytes < needed:
        return Finding(
            "warn", "memory", what, "close other programs, or take a bundle of fewer bits (segzero export --help)"
        )
    return Finding("ok", "memory", what)


def available_memory() -> int:
    """Bytes that programs may still take, 0 where the system does not say."""
    return int((_field("/proc/meminfo", "MemAvailable") or "0").split()[0]) * 1024


def disk(folder: Path) -> Finding:
    """Free space where engine environments and built engines go."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    what = f"{free / 2**30:.1f} GiB free at {there}"
    if not os.access(there, os.W_OK):
        return Finding("warn", "disk", f"{there} cannot be written to", "set XDG_DATA_HOME to a folder of yours")
    if free < LEAST_DISK_BYTES:
        return Finding(
            "warn", "disk", what, "make room: an engine environment for CUDA takes 3 GB, a 7B bundle 5 to 16"
        )
    return Finding("ok", "disk", what)


def gpu() -> Finding:
    """An NVIDIA GPU and its driver; none is needed for the demo."""
    release = _text("/etc/nv_tegra_release").partition(",")[0]
    if release:
        return Finding("ok", "gpu", f"Jetson, L4T {release.lstrip('# ')}")
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Finding("note", "gpu", "no NVIDIA driver here: the engines run on the processor")
    words = [tool, "--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(
            "warn",
            "gpu",
            f"nvidia-smi does not answer ({error})",
            "start the machine anew, or install the driver again",
        )
    said = one_line(done.stdout.strip().replace("\n", "; ") or done.stderr.strip())[:300]
    if done.returncode:
        return Finding(
            "warn",
            "gpu",
            f"nvidia-smi says: {said}",
            "install the driver for this GPU; the engines run on the processor",
        )
    return Finding("ok", "gpu", said)


def shared_memory() -> Finding:
    """Whether a picture can go to another process and its labels come back."""
    frame = Frame(np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3), 0)
    try:
        ring = Ring(0, 1, 48 * 64)
        picture = ring.place(frame, 0)
        host = MappedRing(ring.as_message(), os.dup(ring.fd))
        host.write_labels(picture, np.ones((48, 64), np.uint8))
        arrived = np.array_equal(host.frame(picture).rgb, frame.rgb) and ring.labels(0, frame.size, 1).all()
    except Exception as error:  # noqa: BLE001 - whatever a sandbox raises
        return Finding(
            "fail", "shared memory", f"cannot be had ({error})", "allow memfd_create, or set isolation: in_process"
        )
    if not arrived:
        return Finding("fail", "shared memory", "pictures do not arrive as they were sent", "please report this")
    return Finding("ok", "shared memory", "sealed, without a name; a picture arrives and its mask comes back")


def host_socket(path: Path) -> Finding:
    """Whether nodes may share a host here, and whether there is one."""
    if path.exists():
        try:
            connect(path).end()
        except RejectedInput as error:
            return Finding("warn", "host", error.detail, f"remove {path}, or start `segzero host`, which takes it over")
        return Finding("ok", "host", f"one listens for nodes at {path} (host:={path})")
    folder = next(parent for parent in path.parents if parent.exists())
    if not os.access(folder, os.W_OK) or not hasattr(socket, "AF_UNIX"):
        return Finding(
            "warn", "host", f"no socket can be made in {folder}", "give `segzero host --socket PATH` another place"
        )
    return Finding("ok", "host", f"none listens at {path}: each node starts its own; `segzero host` is for several")


def _system() -> str:
    release = dict(line.partition("=")[::2] for line in _lines("/etc/os-release"))
    return release.get("PRETTY_NAME", platform.system()).strip('"') + f", kernel {platform.release()}"


def _field(file: str, name: str) -> str:
    """Return the value of the first line ``name : value`` of a file of the kernel, "" without."""
    return next((line.partition(":")[2].strip() for line in _lines(file) if line.split(":")[0].strip() == name), "")


def _lines(file: str) -> list[str]:
    return _text(file).splitlines()


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""
