"""The models rebuilt from the demo bundle's graphs give what the graphs give."""

import numpy as np
import onnx
import pytest
import torch

from bench.checkpoint_of_bundle import Unlike, graph_weights, reasoner_of, segmenter_of
from bench.reference import Models, PapersWay
from export.compare import StockReasoner
from segzero_ros.backends import EngineOptions, open_pipeline
from segzero_ros.backends.decoding.preprocess import IMAGENET_MEAN, IMAGENET_STD, normalise, resize_to
from segzero_ros.backends.onnx.session import open_session
from training.demo_models.recipes.shapes import SHAPES


@pytest.fixture(scope="module")
def models(bundle):
    torch.set_num_threads(1)
    return Models(reasoner_of(bundle), segmenter_of(bundle), bundle.reasoner.files["tokenizer"])


def relative(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def test_visual_tokens_are_equal(bundle, models, questions):
    way = PapersWay(bundle, models)
    stock = StockReasoner(models.reasoner, way._tokenizer, bundle.profile)
    session = open_session(bundle.reasoner.files["vision"], threads=1)
    pixels = normalise(resize_to(questions[0].frame.rgb, bundle.profile.image_size))[None]
    assert relative(session.run(None, {"pixels": pixels})[0], stock.tokens(questions[0])) < 1e-4


def test_features_of_the_picture_are_equal(bundle, models, questions):
    pixels = normalise(resize_to(questions[0].frame.rgb, bundle.segmenter.image_size), IMAGENET_MEAN, IMAGENET_STD)[
        None
    ]
    session = open_session(bundle.segmenter.files["encoder"], threads=1)
    embedding = session.run(["embedding"], {"pixels": pixels})[0]
    with torch.inference_mode():
        theirs = models.segmenter.get_image_embeddings(torch.from_numpy(pixels))[-1].numpy()
    assert relative(embedding, theirs) < 1e-4


def test_replies_and_masks_are_equal(bundle, models, questions):
    """The whole way: the same text from generate, and the same pixels from Sam2Model."""
    ours = open_pipeline(bundle, "onnx", options=EngineOptions(threads=1, constrained=False))
    way = PapersWay(bundle, models)
    for question in questions[:4]:
        theirs = way(question)
        found = ours.ground(question.frame, question.command)
        assert found.text == theirs.text
        assert found.code.name == theirs.code
        if len(way.masks):
            assert (way.masks.any(0) == (found.labels > 0)).mean() > 0.999


def test_products_are_found_by_their_bias_and_turned_back(tmp_path):
    weight, bias = np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(2, np.float32)
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "val_7"], ["y"]),
        onnx.helper.make_node("Add", ["y", "a.bias"], ["z"]),
    ]
    tensors = [onnx.numpy_helper.from_array(weight.T.copy(), "val_7"), onnx.numpy_helper.from_array(bias, "a.bias")]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [], tensors)), tmp_path / "g.onnx")
    assert np.array_equal(graph_weights(tmp_path / "g.onnx")["a.weight"], weight)


def test_another_models_graphs_are_refused_by_name(bundle, monkeypatch):
    import bench.checkpoint_of_bundle as module

    def without_one(path, whole=module.graph_weights):
        return {name: value for name, value in whole(path).items() if not name.startswith("blocks.3.norm1")}

    monkeypatch.setattr(module, "graph_weights", without_one)
    with pytest.raises(Unlike, match=r"blocks\.3\.norm1"):
        reasoner_of(bundle)


def test_graphs_of_another_depth_are_refused(bundle, monkeypatch, tmp_path):
    """Those of more layers than the model had were once filled into it as if the others were not there."""
    import bench.checkpoint_of_bundle as module

    monkeypatch.setattr(module, "_shape", lambda config: SHAPES["demo"])
    with pytest.raises(Unlike, match=r"layers\.4\.\S+ is in the graphs and not in the model"):
        reasoner_of(bundle)
    monkeypatch.undo()
    (tmp_path / "config.json").write_text('{"hidden_size": 128, "layers": 7}')
    with pytest.raises(Unlike, match="128 wide with 7 layers"):
        module._shape(tmp_path / "config.json")
