"""Things are placed where they are and as large as they are; phantoms are refused with their reason."""

import math

import numpy as np
import pytest

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.place import Limits, Placed, Reason, Refusal, place
from tests.place import scenes

SIZE = (0.12, 0.06, 0.05)


def one(labels, depth, **options):
    return place(labels, 1, depth, scenes.INTRINSICS, **options)[0]


def yaw_of(placed):
    way = scenes.DOWN @ placed.box.axes[:, 0]
    return math.degrees(math.atan2(way[1], way[0])) % 180


@pytest.mark.parametrize("degrees", [0, 25, 60, 90, 140])
def test_a_block_is_found_with_its_size_its_turn_and_its_own_middle(degrees):
    placed = one(*scenes.block(SIZE, math.radians(degrees)))
    assert scenes.to_world(placed.box.centre) == pytest.approx([0, 0.5, SIZE[2] / 2], abs=0.004)
    assert placed.box.size == pytest.approx(SIZE, abs=0.006)
    assert abs((yaw_of(placed) - degrees + 90) % 180 - 90) < 3
    assert not placed.box.round
    assert scenes.DOWN @ placed.box.axes[:, 2] == pytest.approx([0, 0, 1], abs=0.01)
    assert np.linalg.det(placed.box.axes) == pytest.approx(1)


def test_the_hidden_back_of_a_round_thing_is_completed():
    placed = one(*scenes.cylinder(0.07, 0.14))
    assert placed.box.round
    assert scenes.to_world(placed.box.centre) == pytest.approx([0, 0.5, 0.07], abs=0.004)
    assert placed.box.size == pytest.approx([0.07, 0.07, 0.14], abs=0.005)
    seen = np.array([scenes.to_world(point) for point in placed.cloud.points]).mean(axis=0)
    assert seen[1] < 0.49, "the visible points alone lie nearer to the camera than the middle"


def test_millimetres_give_what_metres_give():
    labels, depth = scenes.block(SIZE)
    metres, millimetres = one(labels, depth), one(labels, np.round(depth * 1000).astype(np.uint16))
    assert millimetres.box.centre == pytest.approx(metres.box.centre, abs=0.002)
    assert millimetres.box.size == pytest.approx(metres.box.size, abs=0.004)


def test_the_same_picture_gives_the_same_box():
    labels, depth = scenes.block(SIZE, 0.3)
    first, second = one(labels, depth), one(labels, depth)
    assert (first.box.centre == second.box.centre).all()
    assert (first.box.size == second.box.size).all()


def test_flying_pixels_and_what_lies_behind_do_not_enlarge_the_box():
    labels, depth = scenes.block(SIZE)
    rows, columns = np.nonzero(labels)
    depth[-30:] += 0  # the table stays
    edge = columns == columns.max()
    wide = labels.copy()
    wide[rows[edge], columns[edge] + 1] = wide[rows[edge], columns[edge] + 2] = 1  # a mask two pixels too wide
    behind = depth.copy()
    behind[:, columns.max() + 1 :] += 0.4  # and there the table ends
    behind[rows[edge], columns[edge] + 1] += -0.2  # half way: a mixed pixel
    placed = one(wide, behind)
    assert placed.box.size == pytest.approx(SIZE, abs=0.006)


def test_many_objects_have_each_their_own_place():
    (left, near), (right, far) = (scenes.block((0.05, 0.05, 0.05), middle=(x, 0.5)) for x in (-0.1, 0.1))
    placed = place(np.where(right, 2, left).astype(np.uint8), 2, np.minimum(near, far), scenes.INTRINSICS)
    assert [round(float(one.box.centre[0]), 2) for one in placed] == [-0.1, 0.1]


# ---- phantoms ----


def reason(result):
    assert isinstance(result, Refusal), result
    return result.reason


def test_a_picture_printed_on_the_table_is_flat():
    labels, _ = scenes.block(SIZE)
    assert reason(one(labels, scenes.table())) is Reason.FLAT


def test_noise_does_not_give_a_flat_phantom_height():
    labels, _ = scenes.block(SIZE)
    depth = scenes.table()
    depth += np.random.default_rng(3).normal(0, 0.003, depth.shape).astype(np.float32)
    assert reason(one(labels, depth)) is Reason.FLAT


def test_without_depth_there_is_no_place():
    labels, depth = scenes.block(SIZE)
    depth[labels > 0] = np.nan
    assert reason(one(labels, depth)) is Reason.NO_DEPTH
    assert reason(one(np.zeros_like(labels), depth)) is Reason.NO_DEPTH


def test_a_handful_of_points_is_refused():
    labels, depth = scenes.block((0.006, 0.006, 0.05))
    assert reason(one(labels, depth)) is Reason.FEW_POINTS


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(max_size=0.1), Reason.TOO_LARGE),
        (Limits(min_size=0.2), Reason.TOO_SMALL),
        (Limits(max_distance=0.5), Reason.TOO_FAR),
        (Limits(min_height=0.06), Reason.FLAT),
    ],
)
def test_a_thing_outside_of_a_limit_is_refused_and_says_which(limits, expected):
    refusal = one(*scenes.block(SIZE), limits=limits)
    assert reason(refusal) is expected
    assert str(refusal).startswith(f"{expected.value}: ")
    assert "want" in refusal.detail


def test_what_floats_before_nothing_has_no_plane():
    labels, depth = scenes.block(SIZE)
    depth[labels == 0] = np.nan
    assert reason(one(labels, depth)) is Reason.NO_PLANE


def test_depth_of_another_size_or_kind_is_refused():
    labels, depth = scenes.block(SIZE)
    for bad in (depth[:100], depth.astype(np.int32)):
        with pytest.raises(RejectedInput) as refused:
            one(labels, bad)
        assert refused.value.code is Code.DEPTH_UNUSABLE


# ---- grasps ----


def test_a_block_is_taken_from_above_across_its_shorter_side():
    placed = one(*scenes.block(SIZE, 0.5))
    best = placed.grasps[0]
    assert best.kind == "top"
    assert abs(best.axes[:, 0] @ placed.box.axes[:, 1]) == pytest.approx(1, abs=1e-6)
    assert best.axes[:, 2] == pytest.approx(-placed.plane.normal, abs=1e-6)
    assert 0.06 < best.width < 0.08
    assert 0 < best.score <= 1
    world = scenes.to_world(best.position)
    assert world[:2] == pytest.approx([0, 0.5], abs=0.004)
    assert 0 < world[2] < SIZE[2]


def test_no_grasp_is_wider_than_the_gripper_opens():
    scene = scenes.block(SIZE)
    assert all(grasp.width <= 0.1 for grasp in one(*scene, opening=0.1).grasps)
    assert one(*scene, opening=0.03).grasps == ()
    assert one(*scenes.cylinder(0.09, 0.14), opening=0.08).grasps == (), "not by its front alone"


def test_a_cylinder_is_also_taken_from_the_side_across_it():
    placed = one(*scenes.cylinder(0.06, 0.14))
    kinds = [grasp.kind for grasp in placed.grasps]
    assert kinds == sorted(kinds, reverse=True), "from above first"
    assert all(grasp.width > 0.055 for grasp in placed.grasps), "the fingers pass the widest part"
    side = next(grasp for grasp in placed.grasps if grasp.kind == "side")
    assert abs((scenes.DOWN @ side.axes[:, 0])[0]) > 0.9, "the fingers close across the view"
    assert np.linalg.det(side.axes) == pytest.approx(1)
    assert isinstance(placed, Placed)
    assert np.linalg.eigvalsh(placed.covariance).min() > 0
