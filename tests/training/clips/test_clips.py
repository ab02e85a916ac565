"""Clips: a seed gives the same one everywhere, sets never meet, and what the record says is what the pictures show."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segzero_ros.tabletop.render import Renderer
from segzero_ros.tabletop.samples import EVALUATION_SEEDS
from segzero_ros.tabletop.scene import SPLITS
from segzero_ros.tabletop.things import HELD_OUT
from training.clips import render
from training.clips.script import CLIP_SEEDS, MOTIONS, SEEDS_PER_SET, SETS, Motion, clip_seed, write_script
from training.clips.shards import read_clips
from training.clips.truth import draw


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_seed_gives_the_same_clip_and_another_seed_another(motion: Motion) -> None:
    once, again, other = (write_script(seed, "train", 4, motion=motion) for seed in (5, 5, 6))
    assert once == again
    assert once != other
    assert {scene.things[0].kind for scene in once.scenes} == {once.scenes[0].things[0].kind}


def test_the_seeds_of_clips_meet_no_others() -> None:
    assert clip_seed(0, 0) == CLIP_SEEDS
    assert clip_seed(SETS - 1, SEEDS_PER_SET - 1) < EVALUATION_SEEDS
    with pytest.raises(ValueError, match="got set 0, clip 100000"):
        clip_seed(0, SEEDS_PER_SET)


def test_splits_share_no_clip_and_held_out_compositions_are_held_out() -> None:
    scripts = {split: [write_script(seed, split, 2) for seed in range(60)] for split in SPLITS}
    starts = {split: {each.scenes[0] for each in made} for split, made in scripts.items()}
    assert not any(starts[one] & starts[other] for one, other in itertools.combinations(SPLITS, 2))
    pairs = {
        split: {(t.colour, t.kind) for each in made for t in each.scenes[0].things} for split, made in scripts.items()
    }
    assert not (pairs["train"] | pairs["val"]) & HELD_OUT
    assert pairs["test"] & HELD_OUT


@pytest.mark.parametrize("motion", MOTIONS)
def test_something_moves_in_every_motion(motion: Motion) -> None:
    script = write_script(3, "train", 6, motion=motion, step_s=0.3)
    assert len(set(script.scenes)) == 6
    first = script.scenes[0]
    assert any(
        (scene.things, scene.camera, scene.rods, scene.room) != (first.things, first.camera, first.rods, first.room)
        for scene in script.scenes[1:]
    )


def test_a_rod_hides_what_is_behind_it_and_is_no_thing() -> None:
    scripts = [write_script(seed, "train", 8, motion="rod") for seed in range(12)]
    assert any(len(scene.rods) > 1 for script in scripts for scene in script.scenes)
    hidden = 0
    with Renderer(160, 120) as renderer:
        for scene in (scene for script in scripts for scene in script.scenes):
            labels = renderer.render(scene, rgb=False).labels
            without = renderer.render(replace(scene, rods=()), rgb=False).labels
            assert not labels[labels != without].any()
            hidden += int((labels != without).sum())
    assert hidden > 0


def test_a_clip_counts_the_pixels_of_its_things_and_says_when_they_are_hidden() -> None:
    with Renderer(160, 120) as renderer:
        clips = [draw(write_script(seed, "train", 8, motion="rod"), renderer) for seed in range(6)]
    assert any("hidden" in row for clip in clips for row in clip.where)
    for clip in clips:
        assert np.array_equal(clip.pixels, [[(ids == t.id).sum() for t in clip.things] for ids in clip.ids])


def test_a_shard_holds_what_was_drawn_and_a_second_run_leaves_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(render, "CAMERA", (80, 60))
    command = ["--out", str(tmp_path), "--clips", "3", "--shard", "2", "--frames", "3", "--side", "32"]
    assert render.main(command) == 0
    clips = list(read_clips(tmp_path))
    assert [clip.record["seed"] for clip in clips] == [clip_seed(0, n) for n in range(3)]
    assert clips[0].frames.shape == (3, 32, 32, 3)
    assert clips[0].ids.shape == (3, 32, 32)
    things = {thing["id"] for thing in clips[0].record["things"]}
    assert set(np.unique(clips[0].ids)) <= {0, *things}
    capsys.readouterr()
    assert render.main(command) == 0
    assert capsys.readouterr().out.count("is there") == 2
