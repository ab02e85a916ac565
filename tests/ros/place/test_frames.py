"""Frames are joined as /tf says at the moment asked for, and where it does not say, that is said."""

import math

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped

from segzero_ros.ros.place.frames import (
    HOLD_NS,
    KEPT,
    MAX_FRAMES,
    NoTransformError,
    Transforms,
    quaternion_of,
    rotation_of,
)

SECOND = 1_000_000_000


def transform(parent, child, *, at=0.0, shift=(0.0, 0.0, 0.0), yaw=0.0):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp.sec, message.header.stamp.nanosec = int(at), round(at % 1 * 1e9)
    message.transform.translation.x, message.transform.translation.y, message.transform.translation.z = shift
    message.transform.rotation.z, message.transform.rotation.w = math.sin(yaw / 2), math.cos(yaw / 2)
    return message


def moved(way, point=(0.0, 0.0, 0.0)):
    return way.rotation @ np.array(point) + way.shift


def test_a_moving_frame_is_interpolated_between_its_moments():
    frames = Transforms()
    frames.add(
        [transform("base", "arm", at=1, shift=(1, 0, 0)), transform("base", "arm", at=2, shift=(3, 0, 0), yaw=1)]
    )
    way = frames.look_up("base", "arm", round(1.5 * SECOND))
    assert way.shift == pytest.approx([2, 0, 0])
    assert math.atan2(way.rotation[1, 0], way.rotation[0, 0]) == pytest.approx(0.5)


def test_frames_of_different_branches_are_joined_where_their_ways_meet():
    frames = Transforms()
    frames.add([transform("base", "arm", shift=(1, 0, 0), yaw=math.pi / 2)], fixed=True)
    frames.add([transform("arm", "/camera", shift=(0, 2, 0))], fixed=True)
    frames.add([transform("base", "map_point", shift=(0, 0, 5))], fixed=True)
    assert moved(frames.look_up("map_point", "camera", 7)) == pytest.approx([-1, 0, -5])
    back = frames.look_up("camera", "map_point", 7)
    assert moved(back, (-1, 0, -5)) == pytest.approx([0, 0, 0], abs=1e-9)


@pytest.mark.parametrize(
    ("target", "stamp", "says"),
    [
        ("world", 1.0, "does not join 'arm' and 'world'"),
        ("base", 1.0 + 2 * HOLD_NS / SECOND, "nothing of 'arm' within 100 ms"),
        ("base", 0.5, "nothing of 'arm' within 100 ms"),
    ],
)
def test_what_is_not_known_is_said(target, stamp, says):
    frames = Transforms()
    frames.add([transform("base", "arm", at=1)])
    with pytest.raises(NoTransformError, match=says):
        frames.look_up(target, "arm", round(stamp * SECOND))


def test_a_loop_ends():
    frames = Transforms()
    frames.add([transform("a", "b"), transform("b", "a"), transform("a", "a")], fixed=True)
    with pytest.raises(NoTransformError):
        frames.look_up("c", "a", 0)


def test_what_is_no_transform_is_passed_over():
    frames = Transforms()
    broken = transform("base", "arm")
    broken.transform.rotation.z = broken.transform.rotation.w = 0.0
    frames.add([transform("base", "arm", shift=(math.nan, 0, 0)), broken, transform("", "arm"), transform("base", "")])
    with pytest.raises(NoTransformError):
        frames.look_up("base", "arm", 0)


def test_the_buffer_is_bounded_whatever_comes():
    frames = Transforms()
    frames.add(transform("base", "arm", at=k / 1000) for k in range(2 * KEPT))
    frames.add(transform("base", f"frame{k}") for k in range(2 * MAX_FRAMES))
    assert len(frames._tracks) == MAX_FRAMES
    assert len(frames._tracks["arm"]._stamps) == KEPT
    assert frames.look_up("base", "arm", 2 * SECOND - 1).shift == pytest.approx([0, 0, 0])


def test_quaternions_and_rotations_are_each_others_inverse():
    for quaternion in np.random.default_rng(5).normal(size=(200, 4)):
        unit = quaternion / np.linalg.norm(quaternion) * np.sign(quaternion[3])
        assert quaternion_of(rotation_of(quaternion)) == pytest.approx(unit, abs=1e-9)
    half = np.diag([1.0, -1.0, -1.0])  # by 180 degrees
    assert rotation_of(quaternion_of(half)) == pytest.approx(half, abs=1e-9)
