"""An ONNX graph under construction, written straight from torch tensors: no tracing, no second copy of the weights.

Weights are stored as FP16 with a Cast to FP32 (`store="half"`), which halves a bundle and leaves the arithmetic in
FP32, or as they are (`store="float"`). Large ones go to one external data file beside the graph, tensor by tensor.

`arithmetic="half"` makes products, attention and caches FP16, as GPUs want it: TensorRT's networks are strongly typed
and have the graph's precision, no other. What FP16 cannot hold stays FP32 even then: the residual stream and its norms
(large models have channels beyond 65504 there), angles, patches, and every input and output but the caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Store = Literal["half", "float"]
Arithmetic = Literal["half", "float"]

OPSET = 24  # the first with TensorScatter (static KV cache) and Attention's full set of masks
IR_VERSION = 11  # the lowest that the checker allows with this opset
INLINE_BYTES = 1 << 30  # a protobuf message may not exceed 2 GiB
ALIGNMENT = 4096  # external tensors start on a page, so that they can be mapped


def stored(weight: torch.Tensor, store: Store) -> torch.Tensor:
    """Return `weight` in the precision it is stored in: matrices as told, vectors (norms, biases) always in FP32.

    ValueError when FP16 cannot hold a value (beyond 65504).
    """
    return weight.detach().float() if store == "float" or weight.ndim < 2 else halved(weight)


def halved(weight: torch.Tensor) -> torch.Tensor:
    """Return `weight` in FP16; ValueError when that cannot hold a value (beyond 65504)."""
    half = weight.detach().half()
    if not bool(torch.isfinite(half).all()):
        raise ValueError(
            f"got a weight of magnitude {float(weight.abs().max()):.3g}, want at most 65504 for store='half'"
        )
    return half


class DataFile:
    """External data: tensors one after the other in one file, which graphs of the same directory may share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] = path.open("wb")

    def append(self, array: NDArray[Any]) -> tuple[int, int]:
        """Write `array` and return its (offset, length) in bytes."""
        self._file.write(b"\0" * (-self._file.tell() % ALIGNMENT))
        offset = self._file.tell()
        array.tofile(self._file)
        return offset, array.nbytes

    def flush(self) -> None:
        """Hand what was written to the system, so that a graph that refers to it can be checked."""
        self._file.flush()

    def __enter__(self) -> DataFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class Graph:
    """Nodes and weights of one graph; every method returns the name of the value it made."""

    def __init__(
        self, name: str, *, store: Store, data: DataFile | None = None, arithmetic: Arithmetic = "float"
    ) -> None:
        self.name, self.store, self.data, self.arithmetic = name, store, data, arithmetic
        self.dtype: type[np.generic] = np.float16 if arithmetic == "half" else np.float32
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._constants: dict[tuple[str, bytes, tuple[int, ...]], str] = {}
        self._count = 0

    def input(self, name: str, dtype: type[np.generic], shape: Sequence[int | str]) -> str:
        """Declare a graph input; a dimension that is a string is dynamic."""
        self.inputs.append(helper.make_tensor_value_info(name, _onnx_type(dtype), list(shape)))
        return name

    def output(self, name: str, shape: Sequence[int | str], dtype: type[np.generic] = np.float32) -> str:
        """Declare the value called `name`, made by `node(..., result=name)`, as a graph output."""
        self.outputs.append(helper.make_tensor_value_info(name, _onnx_type(dtype), list(shape)))
        return name

    def node(self, op: str, *inputs: str, name: str = "", result: str = "", **attributes: Any) -> str:
        """Append a node with one output and return its name (`result`, or one made up)."""
        return self.split(op, *inputs, name=name, results=[result], **attributes)[0]

    def split(self, op: str, *inputs: str, results: Sequence[str], name: str = "", **attributes: Any) -> list[str]:
        """Append a node with several outputs and return their names."""
        self._count += 1
        label = f"{name or op}_{self._count}"
        names = [result or f"{label}.{index}" for index, result in enumerate(results)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=label, **attributes))
        return names

    def constant(self, value: NDArray[Any] | Sequence[int]) -> str:
        """Name of a small constant, stored exactly; equal constants share one name. A plain sequence is int64."""
        array = np.ascontiguousarray(value, None if isinstance(value, np.ndarray) else np.int64)
        key = (array.dtype.str, array.tobytes(), array.shape)
        if key not in self._constants:
            self._constants[key] = f"const_{len(self._constants)}"
            self.weights.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def narrow(self, value: str) -> str:
        """`value`, which is FP32, in the precision of the arithmetic."""
        return self.node("Cast", value, to=TensorProto.FLOAT16) if self.arithmetic == "half" else value

    def widen(self, value: str) -> str:
        """`value`, which is in the precision of the arithmetic, in FP32."""
        return self.node("Cast", value, to=TensorProto.FLOAT) if self.arithmetic == "half" else value

    def add(self, stream: str, branch: str) -> str:
        """The residual stream, FP32, plus what a branch adds to it."""
        return self.node("Add", stream, self.widen(branch))

    def weight(self, name: str, tensor: torch.Tensor, *, exact: bool = False) -> str:
        """Name of a weight in the precision of the arithmetic, stored as `stored` says.

        `exact`: in FP32 whatever the store and the arithmetic.
        """
        if self.arithmetic == "half" and not exact:
            self.raw_weight(name, halved(tensor))
            return name
        kept = tensor.detach().float() if exact else stored(tensor, self.store)
        self.raw_weight(name, kept)
        return (
            name if kept.dtype == torch.float32 else self.node("Cast", name, name=f"{name}/cast", to=TensorProto.FLOAT)
        )

    def raw_weight(self, name: str, tensor: torch.Tensor) -> onnx.TensorProto:
        """Store a tensor in the precision it has."""
        array = tensor.contiguous().cpu().numpy()
        if self.data is None or array.nbytes < ALIGNMENT:
            proto = numpy_helper.from_array(array, name)
        else:
            offset, length = self.data.append(array)
            proto = TensorProto(name=name, data_type=_onnx_type(array.dtype.type), dims=array.shape)
            proto.data_location = TensorProto.EXTERNAL
            location = {"location": self.data.path.name, "offset": offset, "length": length}
            for key, value in location.items():
                proto.external_data.add(key=key, value=str(value))
        self.weights.append(proto)
        return proto

    def linear(
        self, value: str, name: str, weight: torch.Tensor, bias: torch.Tensor | None = None, *, result: str = ""
    ) -> str:
        """`value` (rows, in) times `weight` (out, in) transposed, plus `bias`: torch's Linear."""
        inputs = [value, self.weight(f"{name}.weight", weight)]
        if bias is not None:
            inputs.append(self.weight(f"{name}.bias", bias))
        return self.node("Gemm", *inputs, name=name, result=result, transB=1)

    def rms_norm(self, value: str, name: str, weight: torch.Tensor, epsilon: float) -> str:
        """Root-mean-square normalisation of FP32 over the last axis; the result is in the arithmetic's precision."""
        scale = self.weight(f"{name}.weight", weight, exact=True)
        return self.narrow(self.node("RMSNormalization", value, scale, name=name, axis=-1, epsilon=epsilon))

    def layer_norm(self, value: str, name: str, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> str:
        """Layer normalisation of FP32 over the last axis; the result is in the arithmetic's precision."""
        inputs = [self.weight(f"{name}.{kind}", of, exact=True) for kind, of in (("weight", weight), ("bias", bias))]
        return self.narrow(self.node("LayerNormalization", value, *inputs, name=name, axis=-1, epsilon=epsilon))

    def attention(self, query: str, key: str, value: str, mask: str | None = None, **heads: int) -> str:
        """Scaled dot-product attention, in the arithmetic's precision."""
        return self.node("Attention", query, key, value, *([mask] if mask else []), **heads)

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """Reshape; -1 is inferred, 0 is kept."""
        return self.node("Reshape", value, self.constant(list(shape)))

    def save(self, path: Path) -> None:
        """Check the graph against the ONNX specification and write it."""
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.weights)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="segzero_ros")
        path.write_bytes(model.SerializeToString())
        if self.data is not None:
            self.data.flush()
        onnx.checker.check_model(str(path))


def _onnx_type(dtype: type[np.generic]) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
