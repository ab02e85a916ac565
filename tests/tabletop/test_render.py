"""The renderer: picture, labels, depth and camera agree with each other."""

from dataclasses import replace

import numpy as np
import pytest

from segzero_ros.tabletop import NoOpenGLError, Renderer, gl, sample_scene
from segzero_ros.tabletop.scene import Thing, corners, rotation_of
from segzero_ros.tabletop.things import patches
from segzero_ros.tabletop.view import inner_point


def test_the_same_scene_gives_the_same_picture(renderer) -> None:
    scene = sample_scene(4, "train")
    first = renderer.render(scene)
    renderer.render(sample_scene(9, "train"))
    again = renderer.render(scene)
    assert np.array_equal(first.rgb, again.rgb)
    assert np.array_equal(first.labels, again.labels)


def test_pictures_are_pictures(train_views) -> None:
    for view in train_views:
        assert view.rgb.shape == (240, 320, 3)
        assert view.rgb.flags.c_contiguous
        assert view.rgb.std() > 15


def test_boxes_pixels_and_points_are_those_of_the_labels(train_views) -> None:
    for view in train_views:
        assert {t.id for t in view.things} == set(np.unique(view.labels)) - {0}
        for thing in view.things:
            rows, columns = np.nonzero(view.labels == thing.id)
            assert thing.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert thing.pixels == len(rows)
            assert view.labels[int(thing.point[1]), int(thing.point[0])] == thing.id


def test_things_are_listed_left_to_right(train_views) -> None:
    for view in train_views:
        assert [t.box[0] for t in view.things] == sorted(t.box[0] for t in view.things)


def test_labels_lie_where_the_camera_model_puts_the_things(train_views) -> None:
    for view in train_views:
        for thing in view.scene.things:
            if not any(seen.id == thing.id for seen in view.things):
                continue
            pixels = view.camera.project(corners(thing), *view.size)
            x0, y0, x1, y1 = view.thing(thing.id).box
            assert x0 >= pixels[:, 0].min() - 1
            assert y0 >= pixels[:, 1].min() - 1
            assert x1 <= pixels[:, 0].max() + 1
            assert y1 <= pixels[:, 1].max() + 1


def middle_of_surface(thing: Thing) -> np.ndarray:
    points = patches(thing.kind).centres * thing.scale
    return (points @ rotation_of(thing.quaternion).T + thing.position).mean(axis=0)


def test_intrinsics_and_pose_take_a_thing_onto_its_mask(train_views) -> None:
    checked = 0
    for view in train_views:
        whole = {seen.id for seen in view.things if seen.visible > 0.95}
        for thing in view.scene.things:
            if thing.kind in ("ball", "can", "box", "book") and thing.id in whole:
                ray = view.intrinsics @ view.camera.to_camera(middle_of_surface(thing))
                x, y = np.round(ray[:2] / ray[2]).astype(int)
                assert view.labels[y, x] == thing.id
                checked += 1
    assert checked > 20


def test_depth_is_metres_along_the_optical_axis(renderer) -> None:
    view = renderer.render(replace(sample_scene(3, "train")), depth=True)
    rows, columns = np.mgrid[0:240:8, 0:320:8]
    rays = np.linalg.inv(view.intrinsics) @ np.stack([columns.ravel(), rows.ravel(), np.ones(rows.size)])
    points = (rays * view.depth_m[rows.ravel(), columns.ravel()]).T @ np.asarray(view.camera.rotation).T
    height = points[:, 2] + view.camera.position[2]
    inside = np.all(
        np.abs(points[:, :2] + np.asarray(view.camera.position[:2])) < 0.95 * np.asarray(view.scene.room.table_size),
        axis=1,
    )
    table = (view.labels[rows.ravel(), columns.ravel()] == 0) & inside
    assert table.sum() > 100
    assert np.abs(height[table]).max() < 0.003, "the table's top is z = 0"


def test_without_rgb_the_truth_is_the_same(renderer) -> None:
    scene = sample_scene(8, "train")
    assert np.array_equal(renderer.render(scene, rgb=False).labels, renderer.render(scene).labels)


def test_the_visible_share_knows_what_is_hidden(renderer) -> None:
    scene = sample_scene(3, "train", count=2)
    near, far = scene.things
    towards = np.asarray(scene.camera.position) * [1, 1, 0]
    away = -towards / np.linalg.norm(towards)
    hidden = replace(scene, things=(replace(near, position=(0, 0, 0)), replace(far, position=(*(0.12 * away)[:2], 0))))
    alone = renderer.render(replace(hidden, things=(replace(hidden.things[1], id=1),)), rgb=False).thing(1)
    behind = {t.id: t for t in renderer.render(hidden, rgb=False).things}.get(2)
    share = behind.pixels / alone.pixels if behind else 0.0
    assert (behind.visible if behind else 0.0) == pytest.approx(share * alone.visible, abs=0.08)
    assert share < 0.95


def test_any_size_shows_the_same_scene(train_views) -> None:
    with Renderer(640, 480) as large:
        view = large.render(train_views[0].scene)
    assert view.size == (640, 480)
    for thing in train_views[0].things:
        assert np.asarray(view.thing(thing.id).box) / 2 == pytest.approx(thing.box, abs=1.5)


def test_more_of_a_kind_than_the_pool_holds_is_an_error(renderer) -> None:
    scene = sample_scene(3, "train")
    many = tuple(replace(scene.things[0], id=i) for i in range(1, 5))
    with pytest.raises(ValueError, match="more than 3"):
        renderer.render(replace(scene, things=many))


def test_without_opengl_the_error_names_the_packages(monkeypatch) -> None:
    monkeypatch.setattr(gl.ctypes.util, "find_library", lambda name: None)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    with pytest.raises(NoOpenGLError, match=r"egl: .*osmesa: .*\n.*libegl1 libgl1-mesa-dri"):
        gl.open_context(64, 64)


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (40, 3), (25, 31)])
def test_the_inner_point_is_inside(shape) -> None:
    mask = np.random.default_rng(1).random(shape) < 0.7
    mask[0, 0] = True
    x, y = inner_point(mask)
    assert mask[int(y), int(x)]


def test_the_inner_point_of_a_ring_is_on_the_ring() -> None:
    y, x = np.mgrid[:41, :41] - 20
    ring = (np.hypot(x, y) < 20) & (np.hypot(x, y) > 10)
    px, py = inner_point(ring)
    assert 12 < np.hypot(px - 20.5, py - 20.5) < 18
