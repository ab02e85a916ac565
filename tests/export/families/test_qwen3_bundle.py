"""A directory of Qwen3-VL and one of SAM 2 become a bundle with `segzero export`, which `segzero ground` opens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("transformers")

from segzero_ros.backends.decoding.generation import LocalReasoner
from segzero_ros.bundle import open_bundle
from segzero_ros.cli.main import main
from segzero_ros.reasoner import Answer, Request
from tests.export.families.small_qwen3 import save_qwen3
from training.demo_models.segmenter_model import build_model

SIDE = 160


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen3")
    save_qwen3(folder / "reasoner")
    segmenter = build_model(0)
    for lateral in segmenter.vision_encoder.neck.convs:
        lateral.reset_parameters()  # a fresh one has zeros, through which no picture gets
    segmenter.save_pretrained(folder / "segmenter")
    sources = ["--reasoner", str(folder / "reasoner"), "--segmenter", str(folder / "segmenter")]
    shape = ["--profile", "qwen3vl", "--image-size", str(SIDE), "--max-length", "1024", "--compare", "0"]
    assert main(["export", *sources, *shape, "--no-self-test", "--out", str(folder / "bundle")]) == 0
    return folder / "bundle"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "table.png"
    cv2.imwrite(str(file), np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8))
    return file


def ground(bundle: Path, picture: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, object]:
    capsys.readouterr()
    named: Sequence[str] = ["--bundle", str(bundle), "--backend", "onnx", "--json", *more]
    main(["ground", str(picture), "the red mug", *named])
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def test_the_bundle_says_what_it_is(bundle: Path) -> None:
    opened = open_bundle(bundle)
    assert (opened.reasoner.architecture, opened.profile.space) == ("Qwen3-VL", "relative_1000")
    assert json.loads((bundle / "reasoner" / "config.json").read_text())["token_grid"] == [5, 5]


def test_random_weights_end_in_an_answer_with_a_code(
    bundle: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ground(bundle, picture, capsys)["code"] in {"ANSWER_UNREADABLE", "ANSWER_TRUNCATED", "NO_TARGET"}


def test_boxes_in_thousandths_become_pixels_of_the_source(
    bundle: Path, picture: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graphs run; what they say is replaced by how Qwen3-VL writes a box."""
    text = '```json\n[{"bbox_2d": [250, 250, 750, 750], "label": "red mug"}]\n```'
    reason = LocalReasoner.reason

    def says(self: LocalReasoner, request: Request) -> Answer:
        return replace(reason(self, request), text=text, finish="stop")

    monkeypatch.setattr(LocalReasoner, "reason", says)
    answer = ground(bundle, picture, capsys)
    assert answer["code"] == "OK"
    assert answer["instances"][0]["box"] == [16, 12, 48, 36]  # type: ignore[index]
