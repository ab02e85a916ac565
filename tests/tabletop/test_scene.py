"""Scenes: a function of seed and split; the held-out compositions are in no split but "test"."""

import math

import numpy as np
import pytest

from segzero_ros.tabletop import sample_scene
from segzero_ros.tabletop.scene import footprint, look_at, scene_rng
from segzero_ros.tabletop.things import COLOURS, HELD_OUT, KINDS, extent, meshes, patches

MANY = 250


def test_the_same_seed_gives_the_same_scene() -> None:
    assert sample_scene(11, "train") == sample_scene(11, "train")
    assert sample_scene(11, "train") != sample_scene(12, "train")


def test_no_two_splits_share_their_random_numbers() -> None:
    draws = {split: scene_rng(5, split).random(4).tolist() for split in ("train", "val", "test")}
    assert len({tuple(draw) for draw in draws.values()}) == 3
    assert sample_scene(5, "train").camera != sample_scene(5, "val").camera


@pytest.mark.parametrize("split", ["train", "val"])
def test_held_out_pairs_never_occur_in_training_or_validation(split) -> None:
    pairs = {(t.colour, t.kind) for seed in range(MANY) for t in sample_scene(seed, split).things}
    assert not pairs & HELD_OUT
    assert pairs == {(c, k) for c in COLOURS for k in KINDS} - HELD_OUT, "and every other pair does occur"


def test_every_held_out_pair_occurs_in_the_test_split() -> None:
    pairs = {(t.colour, t.kind) for seed in range(MANY) for t in sample_scene(seed, "test").things}
    assert pairs >= HELD_OUT


def test_held_out_pairs_take_no_colour_and_no_kind_away() -> None:
    assert len({colour for colour, _ in HELD_OUT}) == len({kind for _, kind in HELD_OUT}) == len(HELD_OUT) == 8


def test_things_stand_on_the_table_and_do_not_touch() -> None:
    for seed in range(60):
        things = sample_scene(seed, "train").things
        assert 2 <= len(things) <= 7
        assert [t.id for t in things] == list(range(1, len(things) + 1))
        for a in things:
            assert a.position[2] == 0
            for b in things[: a.id - 1]:
                gap = math.dist(a.position, b.position) - footprint(a.kind, a.scale) - footprint(b.kind, b.scale)
                assert gap > 0.01


def test_a_camera_sees_its_target_in_the_middle() -> None:
    target = np.array([0.2, -0.1, 0.05])
    camera = look_at(target, azimuth=0.7, elevation=0.8, distance=1.1, fovy_deg=45)
    assert camera.project(target, 640, 480) == pytest.approx([320, 240])
    assert camera.to_camera(target)[2] == pytest.approx(1.1)
    assert np.linalg.det(np.asarray(camera.rotation)) == pytest.approx(1.0)


def test_up_in_the_world_is_up_in_the_picture_and_left_is_left() -> None:
    camera = look_at(np.zeros(3), azimuth=-math.pi / 2, elevation=0.6, distance=1.0, fovy_deg=45)
    above, right = camera.project(np.array([[0, 0, 0.1], [0.1, 0, 0]]), 640, 480)
    assert above[1] < 240
    assert right[0] > 320


@pytest.mark.parametrize("kind", KINDS)
def test_meshes_are_sound(kind) -> None:
    low, _ = extent(kind)
    assert low[2] == pytest.approx(0)
    for mesh in meshes(kind):
        assert np.linalg.norm(mesh.normals, axis=1) == pytest.approx(1)
        a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
        across = np.cross(b - a, c - a)
        agreement = (across * mesh.normals[mesh.faces].mean(axis=1)).sum(axis=1)
        assert (agreement > 0).all(), "every face is wound as its normals say"


@pytest.mark.parametrize("kind", KINDS)
def test_patches_cover_the_surface(kind) -> None:
    area = sum(
        np.linalg.norm(np.cross(*(m.vertices[m.faces[:, i]] - m.vertices[m.faces[:, 0]] for i in (1, 2))), axis=1).sum()
        for m in meshes(kind)
    )
    assert np.linalg.norm(patches(kind).normals, axis=1).sum() == pytest.approx(area / 2, rel=1e-6)
