"""Two runs are compared sample by sample, or not at all."""

import json

import pytest

from segzero_ros.backends.fake import FakeReasoner, FakeSegmenter
from segzero_ros.errors import RejectedInput
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from training.evaluation.compare import compare, comparison_table
from training.evaluation.main import main
from training.evaluation.run import ask_all

from .made_examples import BOWL, MUG, Made, bad_row, example, said

GIVEN = (example("a", MUG), example("b", BOWL, kind="spatial"), example("c", kind="absent"), bad_row())


def run_file(path, given, *answers):
    """A file of samples of a run that answered so."""
    pipeline = Pipeline(get_profile("abstaining_v2"), FakeReasoner(*answers), FakeSegmenter())
    lines = [json.dumps({"run": {"bundle": path.stem}})]
    lines += [record.line() for record in ask_all(pipeline, Made(*given), lambda record: None)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def before(tmp_path):
    return run_file(tmp_path / "before.jsonl", GIVEN, said(MUG), said(MUG), said(MUG))


@pytest.fixture
def after(tmp_path):
    return run_file(tmp_path / "after.jsonl", GIVEN, said(MUG), said(BOWL), said())


def test_the_difference_is_that_of_the_means_by_kind_and_overall(before, after):
    groups = compare(before, after)["groups"]
    assert groups["all"]["count"] == 4, "the bad row counts in both"
    assert groups["all"]["right"]["first"] == 0.25
    assert groups["all"]["right"]["second"] == 0.75
    assert groups["all"]["right"]["difference"]["value"] == 0.5
    assert groups["spatial"]["giou"]["difference"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert groups["absent"]["n_acc"]["difference"]["value"] == 1.0
    assert groups["attribute"]["right"]["difference"]["value"] == 0.0
    assert "n_acc" not in groups["attribute"]


def test_a_run_does_not_differ_from_itself(before):
    every = compare(before, before)["groups"]["all"]
    assert {name: every[name]["difference"]["value"] for name in every if name != "count"} == dict.fromkeys(
        ("right", "giou", "n_acc", "tokens", "thinking_tokens", "total_ms"), 0.0
    )


def test_the_command_prints_and_writes_it(before, after, tmp_path, capsys):
    figures = tmp_path / "difference.json"
    assert main(["--compare", str(before), str(after), "--out", str(figures)]) == 0
    shown = capsys.readouterr().out
    assert "+100.0 (+100.0 +100.0)*" in shown
    assert "first: before; second: after" in shown
    assert json.loads(figures.read_text())["groups"]["all"]["count"] == 4


@pytest.mark.parametrize(
    "given, names",
    [
        ((example("a", MUG), example("b", MUG, kind="spatial"), *GIVEN[2:]), "sample 1: true_boxes"),
        ((example("a", MUG, question="the cup"), *GIVEN[1:]), "sample 0: text 'the mug' and 'the cup'"),
        ((example("z", MUG), *GIVEN[1:]), "sample 0: id 'a' and 'z'"),
        (GIVEN[:2], "runs of 4 and 2 samples"),
    ],
)
def test_runs_over_different_samples_are_refused_with_the_first_difference(before, tmp_path, given, names):
    other = run_file(tmp_path / "other.jsonl", given, said(MUG))
    with pytest.raises(RejectedInput, match="compare runs of the same") as refused:
        compare(before, other)
    assert names in refused.value.detail


@pytest.mark.parametrize("text", ["", "no json\n", '{"run": 3}\n', '{"run": {}}\n{"id": "a"}\n', '{"run": {}}\n[]\n'])
def test_a_file_that_holds_no_samples_is_refused_in_one_line(before, tmp_path, text):
    other = tmp_path / "other.jsonl"
    other.write_text(text)
    with pytest.raises(RejectedInput) as refused:
        compare(before, other)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused(before, tmp_path):
    with pytest.raises(RejectedInput, match="could not read"):
        compare(before, tmp_path / "nowhere.jsonl")


def test_a_star_marks_an_interval_without_zero(before, after):
    text = comparison_table(compare(before, after))
    spatial = next(line for line in text.splitlines() if line.startswith("spatial"))
    attribute = next(line for line in text.splitlines() if line.startswith("attribute"))
    assert "*" in spatial
    assert "*" not in attribute.partition("ms")[0].split("(")[1]
