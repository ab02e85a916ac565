"""Moves told by corners: of the camera, of a thing, and of one that something passes before."""

from typing import Any

import cv2
import numpy as np
import pytest

from segzero_ros.frame import Frame
from segzero_ros.tracking.motion import STILL, Motion, growth, move_box, move_picture

SIZE = (320, 240)


def texture(seed: int, size: tuple[int, int]) -> Any:
    """Blocks of 12 pixels whose corners can be followed."""
    small = np.random.default_rng(seed).integers(0, 255, (size[1] // 12, size[0] // 12, 3), np.uint8)
    return cv2.GaussianBlur(cv2.resize(small, size, interpolation=cv2.INTER_NEAREST), (5, 5), 0)


def scene(camera: Any, thing: tuple[int, int], arm: tuple[int, int] | None = None) -> Frame:
    """A background moved by the camera, a thing of 48 pixels at (x, y), and what passes before it."""
    rgb = cv2.warpAffine(texture(1, SIZE), camera, SIZE, borderMode=cv2.BORDER_REFLECT)
    for place, (x, y) in enumerate(one for one in (thing, arm) if one is not None):
        rgb[y : y + 48, x : x + 48] = texture(2 + place, (48, 48))
    return Frame(rgb, 0)


def mask_at(x: int, y: int) -> Any:
    mask = np.zeros((SIZE[1], SIZE[0]), bool)
    mask[y : y + 48, x : x + 48] = True
    return mask


def moved(before: Frame, after: Frame, mask: Any) -> Any:
    motion = Motion()
    motion.start(before)
    return motion.step(after, [mask])


def test_camera_and_thing_move_each_on_their_own() -> None:
    pan = np.array([[1.0, 0, 5], [0, 1, -3]])
    moves = moved(scene(STILL, (100, 90)), scene(pan, (97, 92)), mask_at(100, 90))
    assert moves.camera == pytest.approx(pan, abs=0.2)
    assert move_box(np.array([100.0, 90, 148, 138]), moves.things[0]) == pytest.approx([97, 92, 145, 140], abs=0.5)
    assert moves.support[0] > 0.4


def test_a_zoom_is_told_as_growth() -> None:
    zoom = np.array([[1.06, 0, -10], [0, 1.06, -7]])
    background = Frame(texture(1, SIZE), 0)
    nearer = Frame(cv2.warpAffine(background.rgb, zoom, SIZE, borderMode=cv2.BORDER_REFLECT), 0)
    moves = moved(background, nearer, mask_at(100, 90))
    assert growth(moves.camera) == pytest.approx(1.06**2, abs=0.02)
    assert growth(moves.things[0]) == pytest.approx(1.06**2, abs=0.03)


def test_a_still_thing_does_not_go_with_what_passes_before_it() -> None:
    before, after = scene(STILL, (100, 90), (70, 90)), scene(STILL, (100, 90), (78, 90))
    moves = moved(before, after, mask_at(100, 90))
    assert np.abs(move_box(np.array([100.0, 90, 148, 138]), moves.things[0]) - [100, 90, 148, 138]).max() < 1


def test_a_thing_without_corners_goes_with_the_camera_and_nothing_supports_that() -> None:
    pan = np.array([[1.0, 0, 4], [0, 1, 0]])
    plain = [scene(move, (100, 90)).rgb.copy() for move in (STILL, pan)]
    for rgb in plain:
        rgb[60:170, 70:190] = 128
    moves = moved(*(Frame(rgb, 0) for rgb in plain), mask_at(100, 90))  # type: ignore[misc]
    assert moves.things[0] == pytest.approx(pan, abs=0.3)
    assert moves.support[0] == 0


def test_moves_are_in_pixels_of_a_large_frame_too() -> None:
    large = (1280, 960)
    pan = np.array([[1.0, 0, 5], [0, 1, -3]])
    one, other = (
        Frame(cv2.resize(scene(camera, (100, 90)).rgb, large, interpolation=cv2.INTER_LINEAR), 0)
        for camera in (STILL, pan)
    )
    assert moved(one, other, np.zeros((960, 1280), bool)).camera[:, 2] == pytest.approx([20, -12], abs=1)


def test_nothing_has_moved_before_there_is_a_last_frame_or_when_the_size_changed() -> None:
    motion, frame = Motion(), scene(STILL, (100, 90))
    for now in (frame, Frame(np.ascontiguousarray(frame.rgb[:200]), 0)):
        moves = motion.step(now, [mask_at(100, 90)[: now.size[1]]])
        assert np.array_equal(moves.camera, STILL)
        assert moves.support[0] == 0


def test_a_moved_picture_is_cut_off_at_the_border() -> None:
    mask = np.asarray(mask_at(290, 90)[:, :320].view(np.uint8) * 255, np.uint8)
    moved_on = move_picture(mask, np.array([[1.0, 0, 20], [0, 1, 0]]))
    assert moved_on.shape == mask.shape
    assert (moved_on > 127).sum() == 10 * 48
