"""Bundle -> smaller bundle: 8- or 4-bit weights in the language part, written only if they pass the parity check.

    python -m export.quantise bundles/tabletop --bits 8 --out ~/.cache/segzero_ros/bundles/tabletop-int8

Weight-only: every large product of the decoder graph becomes ONNX Runtime's MatMulNBits, blocks of weights with a scale
each; activations, KV cache, vision tower, embeddings and segmenter stay as they are. TensorRT does not know the
operator: the result opens with the onnx backend alone. ``parity_check`` decides on it; its figures stand in the new
manifest. Whether it is also faster is for ``segzero bench`` to say.
On another data set: ``python -m training.quantise``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, DefaultWeightOnlyQuantizer

from export.checks import Check, check_table, to_json
from export.parity_check import COUNT, ExampleLike, check_parity, tabletop_examples
from segzero_ros.bundle import MANIFEST, Bundle, hash_file, open_bundle, resolve_bundle, user_path, write_manifest
from segzero_ros.cli.offline import run_renamed
from segzero_ros.cli.parser import Parser, at_least, explain, refuse
from segzero_ros.errors import RejectedInput

BITS = (4, 8)
BLOCK = 32  # weights that share a scale; 16 is the least ONNX Runtime takes
BLOCKS = (16, 32, 64, 128)
LEVELS = (0, 4)
LEAST_WEIGHTS = 4096  # of a product worth the trouble
INT8_ACCUMULATION = 4  # MatMulNBits' accuracy_level: activations are rounded to int8 on the fly, which is what is fast
DOMAIN = "com.microsoft"


class NotGoodEnough(Exception):
    """The smaller bundle does not answer as its parent does; the message is the table."""


def quantise_bundle(
    parent: Bundle,
    out: Path,
    *,
    bits: int,
    examples: Iterable[ExampleLike],
    block: int = BLOCK,
    accuracy_level: int = INT8_ACCUMULATION,
    threads: int = 0,
) -> tuple[Bundle, list[Check]]:
    """Write ``out``: ``parent`` with ``bits``-bit weights in its decoder; return it with the parity check's.

    Raises FileExistsError, ValueError for a graph with nothing to quantise or weights in a file beside it, and
    NotGoodEnough when the parity check does not pass: then nothing is written.
    """
    out = user_path(str(out)).resolve()
    if out.exists():
        raise FileExistsError(f"{out} exists; remove it or name another")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        partial = Path(folder) / out.name
        smaller = copy_quantised(parent, partial, bits=bits, block=block, accuracy_level=accuracy_level)
        found = check_parity(smaller, parent, examples, threads=threads)
        if not all(check.passed for check in found):
            raise NotGoodEnough(check_table(found))
        _write(partial, out.name, parent, dict(smaller.provenance["quantised"]), found)
        partial.rename(out)
    return open_bundle(out), found


def copy_quantised(
    parent: Bundle, out: Path, *, bits: int, block: int = BLOCK, accuracy_level: int = INT8_ACCUMULATION
) -> Bundle:
    """Write ``out`` without a parity check: for that check itself, and for measuring."""
    shutil.copytree(parent.path, out)
    decoder = out / parent.reasoner.files["decoder"].relative_to(parent.path)
    decoder.write_bytes(quantised(decoder, bits=bits, block=block, accuracy_level=accuracy_level))
    made = {"bits": bits, "block": block, "accuracy_level": accuracy_level, "parent": parent.name}
    return _write(out, out.name, parent, {**made, "parent_sha256": hash_file(parent.path / MANIFEST)}, [])


def quantised(graph: Path, *, bits: int, block: int = BLOCK, accuracy_level: int = INT8_ACCUMULATION) -> bytes:
    """Return the graph with its large products quantised; ValueError when there are none, or not all in this file."""
    asked = (("bits", bits, BITS), ("block", block, BLOCKS), ("accuracy level", accuracy_level, LEVELS))
    for what, got, known in asked:
        if got not in known:
            raise ValueError(f"got the {what} {got}, want one of {', '.join(map(str, known))}")
    model = onnx.load(graph, load_external_data=False)
    if any(weight.data_location == TensorProto.EXTERNAL for weight in model.graph.initializer):
        raise ValueError(f"{graph}: got weights in a file beside the graph, want them in it; give a smaller bundle")
    weights = {weight.name: weight for weight in model.graph.initializer}
    casts = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Cast"}
    nodes, changed = [], 0
    for node in model.graph.node:
        source = casts.get(node.input[1], node.input[1]) if node.op_type == "Gemm" else ""
        if not _is_worth_it(node, weights.get(source)):
            nodes.append(node)
            continue
        matrix = numpy_helper.to_array(weights[source]).astype(np.float32)
        small, tensors = _product(node, source, matrix, bits, block, accuracy_level)
        nodes.append(small)
        model.graph.initializer.extend(tensors)
        changed += 1
    if not changed:
        raise ValueError(f"{graph}: got no product of {LEAST_WEIGHTS} weights or more; nothing to quantise")
    del model.graph.node[:]
    model.graph.node.extend(_used(nodes, model.graph))
    _drop_unused(model.graph)
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return bytes(model.SerializeToString())


def _is_worth_it(node: onnx.NodeProto, weight: onnx.TensorProto | None) -> bool:
    """Whether this is a large product with a constant matrix (out, in), transposed as our exporter writes it."""
    if weight is None or len(weight.dims) != 2 or np.prod(weight.dims) < LEAST_WEIGHTS:
        return False
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return attributes == {"transB": 1}


def _product(
    node: onnx.NodeProto, name: str, matrix: NDArray[np.float32], bits: int, block: int, accuracy_level: int
) -> tuple[onnx.NodeProto, list[onnx.TensorProto]]:
    """Return the MatMulNBits node of a Gemm with ``matrix`` (out, in), and its packed weights and scales."""
    config = DefaultWeightOnlyQuantConfig(block_size=block, is_symmetric=True, bits=bits)
    packed, scales, _ = DefaultWeightOnlyQuantizer(config).qbits_block_quant(np.ascontiguousarray(matrix.T))
    tensors = [
        numpy_helper.from_array(packed, f"{name}/q{bits}"),
        numpy_helper.from_array(scales, f"{name}/scales"),
    ]
    bias = ["", "", node.input[2]] if len(node.input) > 2 else []  # no zero points, no group index
    options: dict[str, Any] = {"K": matrix.shape[1], "N": matrix.shape[0], "bits": bits, "block_size": block}
    if accuracy_level:
        options["accuracy_level"] = accuracy_level
    inputs = [node.input[0], *(tensor.name for tensor in tensors), *bias]
    small = helper.make_node("MatMulNBits", inputs, list(node.output), name=node.name, domain=DOMAIN, **options)
    return small, tensors


def _used(nodes: Sequence[onnx.NodeProto], graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Leave out the casts that nobody reads any more."""
    read = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    return [node for node in nodes if node.op_type != "Cast" or node.output[0] in read]


def _drop_unused(graph: onnx.GraphProto) -> None:
    read = {name for node in graph.node for name in node.input}
    kept = [weight for weight in graph.initializer if weight.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _write(partial: Path, name: str, parent: Bundle, made: dict[str, Any], parity: Sequence[Check]) -> Bundle:
    """Write the manifest: the parent's but for backends, provenance and evaluation, which were the parent's own."""
    folder = parent.path
    reasoner, segmenter = parent.reasoner, parent.segmenter
    return write_manifest(
        partial,
        name=name,
        profile=parent.profile,
        backends=("onnx",),
        reasoner={
            "architecture": reasoner.architecture,
            "files": {role: file.relative_to(folder).as_posix() for role, file in reasoner.files.items()},
            "max_length": reasoner.max_length,
        },
        segmenter={
            "architecture": segmenter.architecture,
            "image_size": list(segmenter.image_size),
            "files": {role: file.relative_to(folder).as_posix() for role, file in segmenter.files.items()},
        },
        versions=parent.versions,
        provenance={**parent.provenance, "quantised": made},
        evaluation={"parity": to_json(parity)},
        more={"self_test": parent.self_test, "spelling": parent.spelling},
    )


def build_parser(prog: str) -> Parser:
    """Return the options of this command and of ``training.quantise``, which checks on any data set."""
    parser = Parser(prog, __doc__ or "")
    parser.add_argument("bundle", help="the parent's directory or name")
    parser.add_argument("--out", type=Path, required=True, help="the new bundle's directory; its name is its name")
    parser.add_argument("--bits", type=int, choices=BITS, default=8)
    parser.add_argument("--block", type=int, choices=BLOCKS, default=BLOCK, help="weights per scale: 16, 32, 64 or 128")
    what = "0: float sums; 4: int8, faster"
    parser.add_argument("--accuracy-level", type=int, choices=LEVELS, default=INT8_ACCUMULATION, help=what)
    parser.add_argument("--split", default="val", help="of the questions (default val: the test set stays unseen)")
    parser.add_argument("--seed", type=at_least(0), default=3)
    parser.add_argument("--count", type=at_least(1), default=COUNT, help=f"questions (default {COUNT})")
    return parser


def run(parser: Parser, options: argparse.Namespace, examples: Iterable[ExampleLike]) -> int:
    """Quantise as the options say; 1 when the result does not pass on ``examples``, 2 for misuse."""
    try:
        bundle, found = quantise_bundle(
            open_bundle(resolve_bundle(options.bundle)),
            options.out,
            bits=options.bits,
            block=options.block,
            accuracy_level=options.accuracy_level,
            examples=examples,
        )
    except NotGoodEnough as table:
        print(table)
        parser.exit(1, f"{parser.prog}: the smaller bundle does not pass the parity check; nothing written\n")
    except OSError as error:
        return refuse(parser.prog, explain(error, f"the bundle {options.out}"))
    except (RejectedInput, ValueError) as error:
        return refuse(parser.prog, str(error))
    print(check_table(found))
    print(f"written: {bundle.path}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Quantise a bundle of the demo world from the command line."""
    if arguments is None and any(word.partition("=")[0] == "--data" for word in sys.argv):
        run_renamed("export.quantise --data", "training.quantise")  # ends the process
    parser = build_parser("python -m export.quantise")
    options = parser.parse_args(arguments)
    return run(parser, options, tabletop_examples(options.count, options.seed, options.split))


if __name__ == "__main__":
    sys.exit(main())
