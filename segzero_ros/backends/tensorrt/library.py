"""Which TensorRT this machine has, and what it would run on: the full one or TensorRT-RTX, both of one API.

TensorRT 10.16 (JetPack 7.2) and 11 are the module ``tensorrt``, TensorRT-RTX 1.7 is ``tensorrt_rtx_bindings``. Neither
they nor ``cuda.bindings`` are imported before they are asked for, and none of them is needed for anything else here.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from segzero_ros.errors import Code, RejectedInput

#: Flavour -> module, in the order in which they are tried.
FLAVOURS: Mapping[str, str] = MappingProxyType({"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt_rtx_bindings"})
CUDA = "cuda.bindings.runtime"
INSTALL = (
    "pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings cuda-bindings (RTX cards), "
    "or take the tensorrt of JetPack 7.2; see docs/engines.md"
)
DRIVER_FILE = Path("/sys/module/nvidia/version")  # Jetson's kernel has none; CUDA's own number stands for it there

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Library:
    """One TensorRT: ``flavour`` of FLAVOURS, its ``version``, and the module itself."""

    flavour: str
    version: str
    api: Any


@dataclass(frozen=True, slots=True)
class Gpu:
    """What engines are built for: the card's name, its compute capability ("8.9") and the driver's version."""

    name: str
    capability: str
    driver: str


def find_library() -> Library:
    """Return the first TensorRT that can be imported; ``RejectedInput`` BUNDLE_BACKEND when there is none."""
    troubles = []
    for flavour, module in FLAVOURS.items():
        if not installed(module):
            continue
        try:
            api = importlib.import_module(module)
            return Library(flavour, str(api.__version__), api)
        except (ImportError, OSError, AttributeError, RuntimeError) as error:  # a stub, or a missing shared library
            troubles.append(f"{module} does not import ({str(error)[:200]})")
    raise _unusable("; ".join(troubles) or "got no TensorRT")


def find_cuda() -> Any:
    """Return ``cuda.bindings.runtime``; ``RejectedInput`` BUNDLE_BACKEND without it."""
    try:
        return importlib.import_module(CUDA)
    except (ImportError, OSError) as error:
        raise _unusable(f"got no cuda-bindings ({error})") from error


def find_gpu(cuda: Any, index: int = 0) -> Gpu:
    """Describe the GPU; ``RejectedInput`` BUNDLE_BACKEND when there is none or no driver for it."""
    error, count = cuda.cudaGetDeviceCount()
    if error != cuda.cudaError_t.cudaSuccess or not count:
        raise _unusable(f"got no NVIDIA GPU with a driver ({getattr(error, 'name', error)})")
    error, properties = cuda.cudaGetDeviceProperties(index)
    if error != cuda.cudaError_t.cudaSuccess:
        raise _unusable(f"got a GPU that does not say what it is ({error.name})")
    name = properties.name.partition(b"\0")[0].decode() if isinstance(properties.name, bytes) else properties.name
    return Gpu(str(name), f"{properties.major}.{properties.minor}", _driver(cuda))


def installed(module: str) -> bool:
    """Whether ``module`` could be imported, without importing more than its parents."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def new_logger(library: Library) -> Any:
    """Return a TensorRT logger that hands warnings and errors to ``logging`` and keeps them in ``messages``."""
    api = library.api

    class Logger(api.ILogger):  # type: ignore[misc, name-defined]
        """What TensorRT says, in order."""

        def __init__(self) -> None:
            api.ILogger.__init__(self)
            self.messages: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            """Keep an error, pass on a warning; the rest is chatter."""
            if severity <= api.ILogger.ERROR:
                self.messages.append(msg)
            if severity <= api.ILogger.WARNING:
                log.log(logging.ERROR if severity <= api.ILogger.ERROR else logging.WARNING, "TensorRT: %s", msg)

    return Logger()


def _driver(cuda: Any) -> str:
    error, version = cuda.cudaDriverGetVersion()
    supported = f"CUDA {version // 1000}.{version % 1000 // 10}" if error == cuda.cudaError_t.cudaSuccess else "CUDA ?"
    try:
        return f"{DRIVER_FILE.read_text().strip()} ({supported})"
    except OSError:
        return supported


def _unusable(what: str) -> RejectedInput:
    return RejectedInput(Code.BUNDLE_BACKEND, f"{what}, want TensorRT with a GPU; {INSTALL}")
