"""ONNX Runtime sessions: threads, providers and errors settled in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnxruntime

from segzero_ros.bundle import expand_home
from segzero_ros.errors import Code, RejectedInput, nearest

# By the name a user gives them, best first where several are there ("auto"). A node one provider does not know falls
# to the next; the CPU knows all of them. TensorRT is not taken unasked: it builds its engines at the first start, for
# minutes, where the tensorrt backend has them built beforehand.
PROVIDERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "auto": ("CUDAExecutionProvider", "CPUExecutionProvider"),
        "cpu": ("CPUExecutionProvider",),
        "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
        "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
    }
)
_ERRORS_ONLY = 3
# The demo's graphs (4 MB) run 1.15 times faster on one thread than on two (docs/log.md). Where that turns was not
# measured.
SMALL_GRAPH_BYTES = 32 << 20


def open_session(path: Path, *, threads: int = 0, provider: str = "auto") -> onnxruntime.InferenceSession:
    """Open a graph on the best provider there is; `threads` is per operator; 0 = one per core, or one if small.

    Waiting threads sleep instead of spinning: a robot's other processes need the cores more than we need the last
    microseconds. Raises ``RejectedInput`` BUNDLE_BACKEND when this ONNX Runtime cannot open the graph or does not have
    the `provider` asked for.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or (1 if _is_small(path) else 0)
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen = [(name, _settings(name)) for name in providers(provider)]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=chosen)
    except Exception as error:  # ONNX Runtime raises a different type per cause, none of them public
        raise RejectedInput(
            Code.BUNDLE_BACKEND,
            f"got {path.name}, which ONNX Runtime {onnxruntime.__version__} cannot open ({str(error)[:300]}); "
            "export the bundle again or install a newer onnxruntime",
        ) from error


def providers(provider: str = "auto") -> list[str]:
    """Return the execution providers to open a graph with, best first.

    Raises ``RejectedInput`` BUNDLE_BACKEND when the one asked for is not here.
    """
    if provider not in PROVIDERS:
        raise RejectedInput(Code.BUNDLE_BACKEND, f"got the provider {provider[:100]!r}{nearest(provider, PROVIDERS)}")
    there = onnxruntime.get_available_providers()
    wanted = PROVIDERS[provider]
    if provider != "auto" and wanted[0] not in there:
        raise RejectedInput(
            Code.BUNDLE_BACKEND,
            f"got the provider {provider!r}, but onnxruntime {onnxruntime.__version__} here has "
            f"{', '.join(there)}; pip install onnxruntime-gpu in place of onnxruntime, or use the provider auto",
        )
    return [name for name in wanted if name in there]


def device(session: onnxruntime.InferenceSession) -> str:
    """Return where the session's tensors live best: "cuda" or "cpu"."""
    return "cpu" if session.get_providers()[0] == "CPUExecutionProvider" else "cuda"


def _is_small(path: Path) -> bool:
    """Whether a graph is small, with the weights that may lie beside it."""
    files = [path, *path.parent.glob("*.bin")]
    return sum(file.stat().st_size for file in files if file.is_file()) < SMALL_GRAPH_BYTES


def _settings(name: str) -> dict[str, Any]:
    """Return a provider's settings; TensorRT's engines are kept between starts, by the graph's hash and the GPU."""
    if name != "TensorrtExecutionProvider":
        return {}
    cache = expand_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "segzero_ros" / "onnxruntime_tensorrt"
    cache.mkdir(parents=True, exist_ok=True)
    return {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(cache)}
