"""The rich world: its scenes are functions of their seeds, its shots of theirs; the simple world is the default."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from segzero_ros.tabletop import Renderer, sample_scene
from segzero_ros.tabletop.truth import scene_from_record


def test_the_world_is_chosen_by_name_and_the_simple_one_is_the_default() -> None:
    assert sample_scene(11, "train") == sample_scene(11, "train", world="simple")
    assert sample_scene(11, "train").world == "simple"
    assert sample_scene(11, "train", world="rich") == sample_scene(11, "train", world="rich")
    assert sample_scene(11, "train", world="rich").world == "rich"


def test_a_scene_survives_its_record() -> None:
    for seed in range(8):
        scene = sample_scene(seed, "val", world="rich")
        assert scene_from_record(json.loads(json.dumps(asdict(scene)))) == scene


def test_a_renderer_refuses_the_other_world(renderer) -> None:
    with pytest.raises(ValueError, match=r"open Renderer\(world='rich'\)"):
        renderer.render(sample_scene(0, "train", world="rich"))


def test_the_same_scene_gives_the_same_picture_and_another_shot_another() -> None:
    scene = sample_scene(2, "train", world="rich")
    with Renderer(160, 120, world="rich") as rich:
        first = rich.render(scene, depth=True)
        rich.render(sample_scene(3, "train", world="rich"))
        again = rich.render(scene, depth=True)
        other = rich.render(replace(scene, shot=replace(scene.shot, seed=scene.shot.seed + 1)), depth=True)
    assert np.array_equal(first.rgb, again.rgb) and np.array_equal(first.labels, again.labels)
    assert np.array_equal(first.depth_m, again.depth_m)
    assert not np.array_equal(first.rgb, other.rgb) and not np.array_equal(first.depth_m, other.depth_m)
    assert np.array_equal(first.labels, other.labels)
