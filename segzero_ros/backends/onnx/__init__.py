"""The portable backend: ONNX Runtime on whatever it finds, CPU, CUDA or TensorRT."""

from __future__ import annotations

import importlib.util

from segzero_ros.backends import EngineOptions
from segzero_ros.bundle import Bundle
from segzero_ros.reasoner import Reasoner
from segzero_ros.segmenter import Segmenter

PACKAGES = ("onnxruntime", "tokenizers")


def why_unavailable(bundle: Bundle | None, _options: EngineOptions) -> str:
    """Return why this backend cannot run here, "" when it can."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} missing; pip install {' '.join(missing)}"
    if bundle is not None and "onnx" not in bundle.backends:
        return (
            f"the bundle {bundle.name!r} has {', '.join(bundle.backends) or 'no backends'}, want onnx; export it again"
        )
    return ""


def open_reasoner(bundle: Bundle, options: EngineOptions) -> Reasoner:
    """Open the bundle's reasoner; ``RejectedInput`` says why not."""
    from segzero_ros.backends.onnx.reasoner import OnnxReasoner

    return OnnxReasoner(bundle.reasoner.files, bundle.profile, options, bundle.spelling)


def open_segmenter(bundle: Bundle, options: EngineOptions) -> Segmenter:
    """Open the bundle's segmenter; ``RejectedInput`` says why not.

    On a GPU it does not encode ahead: that would take turns with the reasoner there, and another thread's work breaks
    the recording of CUDA graphs.
    """
    from segzero_ros.backends.onnx.segmenter import OnnxSegmenter
    from segzero_ros.backends.onnx.session import providers
    from segzero_ros.backends.prefetch import PrefetchingSegmenter

    segmenter = OnnxSegmenter(bundle.segmenter.files, bundle.segmenter.image_size, options)
    on_cpu = providers(options.provider) == ["CPUExecutionProvider"]
    return PrefetchingSegmenter(segmenter) if options.encode_ahead and on_cpu else segmenter
