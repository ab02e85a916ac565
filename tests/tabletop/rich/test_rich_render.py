"""The rich world's pictures: labels, boxes, visible shares and depth are those of what is drawn."""

from dataclasses import replace

import numpy as np
import pytest

from segzero_ros.tabletop.language.holding import can_hold, looks_into
from segzero_ros.tabletop.rich.forms import RICH_KINDS, form
from segzero_ros.tabletop.scene import corners


def test_boxes_pixels_and_points_are_those_of_the_labels(rich_views) -> None:
    for view in rich_views["train"]:
        assert {t.id for t in view.things} == set(np.unique(view.labels)) - {0}
        for thing in view.things:
            rows, columns = np.nonzero(view.labels == thing.id)
            assert thing.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert thing.pixels == len(rows)
            assert view.labels[int(thing.point[1]), int(thing.point[0])] == thing.id


def test_labels_lie_where_the_camera_model_puts_the_things_and_all_are_in_view(rich_views) -> None:
    for view in rich_views["train"]:
        for thing in view.scene.things:
            pixels = view.camera.project(corners(thing), *view.size)
            assert (pixels > -1).all() and (pixels < np.array(view.size) + 1).all()
            if thing.id in {seen.id for seen in view.things}:
                x0, y0, x1, y1 = view.thing(thing.id).box
                low, high = pixels.min(axis=0) - 1, pixels.max(axis=0) + 1
                assert (low <= (x0, y0)).all() and (high >= (x1, y1)).all()


def test_the_visible_share_is_that_of_the_pixels_the_thing_has_alone(rich_renderer, rich_views) -> None:
    hidden = 0
    for view in rich_views["train"][:12]:
        for thing in view.things:
            alone = replace(
                view.scene, things=(replace(view.scene.things[thing.id - 1], id=1),), relations=(), clutter=()
            )
            whole = rich_renderer.render(alone, rgb=False).thing(1)
            share = thing.pixels / whole.pixels
            assert thing.visible == pytest.approx(share * whole.visible, abs=0.1), view.scene.things[thing.id - 1]
            hidden += share < 0.9
    assert hidden > 8


def test_depth_is_that_of_the_table_and_of_the_floor_of_what_one_looks_into(rich_views) -> None:
    """Where the code says that the camera sees the floor of an empty vessel, the drawn depth is that floor's."""
    looked, bare = 0, 0
    for view in [*rich_views["train"], *rich_views["test"]]:
        taken = {(r.anchor, r.how) for r in view.scene.relations}
        clear = {thing.id for thing in view.things if thing.visible > 0.97}
        for thing in view.scene.things:
            for how in ("in", "under"):
                if thing.id not in clear or (thing.id, how) in taken or not can_hold(thing, how):
                    continue
                floor = form(thing.kind, thing.shape).spaces[how].floor * thing.scale[2]
                spot = np.array([*thing.position[:2], floor])
                x, y = view.camera.project(spot, *view.size).astype(int)
                away = view.depth_m[y, x] - view.camera.to_camera(spot)[2]
                if looks_into(thing.id, how, view):
                    looked += 1
                    bare += abs(away) < 0.02
    assert looked > 15
    assert bare >= 0.9 * looked, "a handle or a neighbour may cross the line of sight"


def test_glass_is_seen_through_and_has_its_label_all_the_same(rich_renderer, rich_views) -> None:
    scene = rich_views["train"][0].scene
    thing = replace(scene.things[0], id=1, kind="jug", shape=1, scale=(1.0, 1.0, 1.0), rgb=(0.9, 0.1, 0.1))
    alone = replace(scene, things=(thing,), relations=(), clutter=())
    views = {
        finish: rich_renderer.render(replace(alone, things=(replace(thing, finish=finish),)))
        for finish in ("gloss", "glass")
    }
    empty = rich_renderer.render(replace(alone, things=()))
    assert np.array_equal(views["gloss"].labels, views["glass"].labels)
    inside = views["gloss"].mask(1)
    away = {name: np.abs(view.rgb[inside].astype(int) - empty.rgb[inside]).mean() for name, view in views.items()}
    assert away["glass"] < 0.9 * away["gloss"]


def test_clutter_has_no_label_and_patterns_change_colours_only(rich_renderer, rich_views) -> None:
    view = next(v for v in rich_views["train"] if len(v.scene.clutter) >= 3)
    without = rich_renderer.render(replace(view.scene, clutter=()))
    assert np.array_equal(view.labels, without.labels)
    assert not np.array_equal(view.rgb, without.rgb)
    plain = rich_renderer.render(
        replace(view.scene, things=tuple(replace(t, finish="plain") for t in view.scene.things))
    )
    assert np.array_equal(view.labels, plain.labels)


def test_more_things_than_the_pool_has_patterns_for_is_an_error(rich_renderer, rich_views) -> None:
    scene = rich_views["train"][0].scene
    many = tuple(replace(scene.things[0], id=n) for n in range(1, 22))
    with pytest.raises(ValueError, match="at most 20"):
        rich_renderer.render(replace(scene, things=many))


def test_every_kind_is_drawn_somewhere(rich_views) -> None:
    drawn = {thing.kind for views in rich_views.values() for view in views for thing in view.things}
    assert drawn == set(RICH_KINDS)
