"""The fake has no name and no argument that NVIDIA's packages do not have; checked where they are installed."""

from __future__ import annotations

import enum
import importlib
import inspect
import re
from typing import Any

import pytest

from tests.backends.tensorrt.fake_tensorrt import FakeCuda, fake_tensorrt

OURS = {"live", "submit", "array"}  # of FakeCuda, not of CUDA


def real_arguments(function: Any) -> list[list[str]]:
    """Names of the arguments of every overload, from the signature lines that such functions begin their text with."""
    lines = re.findall(rf"^(?:\d+\. )?{function.__name__}\((.*?)\)(?: ->.*)?$", function.__doc__ or "", re.M)
    names = [[re.split(r"[:=]", part)[0].split()[-1] for part in _parts(line)] for line in lines]
    return [[name for name in overload if name != "self"] for overload in names]


def _parts(line: str) -> list[str]:
    """Split at the commas that are inside no bracket."""
    parts, depth = [""], 0
    for character in line:
        depth += (character in "[(<") - (character in "])>")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def arguments(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def public(kind: type) -> dict[str, Any]:
    found = {name: value for base in reversed(kind.__mro__[:-1]) for name, value in vars(base).items()}
    return {name: value for name, value in found.items() if inspect.isfunction(value) and not name.startswith("_")}


def test_every_name_and_argument_of_the_fake_is_tensorrts() -> None:
    real = pytest.importorskip("tensorrt_rtx_bindings")
    fake = fake_tensorrt("tensorrt_rtx", FakeCuda())
    engine, context = (
        importlib.import_module("tests.backends.tensorrt.fake_tensorrt").RtxEngine,
        importlib.import_module("tests.backends.tensorrt.fake_tensorrt").RtxContext,
    )
    kinds = {name: kind for name, kind in vars(fake).items() if inspect.isclass(kind)}
    kinds |= {"ICudaEngine": engine, "IExecutionContext": context}
    checked = 0
    for name, kind in kinds.items():
        if issubclass(kind, enum.Enum):
            assert set(kind.__members__) <= set(getattr(real, name).__members__), name
            continue
        for method, function in public(kind).items():
            if name == "IAttentionInputLayer" and method == "attention":
                continue
            overloads = real_arguments(getattr(getattr(real, name), method))
            assert arguments(function) in overloads, f"{name}.{method}: {arguments(function)}, real {overloads}"
            checked += 1
    assert checked > 25
    assert hasattr(real.IAttentionInputLayer, "attention") and hasattr(real.IAttention, "decomposable")
    assert hasattr(real.IRuntimeConfig, "dynamic_shapes_kernel_specialization_strategy")
    assert hasattr(real.INetworkDefinition, "num_inputs") and {"name", "shape"} <= set(dir(real.ITensor))
    for attribute in ("num_io_tensors", "num_optimization_profiles"):
        assert hasattr(real.ICudaEngine, attribute)


def test_every_name_and_argument_of_the_fake_is_cudas() -> None:
    real = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is on machines with a GPU only")
    for name, function in public(FakeCuda).items():
        if name not in OURS:
            assert [arguments(function)] == real_arguments(getattr(real, name)), name
    for kind in (FakeCuda.cudaError_t, FakeCuda.cudaMemcpyKind, FakeCuda.cudaStreamCaptureMode):
        ours = {name: int(member) for name, member in kind.__members__.items()}
        theirs = {name: int(member) for name, member in getattr(real, kind.__name__).__members__.items()}
        assert ours.items() <= theirs.items()
    assert real.cudaStreamNonBlocking == FakeCuda.cudaStreamNonBlocking
