"""TensorRT and CUDA as this project calls them, without a GPU: an "engine" is a JSON that names its ONNX graph.

The signatures are the real ones (test_tensorrt_fake.py compares them where the real packages are). Stricter than the
real thing where a mistake would go unnoticed: work on a stream happens only when somebody waits for it, fresh memory is
full of rubbish, every address is looked up, and a recorded graph is void once its context's shapes have changed.
"""

# ruff: noqa: N801, N802, N803, N815 - the names are NVIDIA's

from __future__ import annotations

import ctypes
import enum
import functools
import json
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime

# ---- CUDA ----


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorStreamCaptureUnsupported = 900


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


OK = cudaError_t.cudaSuccess
RUBBISH = 0x7F  # as FP32 3.4e38, as FP16 NaN: nobody can overlook it


class FakeCuda:
    """The part of `cuda.bindings.runtime` that is used; `live` holds what was not given back."""

    cudaError_t, cudaMemcpyKind, cudaStreamCaptureMode = cudaError_t, cudaMemcpyKind, cudaStreamCaptureMode
    cudaStreamNonBlocking = 1

    def __init__(self, *, gpus: int = 1, memory: int = 1 << 33) -> None:
        self.gpus, self.memory = gpus, memory
        self.live: dict[int, tuple[str, Any]] = {}
        self.pending: list[Callable[[], None]] = []
        self.recording: list[Callable[[], None]] | None = None
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.launches = self.runs = 0
        self.no_capture = False

    def cudaGetDeviceCount(self) -> tuple[Any, int | None]:
        return (OK, self.gpus) if self.gpus else (cudaError_t.cudaErrorInsufficientDriver, None)

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, Any]:
        return OK, types.SimpleNamespace(name=b"Fake GPU\0\0", major=8, minor=9)

    def cudaDriverGetVersion(self) -> tuple[Any, int]:
        return OK, 13000

    def cudaGetErrorString(self, error: Any) -> tuple[Any, bytes]:
        return OK, b"what went wrong"

    def cudaSetDevice(self, device: int) -> tuple[Any]:
        return (OK,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, int]:
        return OK, 77

    def cudaStreamDestroy(self, stream: Any) -> tuple[Any]:
        return (OK,)

    def cudaMemGetInfo(self) -> tuple[Any, int, int]:
        used = sum(ctypes.sizeof(memory) for kind, memory in self.live.values() if kind == "device")
        return OK, self.memory - used, self.memory

    def cudaMalloc(self, size: int) -> tuple[Any, int | None]:
        return self._allocate(size, "device")

    def cudaMallocHost(self, size: int) -> tuple[Any, int | None]:
        return self._allocate(size, "host")

    def cudaFree(self, devPtr: Any) -> tuple[Any]:
        self._finish()
        self.live.pop(devPtr)
        return (OK,)

    def cudaFreeHost(self, ptr: Any) -> tuple[Any]:
        self._finish()
        self.live.pop(ptr)
        return (OK,)

    def cudaMemsetAsync(self, devPtr: Any, value: int, count: int, stream: Any) -> tuple[Any]:
        self._check(devPtr, count, "device")
        self.submit(lambda: ctypes.memset(devPtr, value, count))
        return (OK,)

    def cudaMemcpyAsync(self, dst: Any, src: Any, count: int, kind: Any, stream: Any) -> tuple[Any]:
        self._check(dst, count, "host" if kind == cudaMemcpyKind.cudaMemcpyDeviceToHost else "device")
        self._check(src, count, "host" if kind == cudaMemcpyKind.cudaMemcpyHostToDevice else "device")
        self.submit(lambda: ctypes.memmove(dst, src, count))
        return (OK,)

    def cudaStreamSynchronize(self, stream: Any) -> tuple[Any]:
        assert self.recording is None, "waiting while recording"
        self._finish()
        return (OK,)

    def cudaStreamBeginCapture(self, stream: Any, mode: Any) -> tuple[Any]:
        if self.no_capture:
            return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
        self.recording = []
        return (OK,)

    def cudaStreamEndCapture(self, stream: Any) -> tuple[Any, int]:
        assert self.recording is not None
        number = len(self.graphs) + 1
        self.graphs[number], self.recording = self.recording, None
        return OK, number

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[Any, int]:
        return OK, graph

    def cudaGraphDestroy(self, graph: Any) -> tuple[Any]:
        return (OK,)

    def cudaGraphExecDestroy(self, graphExec: Any) -> tuple[Any]:
        self.graphs.pop(graphExec)
        return (OK,)

    def cudaGraphLaunch(self, graphExec: Any, stream: Any) -> tuple[Any]:
        self.launches += 1
        self.pending += self.graphs[graphExec]
        return (OK,)

    def submit(self, work: Callable[[], None]) -> None:
        """Put work on the stream, or into the graph that is being recorded."""
        (self.pending if self.recording is None else self.recording).append(work)

    def array(self, address: int, shape: tuple[int, ...], dtype: Any, side: str = "device") -> np.ndarray:
        """The memory at an address."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self._check(address, size, side)
        raw = (ctypes.c_uint8 * size).from_address(address)
        return np.ctypeslib.as_array(raw).view(dtype).reshape(shape)

    def _allocate(self, size: int, side: str) -> tuple[Any, int | None]:
        if side == "device" and size > self.cudaMemGetInfo()[1]:
            return cudaError_t.cudaErrorMemoryAllocation, None
        memory = (ctypes.c_uint8 * size)()
        ctypes.memset(memory, RUBBISH, size)
        self.live[ctypes.addressof(memory)] = side, memory
        return OK, ctypes.addressof(memory)

    def _finish(self) -> None:
        pending, self.pending = self.pending, []
        for work in pending:
            work()

    def _check(self, address: int, size: int, side: str) -> None:
        inside = any(
            kind == side and start <= address and address + size <= start + ctypes.sizeof(memory)
            for start, (kind, memory) in self.live.items()
        )
        assert inside, f"{size} bytes at {address:#x} are no {side} memory of ours"


# ---- TensorRT ----

DataType = enum.Enum("DataType", "FLOAT HALF INT64 BOOL")
NUMPY = {DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.INT64: np.int64, DataType.BOOL: np.bool_}
ONNX = {
    "tensor(float)": DataType.FLOAT,
    "tensor(float16)": DataType.HALF,
    "tensor(int64)": DataType.INT64,
    "tensor(bool)": DataType.BOOL,
}
TensorIOMode = enum.Enum("TensorIOMode", "NONE INPUT OUTPUT")
TensorLocation = enum.Enum("TensorLocation", "DEVICE HOST")
LayerType = enum.Enum("LayerType", "ATTENTION_INPUT MATRIX_MULTIPLY")
BuilderFlag = enum.Enum("BuilderFlag", "TF32")
ExecutionContextAllocationStrategy = enum.Enum("ExecutionContextAllocationStrategy", "STATIC ON_PROFILE_CHANGE")
EngineValidity = enum.Enum("EngineValidity", "VALID SUBOPTIMAL INVALID")
DynamicShapesKernelSpecializationStrategy = enum.Enum("DynamicShapesKernelSpecializationStrategy", "LAZY EAGER NONE")
ComputeCapability = enum.Enum("ComputeCapability", "NONE CURRENT SM86 SM89")


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class EngineInvalidityDiagnostics(enum.IntFlag):
    VERSION_MISMATCH = 1
    MALFORMED_ENGINE = 32


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2

    ERROR, WARNING = Severity.ERROR, Severity.WARNING

    def __init__(self) -> None: ...


class INetworkDefinition:
    num_layers = 2

    def __init__(self) -> None:
        self.graph = ""
        self.layers = [ILayer(LayerType.ATTENTION_INPUT), ILayer(LayerType.MATRIX_MULTIPLY)]

    def get_layer(self, index: int) -> Any:
        return self.layers[index]

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    def get_input(self, index: int) -> Any:
        name, shape = self._inputs[index].name, self._inputs[index].shape
        return types.SimpleNamespace(name=name, shape=[side if isinstance(side, int) else -1 for side in shape])

    @functools.cached_property
    def _inputs(self) -> Any:
        return onnxruntime.InferenceSession(self.graph).get_inputs()


class ILayer:
    def __init__(self, kind: Any) -> None:
        self.type = kind
        self._attention = types.SimpleNamespace(decomposable=False)


class IAttentionInputLayer(ILayer):
    @property
    def attention(self) -> Any:
        return self._attention


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self.shapes[input] = (min, opt, max)


class IBuilderConfig:
    def __init__(self) -> None:
        self.profiles: list[Any] = []
        self.cleared: list[Any] = []

    def clear_flag(self, flag: Any) -> None:
        self.cleared.append(flag)

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1


class Builder:
    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        assert flags == 1 << 1, "strongly typed networks only"
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> bytes:
        assert network.layers[0].attention.decomposable and BuilderFlag.TF32 in config.cleared
        return json.dumps({"fake engine of": network.graph, "profiles": config.profiles}).encode()


class OnnxParser:
    num_errors = 0

    def __init__(self, network: Any, logger: Any) -> None:
        self._network = network

    def parse_from_file(self, model: str) -> bool:
        self._network.graph = model
        return True

    def get_error(self, index: int) -> Any: ...


class Runtime:
    """`cuda` is the fake's memory, set by `fake_library`."""

    cuda: FakeCuda
    deserialised = 0

    def __init__(self, logger: Any) -> None: ...

    def deserialize_cuda_engine(self, serialized_engine: Any) -> Any:
        type(self).deserialised += 1
        try:
            return ICudaEngine(json.loads(bytes(serialized_engine)), self.cuda)
        except ValueError:
            return None


class RtxRuntime(Runtime):
    verdict = (EngineValidity.VALID, 0)

    def get_engine_validity(self, buffer: Any) -> tuple[Any, int]:
        return self.verdict


class ICudaEngine:
    def __init__(self, content: dict[str, Any], cuda: FakeCuda) -> None:
        self.cuda, self._profiles = cuda, content["profiles"]
        threads = onnxruntime.SessionOptions()
        threads.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(content["fake engine of"], threads)
        self._inputs = {value.name: value for value in self.session.get_inputs()}
        self._outputs = {value.name: value for value in self.session.get_outputs()}
        self._names = [*self._inputs, *self._outputs]
        self.num_io_tensors, self.num_optimization_profiles = len(self._names), max(1, len(self._profiles))

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return ONNX[(self._inputs.get(name) or self._outputs[name]).type]

    def get_tensor_location(self, name: str) -> Any:
        return TensorLocation.DEVICE

    def get_tensor_shape(self, name: str) -> list[int]:
        shape = (self._inputs.get(name) or self._outputs[name]).shape
        return [side if isinstance(side, int) else -1 for side in shape]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Any]:
        if -1 in self.get_tensor_shape(name):
            return self._profiles[profile_index][name]
        return [self._inputs[name].shape] * 3

    def create_execution_context(self, strategy: Any) -> Any:
        return IExecutionContext(self)


class RtxEngine(ICudaEngine):
    def get_aliased_input_tensor(self, name: str) -> Any:
        return name.replace("present_", "past_") if name.startswith("present_") else None

    def create_runtime_config(self) -> Any:
        return IRuntimeConfig()

    def create_execution_context(self, runtime_config: Any = None) -> Any:
        assert isinstance(runtime_config, IRuntimeConfig)
        return RtxContext(self)


class IRuntimeConfig:
    dynamic_shapes_kernel_specialization_strategy: Any = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None: ...


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine, self._profile = engine, 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._known: dict[Any, dict[str, tuple[int, ...]]] = {}
        self._changes = 0

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._profile = profile_index
        return profile_index < self._engine.num_optimization_profiles

    def set_input_shape(self, name: str, shape: Any) -> bool:
        least, _, most = self._engine.get_tensor_profile_shape(name, self._profile)
        if not all(lo <= side <= hi for lo, side, hi in zip(least, shape, most, strict=True)):
            return False
        self._changes += self._shapes.get(name) != tuple(shape)
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> Any:
        return self._shapes[name] if name in self._shapes else self._output_shapes()[name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        changes, shapes = self._changes, dict(self._shapes)
        recorded = self._engine.cuda.recording is not None

        def work() -> None:
            assert not recorded or self._changes == changes, "a graph was launched after its context's shapes changed"
            self._run(shapes)

        self._engine.cuda.runs += 1
        self._engine.cuda.submit(work)
        return True

    def _run(self, shapes: dict[str, tuple[int, ...]]) -> None:
        inputs = {name: self._array(name, shape).copy() for name, shape in shapes.items()}
        names = list(self._engine._outputs)
        for name, value in zip(names, self._engine.session.run(names, inputs), strict=True):
            self._array(name, value.shape)[...] = value

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        return self._engine.cuda.array(self._addresses[name], shape, NUMPY[self._engine.get_tensor_dtype(name)])

    def _output_shapes(self) -> dict[str, tuple[int, ...]]:
        key = tuple(sorted(self._shapes.items()))
        if key not in self._known:
            zeros = {
                name: np.zeros(shape, NUMPY[self._engine.get_tensor_dtype(name)])
                for name, shape in self._shapes.items()
            }
            names = list(self._engine._outputs)
            values = self._engine.session.run(names, zeros)
            self._known[key] = {name: value.shape for name, value in zip(names, values, strict=True)}
        return self._known[key]


class RtxContext(IExecutionContext):
    def is_stream_capturable(self, stream: int) -> bool:
        return not self._engine.cuda.no_capture


def nptype(trt_type: Any) -> Any:
    return NUMPY[trt_type]


SHARED = (
    *(DataType, TensorIOMode, TensorLocation, LayerType, BuilderFlag, ExecutionContextAllocationStrategy),
    *(NetworkDefinitionCreationFlag, ILogger, INetworkDefinition, IAttentionInputLayer, IOptimizationProfile),
    *(IBuilderConfig, Builder, OnnxParser, nptype),
)
RTX_ONLY = (EngineValidity, EngineInvalidityDiagnostics, DynamicShapesKernelSpecializationStrategy)


def fake_tensorrt(flavour: str, cuda: FakeCuda, version: str = "10.16.1") -> Any:
    """A module like `tensorrt` or `tensorrt_rtx_bindings` whose engines live in the memory of `cuda`."""
    rtx = flavour == "tensorrt_rtx"
    engine = RtxEngine if rtx else ICudaEngine

    class FlavouredRuntime(RtxRuntime if rtx else Runtime):  # type: ignore[misc]
        def deserialize_cuda_engine(self, serialized_engine: Any) -> Any:
            type(self).deserialised += 1
            try:
                return engine(json.loads(bytes(serialized_engine)), cuda)
            except ValueError:
                return None

    content = {value.__name__: value for value in (*SHARED, *(RTX_ONLY if rtx else ()))}
    return types.SimpleNamespace(__version__=version, Runtime=FlavouredRuntime, **content)
