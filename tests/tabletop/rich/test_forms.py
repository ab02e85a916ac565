"""Every form of the rich world is a sound mesh that stands on the table, with room for others where it says so."""

import numpy as np
import pytest

from segzero_ros.tabletop.rich.finish import FINISHES, GLOSS, paint
from segzero_ros.tabletop.rich.forms import CLUTTER, RICH_KINDS, SHAPES, clutter, extent_of, form, patches_of
from segzero_ros.tabletop.rich.palette import PALETTES, RICH_COLOURS, RICH_HELD_OUT
from segzero_ros.tabletop.rich.pool import wrap
from segzero_ros.tabletop.things import HELD_OUT, KINDS


def check_sound(mesh) -> None:
    assert np.linalg.norm(mesh.normals, axis=1) == pytest.approx(1)
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    agreement = (np.cross(b - a, c - a) * mesh.normals[mesh.faces].mean(axis=1)).sum(axis=1)
    assert (agreement > 0).all(), "every face is wound as its normals say"
    around = wrap(mesh).reshape(-1, 3, 2)
    assert np.ptp(around[..., 0], axis=1).max() <= 1, "no face runs backwards around the seam"


@pytest.mark.parametrize("kind", RICH_KINDS)
def test_meshes_are_sound_and_stand_on_the_table(kind) -> None:
    for shape in range(SHAPES):
        low, high = extent_of(kind, shape)
        assert low[2] == pytest.approx(0, abs=1e-6)
        assert 0.005 < high[2] < 0.4
        for mesh in form(kind, shape).meshes:
            check_sound(mesh)
        assert len(patches_of(kind, shape).centres) == 250


@pytest.mark.parametrize("name", CLUTTER)
def test_clutter_is_sound_and_small(name) -> None:
    for mesh in clutter(name):
        check_sound(mesh)
        assert mesh.vertices[:, 2].min() >= 0 and np.abs(mesh.vertices).max() < 0.1


def test_the_five_shapes_of_a_kind_differ() -> None:
    for kind in RICH_KINDS:
        sizes = [tuple(np.round(extent_of(kind, shape), 4).ravel()) for shape in range(SHAPES)]
        assert len(set(sizes)) == SHAPES, kind


def test_room_is_within_the_form() -> None:
    rooms = [(kind, shape, how) for kind in RICH_KINDS for shape in range(SHAPES) for how in form(kind, shape).spaces]
    assert {how for _, _, how in rooms} == {"in", "on", "under"}
    for kind, shape, how in rooms:
        space, (low, high) = form(kind, shape).spaces[how], extent_of(kind, shape)
        assert 0 <= space.floor <= high[2] + 1e-9
        assert space.half[0] <= high[0] + 1e-9 and space.half[1] <= min(high[1], -low[1]) + 1e-9
        assert np.isinf(space.height) == (how == "on")


def test_every_kind_has_colours_and_finishes_and_the_simple_worlds_are_among_them() -> None:
    assert set(KINDS) < set(RICH_KINDS)
    assert RICH_HELD_OUT > HELD_OUT
    for kind in RICH_KINDS:
        assert set(FINISHES[kind]) <= set(GLOSS)
        assert {colour for colour in PALETTES[kind] if (colour, kind) not in RICH_HELD_OUT}
    assert {colour for colours in PALETTES.values() for colour in colours} == set(RICH_COLOURS)
    assert all(colour in PALETTES[kind] or kind in KINDS for colour, kind in RICH_HELD_OUT)


@pytest.mark.parametrize("finish", GLOSS)
def test_a_pattern_is_the_same_for_the_same_seed_and_mostly_of_its_colour(finish) -> None:
    rgb, accent = (0.8, 0.1, 0.1), (0.95, 0.95, 0.9)
    first = paint(finish, rgb, accent, 3)
    if first is None:
        assert finish in ("plain", "gloss", "glass")
        return
    assert np.array_equal(first, paint(finish, rgb, accent, 3))
    shares = [np.mean(paint(finish, rgb, accent, seed)[..., 1] < 130) for seed in range(6)]
    assert min(shares) > 0.5, "a red thing with white stripes is red"
