"""`segzero eval`: through the robot's own pipeline, no sample dropped, and nothing heavy imported."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segzero_ros.backends.fake import FakeReasoner, FakeSegmenter
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from training.data import Example
from training.evaluate import Progress, main
from training.evaluation_record import read_samples
from training.evaluation_run import ask_all

ROOT = Path(__file__).parents[2]
SIZE = 84  # a tenth of the profile's picture, so that its coordinates are ten times these
MUG, BOWL = (10.0, 10.0, 30.0, 40.0), (50.0, 50.0, 80.0, 70.0)


def sample(number, *boxes, kind="attribute"):
    mask = np.zeros((SIZE, SIZE), bool)
    for x0, y0, x1, y1 in boxes:
        mask[int(y0) : int(y1), int(x0) : int(x1)] = True
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    return Example(f"sample-{number}", "the mug", picture, boxes, ((),) * len(boxes), mask, kind=kind)


def said(*boxes):
    items = [{"bbox_2d": [10 * int(v) for v in box], "point_2d": [10 * int(box[0]), 10 * int(box[1])]} for box in boxes]
    return f"<think>so</think><answer>{json.dumps(items)}</answer>"


def evaluate(samples, *answers):
    pipeline = Pipeline(get_profile("abstaining_v2"), FakeReasoner(*answers), FakeSegmenter())
    return list(ask_all(pipeline, samples, lambda record: None))


def test_the_right_box_has_the_right_mask():
    (record,) = evaluate([sample(0, MUG)], said(MUG))
    assert (record.right, record.iou, record.code) == (True, 1.0, "OK")


def test_one_of_two_objects_is_not_right_and_has_its_share_of_the_mask():
    (record,) = evaluate([sample(0, MUG, BOWL, kind="several")], said(MUG))
    assert not record.right
    assert record.iou == pytest.approx(600 / 1200)


def test_no_such_object_is_right_where_there_is_none_and_wrong_elsewhere():
    absent, there = evaluate([sample(0, kind="absent"), sample(1, MUG)], said(), said())
    assert (absent.code, absent.right, absent.iou) == ("NO_TARGET", True, 1.0)
    assert (there.code, there.right, there.iou) == ("NO_TARGET", False, 0.0)


def test_what_cannot_be_read_is_a_wrong_answer_and_not_a_missing_one():
    records = evaluate([sample(0, MUG), sample(1, kind="absent")], "no idea")
    assert [(record.code, record.right, record.iou) for record in records] == [("ANSWER_UNREADABLE", False, 0.0)] * 2


def test_each_sample_leaves_a_line_at_once(tmp_path):
    file = tmp_path / "samples.jsonl"
    (record,) = evaluate([sample(0, MUG)], said(MUG))
    with Progress(file, {"data": "made"}, [], 1) as progress:
        progress.seen(record)
        assert read_samples(file) == ({"data": "made"}, [record])


def test_the_command_scores_rendered_scenes_and_writes_both_files(tmp_path, capsys):
    pytest.importorskip("mujoco", reason="needs the demo world")
    figures, lines = tmp_path / "figures.json", tmp_path / "samples.jsonl"
    arguments = ["--backend", "fake", "--count", "3", "--seed", "1", "--json", str(figures), "--samples", str(lines)]
    assert main(arguments) == 0
    summary = json.loads(figures.read_text())
    assert (summary["count"], summary["seed"], summary["types"]["all"]["count"]) == (3, 1, 3)
    assert len(read_samples(lines)[1]) == 3
    assert "single object" in capsys.readouterr().out


def test_the_evaluation_imports_neither_torch_nor_transformers():
    watch = "import sys, training.evaluate; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", watch], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
