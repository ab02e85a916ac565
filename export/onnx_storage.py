"""How a finished ONNX graph stores its weights: FP16 with a Cast to FP32, and beside the graph when it gets large.

For graphs that come from `torch.onnx.export`; those of our own making are stored so from the start (`onnx_graph.py`).
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.onnx_graph import ALIGNMENT, INLINE_BYTES

SMALL_ELEMENTS = (
    512  # vectors and scalars below this stay FP32: nothing to gain, and norms and biases keep their precision
)


def store_half(model: onnx.ModelProto) -> int:
    """Turn the large FP32 initializers of `model` into FP16 followed by a Cast, in place; returns the bytes saved.

    Vectors stay FP32, whatever their length. ValueError when FP16 cannot hold a value (beyond 65504).
    """
    saved, casts = 0, []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or len(weight.dims) < 2 or np.prod(weight.dims) < SMALL_ELEMENTS:
            continue
        name, stored = weight.name, f"{weight.name}/half"
        half = numpy_helper.from_array(_halved(numpy_helper.to_array(weight), name), stored)
        saved += len(half.raw_data)
        weight.CopyFrom(half)
        casts.append(helper.make_node("Cast", [stored], [name], name=f"{name}/cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return saved


def _halved(array: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError(
            f"got {name} with a magnitude of {np.abs(array).max():.3g}, want at most 65504; use store='float'"
        )
    return half


def save_graph(model: onnx.ModelProto, path: Path) -> list[Path]:
    """Check `model` and write it; returns the files.

    Weights go to one file `<name>.data` beside it when protobuf could not hold them.
    """
    size = sum(len(weight.raw_data) for weight in model.graph.initializer)
    external = path.with_name(path.name + ".data")
    external.unlink(missing_ok=True)  # onnx appends to a file that is there
    if size <= INLINE_BYTES:
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return [path]
    onnx.save(model, path, save_as_external_data=True, location=external.name, size_threshold=ALIGNMENT)
    onnx.checker.check_model(str(path))
    return [path, external]
