"""Smaller weights: the language part alone changes, and a bundle that answers otherwise is not written."""

import json
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from export.checks import Check
from export.parity_check import check_parity, checks
from export.quantise import NotGoodEnough, main, quantise_bundle, quantised
from segzero_ros.bundle import MANIFEST


@dataclass(frozen=True)
class ExampleLike:
    question: str
    rgb: np.ndarray
    mask: np.ndarray | None


@pytest.fixture(scope="session")
def examples():
    from training.data.open import open_examples

    found = open_examples("tabletop", split="val", seed=3, count=6)
    return [ExampleLike(found[n].question, found[n].rgb, found[n].mask) for n in range(len(found))]


@pytest.fixture(scope="module")
def made(bundle, examples, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "tabletop-int8"
    return quantise_bundle(bundle, out, bits=8, examples=examples, threads=1)


def test_the_smaller_bundle_passes_and_says_how_it_was_made(made, bundle):
    smaller, found = made
    assert all(check.passed for check in found)
    manifest = json.loads((smaller.path / MANIFEST).read_text())
    assert manifest["provenance"]["quantised"]["bits"] == 8
    assert manifest["provenance"]["quantised"]["parent"] == bundle.name
    assert [row["passed"] for row in manifest["evaluation"]["parity"]] == [True, True]
    assert "types" not in manifest["evaluation"]  # the parent's figures are not the child's
    assert smaller.backends == ("onnx",)


def test_only_the_language_part_changes_and_it_shrinks(made, bundle):
    smaller, _ = made
    for role in ("vision", "embeddings", "tokenizer", "config"):
        assert smaller.reasoner.files[role].read_bytes() == bundle.reasoner.files[role].read_bytes()
    for role in ("encoder", "decoder"):
        assert smaller.segmenter.files[role].read_bytes() == bundle.segmenter.files[role].read_bytes()
    assert smaller.reasoner.files["decoder"].stat().st_size < 0.65 * bundle.reasoner.files["decoder"].stat().st_size


def test_every_large_product_is_quantised_and_the_cache_is_not(made, bundle):
    graph = onnx.load(made[0].reasoner.files["decoder"]).graph
    assert not [node for node in graph.node if node.op_type == "Gemm"]
    before = onnx.load(bundle.reasoner.files["decoder"]).graph
    assert [value.type for value in graph.input] == [value.type for value in before.input]
    assert [value.type for value in graph.output] == [value.type for value in before.output]


@pytest.mark.parametrize(("bits", "step"), [(8, 127), (4, 7)])
def test_a_quantised_product_is_nearly_the_product(bits, step, tmp_path):
    """Blocks of 32 with a scale each: half a step is the most a weight is off, a third of that in the mean square."""
    import onnxruntime

    rng = np.random.default_rng(0)
    weight, bias, x = (rng.standard_normal(shape).astype(np.float32) for shape in ((96, 64), (96,), (5, 64)))
    gemm = helper.make_node("Gemm", ["x", "weight", "bias"], ["y"], transB=1)
    sides = [
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)]
        for name, shape in (("x", x.shape), ("y", (5, 96)))
    ]
    constants = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")]
    graph = helper.make_graph([gemm], "product", *sides, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "p.onnx")
    small = quantised(tmp_path / "p.onnx", bits=bits, accuracy_level=0)
    (found,) = onnxruntime.InferenceSession(small, providers=["CPUExecutionProvider"]).run(["y"], {"x": x})
    most = np.abs(weight.reshape(96, 2, 32)).max(-1).max() / step
    error = np.sqrt(np.mean((found - (x @ weight.T + bias)) ** 2))
    assert 0 < error < most / np.sqrt(12) * np.sqrt(64)


def test_a_broken_decoder_does_not_pass_and_nothing_is_written(bundle, examples, tmp_path, monkeypatch):
    import export.quantise as module

    def broken(graph, **options):
        model = onnx.load_from_string(quantised(graph, **options))
        for weight in model.graph.initializer:
            if weight.name.endswith("/scales") and "mlp.down" in weight.name:
                weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
        return model.SerializeToString()

    monkeypatch.setattr(module, "quantised", broken)
    with pytest.raises(NotGoodEnough, match="FAIL"):
        quantise_bundle(bundle, tmp_path / "broken", bits=8, examples=examples[:3], threads=1)
    assert list(tmp_path.iterdir()) == []


def test_the_parent_passes_its_own_gate(bundle, examples):
    boxes, masks = check_parity(bundle, bundle, examples[:2], threads=1)
    assert boxes.value == 1 and masks.value == 0


def test_the_command_ends_with_1_when_the_gate_is_shut(tmp_path, monkeypatch, capsys):
    import export.quantise as module

    def shut(*_, **__):
        return [Check("boxes: median IoU", "parent", 0.5, 0.9, more=True)]

    monkeypatch.setattr(module, "check_parity", shut)
    with pytest.raises(SystemExit) as ended:
        main(["tabletop", "--out", str(tmp_path / "small"), "--count", "1"])
    assert ended.value.code == 1
    assert "does not pass" in capsys.readouterr().err
    assert not (tmp_path / "small").exists()


def test_a_bundle_that_is_there_is_left_alone(tmp_path, capsys):
    assert main(["tabletop", "--out", str(tmp_path), "--count", "1"]) == 2
    assert "exists" in capsys.readouterr().err


def test_comparing_with_the_parent_is_an_option_of_compare(bundle, capsys):
    from export.compare import main as compare

    assert compare([str(bundle.path), "--parent", str(bundle.path), "--count", "1"]) == 0
    assert "boxes: median IoU" in capsys.readouterr().out


# ---- the check's arithmetic ----


def test_nothing_asked_passes_nothing():
    assert not any(check.passed for check in checks([], []))


@pytest.mark.parametrize(
    ("overlaps", "drops", "passed"), [([1, 0.95, 0], [0.0], True), ([0.89, 0.8, 1], [0.0], False), ([1], [0.02], False)]
)
def test_median_box_and_mean_drop_decide(overlaps, drops, passed):
    assert all(check.passed for check in checks(overlaps, drops)) is passed


@pytest.mark.parametrize(("what", "value"), [("bits", 3), ("block", 48), ("accuracy_level", 9)])
def test_what_onnx_runtime_does_not_take_is_refused_first(bundle, what, value):
    with pytest.raises(ValueError, match=f"got the {what.replace('_', ' ')} {value}, want one of"):
        quantised(bundle.reasoner.files["decoder"], **{"bits": 8, what: value})


def test_weights_in_a_file_beside_the_graph_are_refused(bundle, tmp_path):
    graph = onnx.load(bundle.reasoner.files["decoder"])
    onnx.save(graph, tmp_path / "large.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(ValueError, match="in a file beside the graph"):
        quantised(tmp_path / "large.onnx", bits=8)
