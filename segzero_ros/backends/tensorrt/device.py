"""The GPU's memory, one stream and captured graphs, through ``cuda.bindings.runtime``.

Every call's status is checked; a failure is ``CudaFailed`` with the name that CUDA gives it. Memory goes when the
last reference to its ``Buffer`` does.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class CudaFailed(RuntimeError):
    """A CUDA call failed: ``name`` as CUDA has it, such as cudaErrorMemoryAllocation."""

    def __init__(self, call: str, name: str, meaning: str) -> None:
        super().__init__(f"{call}: {name} ({meaning})")
        self.name = name


class Device:
    """One GPU as one thread uses it: a stream, and memory by the buffer."""

    def __init__(self, cuda: Any, index: int = 0) -> None:
        self.cuda = cuda
        self.call("cudaSetDevice", index)
        self.stream = self.call("cudaStreamCreateWithFlags", cuda.cudaStreamNonBlocking)
        weakref.finalize(self, cuda.cudaStreamDestroy, self.stream)

    @property
    def handle(self) -> int:
        """The stream as TensorRT takes it."""
        return int(self.stream)

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the CUDA runtime; return its value, if it has one, or raise ``CudaFailed``."""
        error, *values = getattr(self.cuda, name)(*arguments)
        if error != self.cuda.cudaError_t.cudaSuccess:
            _, meaning = self.cuda.cudaGetErrorString(error)
            text = meaning.decode() if isinstance(meaning, bytes) else str(meaning)
            raise CudaFailed(name, getattr(error, "name", str(error)), text)
        return values[0] if values else None

    def synchronise(self) -> None:
        """Wait until everything on the stream is done."""
        self.call("cudaStreamSynchronize", self.stream)

    def capture(self, work: Callable[[], None]) -> CapturedGraph:
        """Record what ``work`` puts on the stream instead of doing it."""
        mode = self.cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", self.stream, mode)
        try:
            work()
        except BaseException:
            self.cuda.cudaStreamEndCapture(self.stream)  # the stream must not be left capturing
            raise
        return CapturedGraph(self, self.call("cudaStreamEndCapture", self.stream))


class CapturedGraph:
    """Recorded work that one call starts."""

    def __init__(self, device: Device, graph: Any) -> None:
        self._device = device
        try:
            self._executable = device.call("cudaGraphInstantiate", graph, 0)
        finally:
            device.cuda.cudaGraphDestroy(graph)
        weakref.finalize(self, device.cuda.cudaGraphExecDestroy, self._executable)

    def launch(self) -> None:
        """Put the recorded work on the stream."""
        self._device.call("cudaGraphLaunch", self._executable, self._device.stream)


class Buffer:
    """An array of the GPU with page-locked memory of the same size on the host, which copies pass through.

    ``host`` is the host's side as a flat NumPy array.
    """

    def __init__(self, device: Device, elements: int, dtype: DTypeLike) -> None:
        self._device, self.dtype = device, np.dtype(dtype)
        self.elements = max(1, elements)
        size = self.elements * self.dtype.itemsize
        self.pointer = int(device.call("cudaMalloc", size))
        weakref.finalize(self, device.cuda.cudaFree, self.pointer)
        device.call("cudaMemsetAsync", self.pointer, 0, size, device.stream)
        self._host: NDArray[Any] | None = None

    @property
    def host(self) -> NDArray[Any]:
        """The host's side, made when first asked for: a cache never is."""
        if self._host is None:
            size = self.elements * self.dtype.itemsize
            page = int(self._device.call("cudaMallocHost", size))
            weakref.finalize(self, self._device.cuda.cudaFreeHost, page)
            self._host = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(page)).view(self.dtype)
        return self._host

    @property
    def host_pointer(self) -> int:
        """Address of the host's side."""
        return int(self.host.ctypes.data)

    def put(self, values: NDArray[Any]) -> None:
        """Write ``values`` into the host's side and send them."""
        np.copyto(self.host[: values.size], values.reshape(-1), casting="same_kind")
        self.send(values.size)

    def send(self, elements: int) -> None:
        """Copy the host's first ``elements`` to the GPU, in the stream's order."""
        kind = self._device.cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(self.pointer, self.host_pointer, elements, kind)

    def fetch(self, elements: int) -> None:
        """Copy the GPU's first ``elements`` to the host, in the stream's order; ``host`` has them after waiting."""
        kind = self._device.cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(self.host_pointer, self.pointer, elements, kind)

    def copy_from(self, source: Buffer, at: int, elements: int) -> None:
        """Copy the first ``elements`` of ``source`` to place ``at`` of this one, all on the GPU."""
        if source.dtype != self.dtype or at + elements > self.elements or elements > source.elements:
            raise ValueError(f"got {elements} elements of {source.dtype} at {at}, want room and the type {self.dtype}")
        kind = self._device.cuda.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        self._copy(self.pointer + at * self.dtype.itemsize, source.pointer, elements, kind)

    def _copy(self, target: int, source: int, elements: int, kind: Any) -> None:
        size = elements * self.dtype.itemsize
        self._device.call("cudaMemcpyAsync", target, source, size, kind, self._device.stream)
