"""The GPU's script runs on a CPU with toy shapes, and its arithmetic of limits is that of the published models."""

import json

import pytest
import torch

from bench.gpu import main as gpu
from bench.gpu.limits import Limits, Needs, decode_needs, prefill_needs, vision_needs
from bench.gpu.shapes import REAL, TINY, reasoner, segmenter_config


@pytest.fixture(scope="module")
def figures():
    torch.set_num_threads(1)
    return gpu.measure(["tiny"], TINY, engines=["torch_cuda", "onnx"], compiled=False, rounds=1)


def test_every_stage_has_a_time_and_its_fraction_of_the_limits(figures):
    stages = figures["reasoners"]["tiny"]["ms"]["torch_cuda"]
    for stage in ("vision", "prefill", "per_token"):
        assert stages[stage]["p50"] > 0
        assert stages[stage]["of_bandwidth"] >= 0 and stages[stage]["limit_ms"] > 0
    assert {"first_token_cold", "first_token_warm", "decode", "total"} <= set(stages)


def test_transformers_runs_beside_it_in_the_same_run(figures):
    assert {"first_token_cold", "per_token", "total"} <= set(figures["reasoners"]["tiny"]["ms"]["eager"])


def test_an_engine_that_exports_first_runs_on_the_same_weights(figures):
    found = figures["reasoners"]["tiny"]
    assert "onnx" in found["ms"] or found["not_opened"]["onnx"]


def test_what_is_left_is_in_the_profile(figures):
    assert 0 < len(figures["reasoners"]["tiny"]["profile"]) <= gpu.TOP


def test_the_figures_can_be_written_and_shown(figures):
    json.dumps(figures)
    shown = gpu.table(figures)
    assert "torch_cuda" in shown and "SAM 2" in shown


def test_without_a_gpu_the_command_says_so_in_one_line(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert gpu.main(["--models", "3b"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_engine_that_does_not_open_is_named_with_its_reason():
    found = gpu.measure(["tiny"], TINY, engines=["nonsense"], compiled=False, rounds=1)
    assert found["reasoners"]["tiny"]["not_opened"]["nonsense"]


@pytest.mark.parametrize(("name", "gigabytes", "prefill", "vision"), [("7b", 14.1, 14, 5), ("3b", 6.2, 6, 5)])
def test_real_shapes_need_what_is_known_of_them(name, gigabytes, prefill, vision):
    """Gigabytes read per token in BF16; TFLOP of 1050 rows and of the tower for 900 tokens."""
    model = reasoner(name, "meta", torch.bfloat16)
    assert decode_needs(model, 1100).bytes / 1e9 == pytest.approx(gigabytes, rel=0.05)
    assert prefill_needs(model, REAL.visual + REAL.text).flops / 1e12 == pytest.approx(prefill, rel=0.15)
    assert vision_needs(model, REAL.image).flops / 1e12 == pytest.approx(vision, rel=0.3)


def test_the_tighter_limit_is_the_limit():
    found = Needs(bytes=2e9, flops=1e12).fractions(10.0, Limits(gb_per_s=1000, tflops=500))
    assert found == {"of_bandwidth": 0.2, "of_compute": 0.2, "limit_ms": 2.0}


def test_the_large_segmenter_has_its_published_number_of_parameters():
    from transformers import Sam2Model

    with torch.device("meta"):
        model = Sam2Model(segmenter_config("large", 1024))
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert 210 < millions < 225  # 224.4 with the memory of the video model, which a single picture has no use for
