"""The comparison passes on an honest export and fails, by name, on one that differs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("transformers")

from onnx import numpy_helper

from export.checks import Check, check_table, to_json
from export.compare import compare_reasoner
from export.queries import drawn_questions
from export.reasoner_onnx import FILES, export_reasoner
from tests.export.small_reasoner import PROFILE, save_checkpoint


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    folder = tmp_path_factory.mktemp("reasoner")
    checkpoint = save_checkpoint(folder / "checkpoint")
    export_reasoner(checkpoint, folder, image_size=(168, 168), max_length=512)
    return checkpoint, {role: folder / name for role, name in FILES.items()}


def altered(graph: Path, weight: str, folder: Path) -> Path:
    """Return a copy of `graph` with one of its weights turned upside down."""
    model = onnx.load(graph)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == weight)
    tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), weight))
    onnx.save(model, folder / graph.name)
    return folder / graph.name


def failed(checkpoint: Path, files: dict[str, Path]) -> set[str]:
    checks = compare_reasoner(checkpoint, files, PROFILE, drawn_questions(1, seed=2), tokens=6)
    return {check.what.split(":")[0] for check in checks if not check.passed}


def test_an_honest_export_passes(exported: tuple[Path, dict[str, Path]]) -> None:
    assert failed(*exported) == set()


@pytest.mark.parametrize(
    ("role", "weight", "caught"),
    [
        ("embeddings", "embed_tokens.weight", "embeddings"),
        ("vision", "blocks.2.attn.proj.weight", "vision"),
        ("decoder", "layers.1.mlp.down.weight", "decoder"),
    ],
)
def test_an_altered_weight_is_caught_in_its_graph(
    exported: tuple[Path, dict[str, Path]], tmp_path: Path, role: str, weight: str, caught: str
) -> None:
    checkpoint, files = exported
    assert caught in failed(checkpoint, {**files, role: altered(files[role], weight, tmp_path)})


def test_a_value_that_is_no_number_never_passes() -> None:
    for more in (True, False):
        assert not Check("x", "stored", float("nan"), 1.0, more=more).passed


def test_the_table_and_the_json_say_what_failed() -> None:
    checks = [Check("masks: mean IoU", "checkpoint", 0.5, 0.98, more=True), Check("vision", "stored", 1e-6, 1e-3)]
    lines = check_table(checks).splitlines()
    assert lines[1].startswith("FAIL  masks: mean IoU") and lines[2].startswith("ok")
    assert [entry["passed"] for entry in json.loads(json.dumps(to_json(checks)))] == [False, True]


def test_the_questions_are_the_same_for_the_same_seed() -> None:
    one, other = drawn_questions(2, seed=4), drawn_questions(2, seed=4)
    assert all(
        np.array_equal(a.frame.rgb, b.frame.rgb) and a.command == b.command for a, b in zip(one, other, strict=True)
    )
