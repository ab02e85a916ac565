"""TRL's private methods that the trainer overrides, as the pinned series has them: another series fails here."""

import inspect
import re
from importlib.metadata import version
from pathlib import Path

import pytest
import tomllib

pytest.importorskip("torch", reason="offline stack not installed")
trl = pytest.importorskip("trl", reason="offline stack not installed")

from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel  # noqa: E402

from training.grpo.trainer import GroundingTrainer  # noqa: E402

SERIES = "1.16"
OVERRIDDEN = {
    "_generate_single_turn": ["prompt_ids", "images", "multimodal_fields", "num_generations", "has_tool_images"],
    "_get_per_token_logps_and_entropies": ["model", "input_ids", "attention_mask", "logits_to_keep"],
    "_generate_and_score_completions": ["inputs"],
    "_get_output_dir": ["trial"],
    "_save_checkpoint": ["model", "trial"],
    "_load_from_checkpoint": ["resume_from_checkpoint", "model"],
}
READ = (
    "_entropy_bonus_enabled",
    "_metrics",
    "_tokenizer",
    "eos_token_ids",
    "num_generations",
    "ref_model",
    "temperature",
)


def test_trl_is_of_the_series_whose_private_methods_are_overridden():
    assert version("trl").startswith(f"{SERIES}."), (
        f"written against TRL {SERIES}: read what changed in {[*OVERRIDDEN]}"
    )
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))
    (wanted,) = (need for need in project["project"]["optional-dependencies"]["offline"] if need.startswith("trl"))
    major, minor = SERIES.split(".")
    assert wanted == f"trl>={SERIES},<{major}.{int(minor) + 1}"


def test_every_private_method_that_is_overridden_is_named_here():
    ours = {name for name, value in vars(GroundingTrainer).items() if inspect.isfunction(value)}
    theirs = {name for name in ours if name.startswith("_") and not name.startswith("__")}
    assert {name for name in theirs if hasattr(trl.GRPOTrainer, name)} == OVERRIDDEN.keys()


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_an_overridden_method_is_called_as_it_was(name):
    parameters = [*inspect.signature(getattr(trl.GRPOTrainer, name)).parameters][1:]
    assert parameters[: len(OVERRIDDEN[name])] == OVERRIDDEN[name]
    if name != "_get_per_token_logps_and_entropies":  # it takes what is behind these as they come
        assert len(parameters) == len(OVERRIDDEN[name])


@pytest.mark.parametrize("name", READ)
def test_an_attribute_that_is_read_is_set_by_trl(name):
    assert re.search(rf"\bself\.{name}\b.* = |\bself\.{name}: ", inspect.getsource(trl.GRPOTrainer))


def test_the_outputs_that_are_changed_have_their_names():
    source = inspect.getsource(trl.GRPOTrainer._generate_and_score_completions)
    assert all(f'"{key}"' in source for key in ("advantages", "completion_mask"))


def test_the_vision_tower_is_called_as_the_shared_one_expects():
    parameters = [*inspect.signature(Qwen2_5_VisionTransformerPretrainedModel.forward).parameters]
    assert parameters[:3] == ["self", "hidden_states", "grid_thw"]
