"""Every recipe from its own shell script to a trained step: a small model of true structure, the paper's data, a CPU.

What a script hands to accelerate goes into the trainer as it stands. Behind it stands only what a CPU cannot have
otherwise: a smaller model, fewer and shorter answers, transformers' rollouts in place of vLLM's.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="offline stack not installed")
pytest.importorskip("trl", reason="offline stack not installed")
datasets = pytest.importorskip("datasets", reason="offline stack not installed")

from safetensors.torch import load_file  # noqa: E402
from transformers import Qwen2_5_VLForConditionalGeneration  # noqa: E402

from tests.export.families.small_qwen3 import save_qwen3  # noqa: E402
from tests.export.small_reasoner import small_config, small_tokenizer  # noqa: E402
from tests.training.data.test_data_huggingface import V2, training_set  # noqa: E402
from tests.training.drawn_rectangles import draw_shard  # noqa: E402
from tests.training.made_data import png  # noqa: E402
from training.demo_models.segmenter_model import build_model as build_segmenter  # noqa: E402
from training.grpo.adapter import merge  # noqa: E402
from training.grpo.main import main  # noqa: E402
from training.grpo.trainer import checkpoints  # noqa: E402

ROOT = Path(__file__).parents[3]
SCRIPTS = sorted((ROOT / "training" / "recipes").glob("*.sh"))
SMALL = (
    "--steps 1 --prompts-per-step 1 --samples 2 --micro-batch 1 --response 4 --evaluate-count 1 --lr 1e-3 --entropy 0.1"
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A random Qwen2.5-VL, Qwen3-VL and SAM 2, a set in the paper's columns as the hub lays it out, drawn shards."""
    folder = tmp_path_factory.mktemp("dry")
    torch.manual_seed(3)
    tokenizer = small_tokenizer()
    config = small_config(tokenizer, num_hidden_layers=2)
    config.vision_config.depth, config.vision_config.fullatt_block_indexes = 2, [1]
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder / "qwen25")
    tokenizer.save(str(folder / "qwen25" / "tokenizer.json"))
    save_qwen3(folder / "qwen3")
    for model in ("qwen25", "qwen3"):
        (folder / model / "preprocessor_config.json").write_text("{}")
    build_segmenter(0).save_pretrained(folder / "segmenter")
    (folder / "set" / "data").mkdir(parents=True)
    pictures = [{"bytes": png(np.full((840, 840, 3), shade, np.uint8)), "path": None} for shade in (0, 90, 180)]
    rows = datasets.concatenate_datasets([training_set(V2, image=picture) for picture in pictures])
    rows.to_parquet(str(folder / "set" / "data" / "train-00000-of-00001.parquet"))
    draw_shard(folder / "shards" / "shard-00000", 0, 6)
    return folder


def launched(script, folder, **environment):
    """The words that the script's shell hands to accelerate, or to python, behind the name of the trainer."""
    (folder / "bin").mkdir()
    for name in ("accelerate", "python"):
        program = folder / "bin" / name
        program.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done\n')
        program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", **environment}
    said = subprocess.run([script], cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
    words = said.split("\0")[:-1]
    return words[words.index("training.grpo") + 1 :]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_recipe_trains(script, world, tmp_path):
    words = launched(script, tmp_path, DATA=str(world / "set"), OUT=str(tmp_path / "run"))
    if "--lora" in words:
        pytest.importorskip("peft", reason="adapters need peft")
    model = world / ("qwen3" if "qwen3vl_thinking" in words else "qwen25")
    small = [*SMALL.split(), "--model", str(model)]
    if script.stem == "demo-cpu":
        small += ["--data", str(world / "shards"), "--val", "held-out"]
    else:
        small += ["--rollouts", "transformers"]
    if "facebook/sam2.1-hiera-large" in words:
        small += ["--segmenter", str(world / "segmenter")]
    assert main([*words, *small]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["grad_norm"] > 0 for line in lines if "grad_norm" in line] == [True]
    assert [line["step"] for line in lines if "held_out/all/hit" in line] == [0]
    parts = {"thinking_format", "accuracy", "non_repeat"} if "vision_reasoner_v2" in words[1:2] else {"format", "box"}
    assert {f"reward/{part}" for part in parts} <= {name for line in lines for name in line}
    best = tmp_path / "run" / "best"
    if "--lora" in words:
        assert (best / "adapter_model.safetensors").exists()
        merge(best, tmp_path / "merged")
        best = tmp_path / "merged"
    else:
        weights = [load_file(at / "model.safetensors") for at in (model, checkpoints(tmp_path / "run")[-1])]
        moved = {name for name in weights[0] if not torch.equal(weights[0][name], weights[1][name])}
        assert any("visual" in name for name in moved) == (script.stem != "demo-cpu")  # the demo's tower is frozen
    whole = {"config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"}
    assert whole <= {file.name for file in best.iterdir()}


def test_an_empty_val_reaches_the_trainer_as_one(tmp_path):
    script = ROOT / "training" / "recipes" / "7b-4x80gb.sh"
    words = launched(script, tmp_path, VAL="")
    assert words[words.index("--val") + 1] == ""
