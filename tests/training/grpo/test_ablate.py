"""The ablations differ in what they say they differ in, and their table is what the runs answered."""

import json

import pytest

pytest.importorskip("torch", reason="offline stack not installed")

from training.grpo.ablate import COMPLETIONS, VARIANTS, figures, folder, options, read_arguments, table

ARGUMENTS = ["--data", "train", "--val", "val", "--out", "runs"]


def scored(hit, kind="attribute", tokens=60):
    return {"kind": kind, "hit": hit, "iou": 0.5 + 0.4 * hit, "mask": 0.6 * hit, "tokens": tokens}


def finish(out, name, seed, before, after):
    held_out = folder(out, name, seed) / "held_out"
    held_out.mkdir(parents=True)
    for step, rows in ((0, before), (40, after)):
        (held_out / f"{step:06}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (held_out.parent / "finished").touch()


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_spends_the_same_completions_and_is_understood(name):
    from training.grpo.main import parse

    args = read_arguments(ARGUMENTS)
    run = parse(options(args, name, 3))
    assert run.samples * run.prompts_per_step == COMPLETIONS
    assert (run.seed, run.steps) == (3, args.steps)


def test_variants_lie_in_folders_of_their_own(tmp_path):
    assert len({folder(tmp_path, name, seed) for name in VARIANTS for seed in (0, 1)}) == 2 * len(VARIANTS)


def test_figures_are_means_over_questions_and_the_change_is_paired(tmp_path):
    before = [scored(False), scored(True), scored(False, "several"), scored(False, "absent")]
    finish(tmp_path, "baseline", 0, before, [scored(True, row["kind"], tokens=50) for row in before])
    finish(tmp_path, "baseline", 1, before, before)
    result = figures(tmp_path, "baseline", [0, 1, 2])
    assert result["seeds"] == [0, 1]
    assert result["hit"]["start"] == 0.25
    assert result["hit"]["end"] == [1.0, 0.25]
    assert result["hit"]["change"]["value"] == pytest.approx(0.375)
    assert result["tokens"]["change"] == {"value": -5.0, "low": -5.0, "high": -5.0}
    assert result["absent hit"]["end"] == [1.0, 0.0]
    text = table({"baseline": result})
    assert "| before training | 25.0 |" in text
    assert "50.0, 60.0 (-5.0 to -5.0)" in text


def test_a_variant_without_a_finished_run_has_no_figures(tmp_path):
    assert figures(tmp_path, "baseline", [0]) == {}
    assert table({}).count("\n") == 1
