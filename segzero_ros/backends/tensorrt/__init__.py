"""The backend for NVIDIA GPUs: the bundle's graphs as TensorRT or TensorRT-RTX engines, built on this machine.

Runs only engines that `segzero engines build` has made here from this bundle (docs/engines.md).
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from segzero_ros.backends import EngineOptions
from segzero_ros.backends.tensorrt.library import (
    CUDA,
    FLAVOURS,
    INSTALL,
    Gpu,
    Library,
    find_cuda,
    find_gpu,
    find_library,
    installed,
)
from segzero_ros.bundle import Bundle
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.reasoner import Reasoner
from segzero_ros.segmenter import Segmenter

log = logging.getLogger(__name__)


def why_unavailable(bundle: Bundle | None, options: EngineOptions) -> str:
    """Return in one line why this backend cannot run here, "" when it can; opens no engine.

    A bundle of which one part was built can be used for that part; opening the other is refused then.
    """
    if not any(installed(module) for module in FLAVOURS.values()):
        return f"no TensorRT; {INSTALL}"
    if not installed(CUDA):
        return f"no cuda-bindings; {INSTALL}"
    try:
        library, _, gpu = _machine()
    except RejectedInput as error:
        return error.detail
    return _missing(bundle, options, library, gpu) if bundle is not None else ""


def open_reasoner(bundle: Bundle, options: EngineOptions) -> Reasoner:
    """Open the bundle's reasoner; ``RejectedInput`` BUNDLE_BACKEND or BUNDLE_ALTERED says why not."""
    from segzero_ros.backends.decoding.generation import LocalReasoner, read_shape
    from segzero_ros.backends.tensorrt.reasoner import TensorrtReasonerEngine

    tokenizer = bundle.reasoner.files["tokenizer"].read_text("utf-8")
    shape = read_shape(bundle.reasoner.files["config"])
    engine = _open(TensorrtReasonerEngine, bundle, options, shape)
    return LocalReasoner(engine, tokenizer, bundle.profile, options, bundle.spelling)


def open_segmenter(bundle: Bundle, options: EngineOptions) -> Segmenter:
    """Open the bundle's segmenter; ``RejectedInput`` BUNDLE_BACKEND or BUNDLE_ALTERED says why not.

    With its memory where all engines of that are there; a log line says what is missing where they are not.
    """
    from segzero_ros.backends.sam2 import Sam2Segmenter
    from segzero_ros.backends.tensorrt.tracker import open_with_memory

    size = bundle.segmenter.image_size
    engine, memory = _open(open_with_memory, bundle, options, size, _has_memory(bundle, options))
    return Sam2Segmenter(engine, size, memory)


def _has_memory(bundle: Bundle, options: EngineOptions) -> bool:
    """Whether the bundle has a memory and all of its engines were built for this machine."""
    from segzero_ros.backends.tensorrt.profiles import MEMORY_ROLES
    from segzero_ros.backends.tensorrt.store import engine_folder, missing_engines, roles_of

    if not set(MEMORY_ROLES) <= set(roles_of(bundle)):
        return False
    library, _, gpu = _machine()
    absent = missing_engines(bundle, MEMORY_ROLES, engine_folder(options.engine_dir, bundle), library, gpu)
    if absent:
        why = "; ".join(absent)
        log.warning("following by prompts, not by memory: no engine for %s; segzero engines build %s", why, bundle.path)
    return not absent


def _open(kind: Any, bundle: Bundle, options: EngineOptions, *rest: Any) -> Any:
    """Make an engine of ``kind`` from checked plans; CUDA's refusals become ``RejectedInput``."""
    from segzero_ros.backends.tensorrt.device import CudaFailed, Device
    from segzero_ros.backends.tensorrt.store import engine_folder, open_engine

    library, cuda, gpu = _machine()
    folder = engine_folder(options.engine_dir, bundle)
    plans = partial(open_engine, bundle, folder=folder, library=library, gpu=gpu)
    try:
        return kind(library, Device(cuda), plans, *rest)
    except CudaFailed as error:
        raise RejectedInput(
            Code.BUNDLE_BACKEND, f"got a GPU that cannot hold or run {bundle.name} ({error}); free its memory"
        ) from error


def _missing(bundle: Bundle, options: EngineOptions, library: Library, gpu: Gpu) -> str:
    """Return which engines are not there, unless one part has all of its own."""
    from segzero_ros.backends.tensorrt.profiles import MEMORY_ROLES
    from segzero_ros.backends.tensorrt.store import engine_folder, missing_engines, roles_of

    folder, missing = engine_folder(options.engine_dir, bundle), list[str]()
    for part in ("reasoner", "segmenter"):
        roles = tuple(role for role in roles_of(bundle, part) if role not in MEMORY_ROLES)
        absent = missing_engines(bundle, roles, folder, library, gpu)
        if not absent:
            return ""
        missing += absent
    return f"no engine for {'; '.join(missing)}; segzero engines build {bundle.path}"


def _machine() -> tuple[Library, Any, Gpu]:
    cuda = find_cuda()
    gpu = find_gpu(cuda)
    return find_library(), cuda, gpu
