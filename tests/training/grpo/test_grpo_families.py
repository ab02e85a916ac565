"""GRPO takes a checkpoint of any family the exporter knows."""

import json

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from safetensors.torch import load_file  # noqa: E402

from segzero_ros.errors import RejectedInput  # noqa: E402
from tests.export.families.small_qwen3 import save_qwen3  # noqa: E402
from training.grpo.main import main  # noqa: E402
from training.grpo.trainer import checkpoints  # noqa: E402
from training.grpo.vision import share_vision  # noqa: E402
from training.processor import family_of  # noqa: E402


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_qwen3(tmp_path_factory.mktemp("qwen3") / "model")


def test_a_qwen3_vl_takes_a_step(model, tmp_path):
    (tmp_path / "train").mkdir()
    cv2.imwrite(str(tmp_path / "train" / "a.png"), np.full((96, 128, 3), 7, np.uint8))
    rows = [
        {"image": "a.png", "question": question, "boxes": [[40, 10, 80, 49]]} for question in ("the cup", "the mug")
    ]
    (tmp_path / "train" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {
        "profile": "qwen3vl", "reward": "grounded_v3", "model": model, "data": tmp_path / "train", "segmenter": "",
        "out": tmp_path / "run", "steps": 1, "prompts-per-step": 1, "samples": 2, "micro-batch": 2, "response": 4,
        "evaluate-count": 0, "entropy": 0.1, "lr": 1e-3,
    }  # fmt: skip
    assert main([word for name, value in given.items() for word in (f"--{name}", str(value))]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["grad_norm"] > 0 for line in lines if "grad_norm" in line] == [True]
    before, after = (load_file(place / "model.safetensors") for place in (model, checkpoints(tmp_path / "run")[-1]))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("deepstack_merger_list" in name for name in moved), "the deepstack learns, too"


def test_a_shared_tower_gives_what_the_tower_gives(model):
    from transformers import Qwen3VLForConditionalGeneration

    visual = Qwen3VLForConditionalGeneration.from_pretrained(model).model.visual
    one, other = torch.randn(2, 24, 1536).unbind()
    pictures, grids = torch.cat([one, other, one]), torch.tensor([[1, 4, 6]] * 3)
    with torch.inference_mode():
        whole = visual(pictures, grid_thw=grids)
        share_vision(visual)
        shared = visual(pictures, grid_thw=grids)
    assert torch.allclose(whole.pooler_output, shared.pooler_output, atol=1e-5)
    for mine, theirs in zip(shared.deepstack_features, whole.deepstack_features, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


def test_another_family_is_refused_with_those_there_are(model, tmp_path):
    config = json.loads((model / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["OtherForConditionalGeneration"]}))
    with pytest.raises(RejectedInput, match=r"Other.*Qwen2\.5-VL, Qwen3-VL"):
        family_of(tmp_path)
