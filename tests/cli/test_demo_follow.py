"""The demo's last act: which thing is followed, and what is said of it."""

import json

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from segzero_ros.demo.follow import Followed, sentence, to_follow, write_following
from segzero_ros.errors import Code
from tests.cli.test_demo_report import found, stale


def frame(iou, now, *, code=Code.OK, hidden=False):
    return Followed(np.zeros((48, 64, 3), np.uint8), code, iou, now, hidden)


def test_the_first_thing_that_was_found_rightly_is_followed_not_the_best():
    outcomes = [stale(1), found(2), found(3)]
    assert to_follow(outcomes) is outcomes[1]
    assert to_follow([stale(1)]) is None


def test_hidden_frames_are_told_apart_and_do_not_count():
    frames = [frame(0.9, 0.8), frame(0.3, 0.2), frame(None, None, code=Code.TRACK_HIDDEN, hidden=True)]
    said = sentence("the mug", frames)
    assert "3 frames, hidden in 1" in said
    assert "mean IoU 0.60" in said and "0.50 with that of now" in said and "on it in 50 %" in said


def test_nothing_to_compare_is_said():
    assert "nothing to compare" in sentence("the mug", [])


def test_animation_and_figures_are_written(tmp_path):
    (animation,) = write_following("the mug", [frame(0.9, 0.8), frame(None, None, hidden=True)], tmp_path)
    assert animation.read_bytes().startswith(b"GIF8")
    rows = json.loads((tmp_path / "following.json").read_text())["frames"]
    assert rows[0] == {"code": "OK", "iou": 0.9, "now": 0.8, "hidden": False}
    assert write_following("the mug", [], tmp_path) == []
