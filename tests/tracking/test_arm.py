"""The demo bundle follows what the demo's launch shows through its arm's passing: grey before grey."""

import numpy as np
import pytest

from segzero_ros.backends import EngineOptions, open_segmenter
from segzero_ros.backends.tracker import make_tracker
from segzero_ros.bundle import open_bundle, resolve_bundle
from segzero_ros.frame import Frame
from segzero_ros.matching import mask_iou
from segzero_ros.tabletop.scenarios import LiveWorld

SEED, START_S, RATE_HZ = 44, 6.0, 6  # the launch's table


@pytest.mark.parametrize("name", ["white mug"])
def test_the_arm_does_not_take_a_followed_thing_along(name: str) -> None:
    tracker = make_tracker(open_segmenter("onnx", open_bundle(resolve_bundle("tabletop")), EngineOptions(threads=1)))
    with LiveWorld("demo", SEED) as world:
        view = world.step(START_S)
        thing = next(one for one in view.things if f"{one.colour} {one.kind}" == name)
        tracker.start(Frame(view.rgb, 0), (view.labels == thing.id)[None])
        world.wave()
        ious, strays = [], []
        for step in range(1, 7 * RATE_HZ):
            view = world.step(START_S + step / RATE_HZ)
            told, truth = tracker.step(Frame(view.rgb, step)).masks[0], view.labels == thing.id
            ious.append(mask_iou(told, truth) if truth.sum() > 500 else np.nan)
            strays.append(told.sum() > 0 and _apart(told, truth) > 60 if truth.sum() > 500 else False)
    assert np.isnan(ious).any(), "the arm hides it"
    assert not any(strays)
    assert np.nanmean(ious) > 0.75
    assert np.mean(ious[-6:]) > 0.85


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """Pixels between the middles of two masks."""
    return float(np.hypot(*(np.argwhere(one).mean(axis=0) - np.argwhere(other).mean(axis=0))))
