"""A deserialised engine whose tensors are bound once: shapes change, addresses do not.

``Engine`` owns a buffer per tensor, as large as its largest profile wants, unless it is given one to share: the
encoder's features are the decoder's inputs, a present cache is its past cache. ``Execution`` is one execution context
on one profile.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from typing import Any

from segzero_ros.backends.tensorrt.device import Buffer, Device
from segzero_ros.backends.tensorrt.library import Library, new_logger
from segzero_ros.errors import Code, RejectedInput

Shape = tuple[int, ...]


class Engine:
    """One engine on one device; ``shared`` are buffers of others for tensors of these names."""

    def __init__(
        self, library: Library, device: Device, plan: memoryview, shared: Mapping[str, Buffer] | None = None
    ) -> None:
        """Deserialise a checked ``plan``; ``RejectedInput`` BUNDLE_BACKEND when TensorRT does not take it."""
        self.library, self.device = library, device
        api, self._logger = library.api, new_logger(library)
        self._runtime = api.Runtime(self._logger)
        reasons = _invalidity(api, self._runtime, plan)
        engine: Any = None if reasons else self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise _refused("; ".join([*reasons, *self._logger.messages])[:500])
        self._engine = engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self.inputs = tuple(name for name in names if engine.get_tensor_mode(name) == api.TensorIOMode.INPUT)
        self.outputs = tuple(name for name in names if name not in self.inputs)
        self.buffers: dict[str, Buffer] = dict(shared or {})
        self._make_input_buffers()
        self.buffers = {**self._aliases(), **self.buffers}
        self._executions: weakref.WeakSet[Execution] = weakref.WeakSet()

    def execution(self, profile: int = 0, *, captured: bool = False) -> Execution:
        """Return an execution context on ``profile``; ``captured``: its work will be recorded as a graph."""
        execution = Execution(self, self._engine, profile, captured=captured)
        self._executions.add(execution)
        return execution

    def grow(self, name: str, elements: int) -> Buffer:
        """Give an output a larger buffer, in every context there is: none may write to an address that was freed.

        Graphs recorded before it keep the old one, so the profile with the largest shapes comes first.
        """
        buffer = self.buffers[name] = Buffer(self.device, elements, self.dtype(name))
        for execution in self._executions:
            execution.bind(name, buffer)
        return buffer

    def largest(self, name: str, profile: int) -> Shape:
        """The largest shape of an input under a profile, or the only one it has."""
        shape = tuple(self._engine.get_tensor_shape(name))
        return tuple(self._engine.get_tensor_profile_shape(name, profile)[2]) if -1 in shape else shape

    def dtype(self, name: str) -> Any:
        """NumPy's type of a tensor."""
        return self.library.api.nptype(self._engine.get_tensor_dtype(name))

    def on_host(self, name: str) -> bool:
        """Whether TensorRT reads the tensor from the host's memory."""
        return bool(self._engine.get_tensor_location(name) == self.library.api.TensorLocation.HOST)

    def _make_input_buffers(self) -> None:
        profiles = range(max(1, self._engine.num_optimization_profiles))
        for name in self.inputs:
            if name not in self.buffers:
                elements = max(math.prod(self.largest(name, profile)) for profile in profiles)
                self.buffers[name] = Buffer(self.device, elements, self.dtype(name))

    def _aliases(self) -> dict[str, Buffer]:
        """Outputs that are their inputs' memory: the caches. Older versions do not say so, the names do."""
        ask = getattr(self._engine, "get_aliased_input_tensor", None)
        found = {}
        for name in self.outputs:
            source = (ask(name) if ask else None) or name.replace("present_", "past_")
            if source != name and source in self.buffers:
                found[name] = self.buffers[source]
        return found


class Execution:
    """One execution context: give the shapes, then ``run``."""

    def __init__(self, owner: Engine, engine: Any, profile: int, *, captured: bool) -> None:
        self._owner, self._profile = owner, profile
        self._context = _new_context(owner.library, engine, captured=captured)
        self._bound: list[Buffer] = []  # after the context, so that it goes before them
        if self._context is None:
            raise _refused("no execution context, most likely for want of memory")
        if not self._context.set_optimization_profile_async(profile, owner.device.handle):
            raise _refused(f"no optimisation profile {profile}")
        self.set_shapes({name: owner.largest(name, profile) for name in owner.inputs})
        self._bind()

    def set_shapes(self, shapes: Mapping[str, Shape]) -> None:
        """Set the shapes of inputs with a dynamic axis; ``ValueError`` beyond the profile."""
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, tuple(shape)):
                most = self._owner.largest(name, self._profile)
                raise ValueError(f"got {name} of shape {tuple(shape)}, want at most {most}")

    def shape(self, name: str) -> Shape:
        """The shape a tensor has with the inputs' present shapes."""
        return tuple(self._context.get_tensor_shape(name))

    def run(self) -> None:
        """Put the inference on the device's stream."""
        if not self._context.execute_async_v3(self._owner.device.handle):
            raise RuntimeError("TensorRT could not start the inference; its log says why")

    def capturable(self) -> bool:
        """Whether the inference can be recorded as a graph; TensorRT-RTX is asked, TensorRT can."""
        ask = getattr(self._context, "is_stream_capturable", None)
        return bool(ask(self._owner.device.handle)) if ask else True

    def _bind(self) -> None:
        """Give every tensor its address; outputs get buffers for the profile's largest shapes, unless they have one."""
        owner = self._owner
        for name in (*owner.inputs, *owner.outputs):
            elements = math.prod(self.shape(name))
            buffer = owner.buffers.get(name)
            if buffer is None or buffer.elements < elements:
                if name in owner.inputs:
                    raise _refused(f"got a shared {name} that is smaller than {elements} elements")
                buffer = owner.grow(name, elements)
            if buffer.dtype != owner.dtype(name):
                raise _refused(f"{name}: got a shared buffer of {buffer.dtype}, want {owner.dtype(name)}")
            self.bind(name, buffer)

    def bind(self, name: str, buffer: Buffer) -> None:
        """Give a tensor its address; the buffer, and any it had before, live as long as this context does."""
        self._bound.append(buffer)
        address = buffer.host_pointer if self._owner.on_host(name) else buffer.pointer
        if not self._context.set_tensor_address(name, address):
            raise _refused(f"{name}: TensorRT refuses its address")


def _new_context(library: Library, engine: Any, *, captured: bool) -> Any:
    """Make a context that takes memory for its own profile only; TensorRT-RTX is also told when to compile kernels.

    A recorded graph would keep the kernels it was recorded with, so they are compiled at once for it, otherwise aside.
    """
    api = library.api
    strategy = api.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
    if not hasattr(engine, "create_runtime_config") or not hasattr(api, "DynamicShapesKernelSpecializationStrategy"):
        return engine.create_execution_context(strategy)
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(strategy)
    when = api.DynamicShapesKernelSpecializationStrategy
    config.dynamic_shapes_kernel_specialization_strategy = when.EAGER if captured else when.LAZY
    return engine.create_execution_context(config)


def _invalidity(api: Any, runtime: Any, plan: memoryview) -> list[str]:
    """Return why the engine's header does not fit here; TensorRT-RTX says so more exactly than by refusing it."""
    if not hasattr(runtime, "get_engine_validity"):
        return []
    validity, diagnostics = runtime.get_engine_validity(plan)
    if validity != api.EngineValidity.INVALID:
        return []
    known = getattr(api.EngineInvalidityDiagnostics, "__members__", {})
    return [name for name, bit in known.items() if int(bit) & int(diagnostics)] or ["INVALID"]


def _refused(why: str) -> RejectedInput:
    return RejectedInput(
        Code.BUNDLE_BACKEND,
        f"TensorRT does not take the engine: {why}; build it again with `segzero engines build BUNDLE`",
    )
