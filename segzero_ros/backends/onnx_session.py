"""ONNX Runtime sessions: threads, providers and errors settled in one place."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from segzero_ros.errors import Code, RejectedInput

# Best first. A node one provider does not know falls to the next; the CPU knows all of them.
_PREFERRED = ("CUDAExecutionProvider", "CPUExecutionProvider")
_ERRORS_ONLY = 3


def open_session(path: Path, *, threads: int = 0) -> onnxruntime.InferenceSession:
    """Open a graph on the best provider there is; `threads` is per operator, 0 = one per core.

    Waiting threads sleep instead of spinning: a robot's other processes need the cores more than we need the last
    microseconds. Raises ``RejectedInput`` BUNDLE_BACKEND when this ONNX Runtime cannot open the graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers())
    except Exception as error:  # ONNX Runtime raises a different type per cause, none of them public
        raise RejectedInput(
            Code.BUNDLE_BACKEND,
            f"got {path.name}, which ONNX Runtime {onnxruntime.__version__} cannot open ({str(error)[:300]}); "
            "export the bundle again or install a newer onnxruntime",
        ) from error


def providers() -> list[str]:
    """Return the execution providers of this installation, best first."""
    there = onnxruntime.get_available_providers()
    return [name for name in _PREFERRED if name in there]


def device(session: onnxruntime.InferenceSession) -> str:
    """Return where the session's tensors live best: "cuda" or "cpu"."""
    return "cuda" if session.get_providers()[0] == "CUDAExecutionProvider" else "cpu"
