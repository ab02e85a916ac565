"""The rich world: its scenes are functions of their seeds, its shots of theirs; the simple world is the default."""

import itertools
import json
import math
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest

from segzero_ros.tabletop import sample_scene
from segzero_ros.tabletop.rich.finish import GLOSS
from segzero_ros.tabletop.rich.forms import CLUTTER, RICH_KINDS
from segzero_ros.tabletop.rich.palette import RICH_HELD_OUT
from segzero_ros.tabletop.truth import scene_from_record
from tests.tabletop.rich import geometry


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


def test_the_same_scene_gives_the_same_picture_and_another_shot_another(rich_renderer) -> None:
    scene = sample_scene(2, "train", world="rich")
    first = rich_renderer.render(scene, depth=True)
    rich_renderer.render(sample_scene(3, "train", world="rich"))
    again = rich_renderer.render(scene, depth=True)
    other = rich_renderer.render(replace(scene, shot=replace(scene.shot, seed=scene.shot.seed + 1)), depth=True)
    assert np.array_equal(first.rgb, again.rgb) and np.array_equal(first.labels, again.labels)
    assert np.array_equal(first.depth_m, again.depth_m)
    assert not np.array_equal(first.rgb, other.rgb) and not np.array_equal(first.depth_m, other.depth_m)
    assert np.array_equal(first.labels, other.labels)


def test_relations_are_those_that_the_triangles_show() -> None:
    counts = Counter()
    for seed in range(40):
        scene = sample_scene(seed, "train", world="rich")
        stated = {(r.subject, r.how, r.anchor) for r in scene.relations}
        assert geometry.relations(scene) == stated, seed
        counts.update(how for _, how, _ in stated)
    assert min(counts[how] for how in ("in", "on", "under")) > 8


def test_what_is_in_on_or_under_another_does_not_reach_into_it() -> None:
    for seed in range(30):
        scene = sample_scene(seed, "test", world="rich")
        faces = {thing.id: geometry.triangles(thing) for thing in scene.things}
        for r in scene.relations:
            pair = faces[r.subject], faces[r.anchor]
            assert geometry.share_inside(*pair) == geometry.share_inside(*pair[::-1]) == 0, (seed, r)


def test_what_stands_on_the_table_does_not_touch() -> None:
    for seed in range(60):
        scene = sample_scene(seed, "train", world="rich")
        held = {relation.subject for relation in scene.relations}
        standing = [thing for thing in scene.things if thing.id not in held]
        reaches = [
            np.hypot(*(geometry.triangles(t)[..., :2] - t.position[:2]).reshape(-1, 2).T).max() for t in standing
        ]
        assert all(thing.position[2] == 0 for thing in standing)
        for (a, wide), (b, other) in itertools.combinations(zip(standing, reaches, strict=True), 2):
            assert math.dist(a.position, b.position) > wide + other


def test_scenes_have_what_they_promise() -> None:
    scenes = [sample_scene(seed, "train", world="rich") for seed in range(250)]
    looks = [np.degrees(np.arcsin(-scene.camera.rotation[2][2])) for scene in scenes]
    fields = [scene.camera.fovy_deg for scene in scenes]
    assert 20 <= min(looks) < 25 and 70 < max(looks) <= 75
    assert 35 <= min(fields) < 38 and 87 < max(fields) <= 90
    assert {len(scene.things) for scene in scenes} == set(range(3, 10))
    assert {thing.kind for scene in scenes for thing in scene.things} == set(RICH_KINDS)
    assert {thing.finish for scene in scenes for thing in scene.things} == set(GLOSS)
    assert {prop.name for scene in scenes for prop in scene.clutter} == set(CLUTTER)
    assert {bool(scene.shot.quality) for scene in scenes} == {any(scene.shot.blur) for scene in scenes} == {True, False}


def test_held_out_pairs_are_in_the_test_split_only() -> None:
    pairs = {
        split: {(t.colour, t.kind) for seed in range(200) for t in sample_scene(seed, split, world="rich").things}
        for split in ("train", "val", "test")
    }
    assert not (pairs["train"] | pairs["val"]) & RICH_HELD_OUT
    assert len(pairs["test"] & RICH_HELD_OUT) > 0.7 * len(RICH_HELD_OUT)


def test_a_count_is_kept_as_far_as_there_is_room() -> None:
    for seed in range(30):
        assert len(sample_scene(seed, "train", world="rich", count=5).things) in (4, 5)
