"""What is followed, in this process and behind the border: the same ids, masks and refusals."""

import os
import signal
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from segzero_ros.backends.fake import FakeReasoner, FakeSegmenter
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.matching import inner_point
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from segzero_ros.segmenter import Tracker
from tests.host.conftest import until
from tests.host.test_contract import behind_the_border, here
from tests.tracking.blobs import COLOURS, ColourTracker, mask_of, picture

MakeTracker = Callable[..., Tracker]
Inner = list[ColourTracker]


@pytest.fixture
def inner() -> Inner:
    """The trackers that the engines have made."""
    return []


@pytest.fixture(params=[here, behind_the_border], ids=["in_process", "process"])
def tracker(request: pytest.FixtureRequest, inner: Inner) -> Iterator[Tracker]:
    def make() -> ColourTracker:
        inner.append(ColourTracker())
        return inner[-1]

    engines = Pipeline(get_profile("abstaining_v2"), FakeReasoner(), FakeSegmenter(), make_tracker=make)
    pipeline, end = request.param(engines)
    yield pipeline.new_tracker()
    end()


def masks(frame, *names):  # type: ignore[no-untyped-def]
    return np.stack([mask_of(frame, COLOURS[name]) for name in names])


def test_objects_are_found_in_later_frames_by_their_ids(tracker: Tracker) -> None:
    first = picture({"red": (5, 5), "blue": (40, 8)})
    assert tracker.start(first, masks(first, "red", "blue")) == (1, 2)
    for step in range(1, 12):  # more than there are slots of shared memory
        frame = picture({"red": (5 + step, 5), "blue": (40, 8 + step)}, step)
        tracks = tracker.step(frame)
        assert tracks.ids == (1, 2)
        assert np.array_equal(tracks.masks, masks(frame, "red", "blue"))
        assert tracks.presence.tolist() == tracks.scores.tolist() == [1.0, 1.0]
        assert tracks.points in (None, tuple(inner_point(mask) for mask in tracks.masks))
    assert (tracks.points is None) == isinstance(tracker, ColourTracker)
    assert tracker.kind == "memory"


def test_what_is_not_there_has_an_empty_mask_and_no_presence(tracker: Tracker) -> None:
    first = picture({"red": (5, 5), "blue": (40, 8)})
    tracker.start(first, masks(first, "red", "blue"))
    tracks = tracker.step(picture({"blue": (40, 8)}))
    assert not tracks.masks[0].any()
    assert tracks.masks[1].any()
    assert tracks.presence.tolist() == [0.0, 1.0]
    assert tracks.points in (None, ((0.0, 0.0), inner_point(tracks.masks[1])))


def test_an_object_can_join_later_and_another_be_forgotten(tracker: Tracker) -> None:
    first = picture({"red": (5, 5)})
    tracker.start(first, masks(first, "red"))
    second = picture({"red": (6, 5), "blue": (40, 8)})
    tracker.step(second)
    assert tracker.start(second, masks(second, "blue")) == (2,)
    tracker.forget(1)
    tracker.forget(99)
    assert tracker.step(second).ids == (2,)


def test_a_frame_of_another_size_is_followed_on(tracker: Tracker) -> None:
    first = picture({"red": (5, 5)})
    tracker.start(first, masks(first, "red"))
    large = picture({"red": (150, 90)}, size=(640, 480))
    assert np.array_equal(tracker.step(large).masks, masks(large, "red"))


@pytest.mark.parametrize("wrong", ["empty", "size", "many"])
def test_what_cannot_be_followed_is_refused_with_its_code(tracker: Tracker, wrong: str) -> None:
    frame = picture({"red": (5, 5)})
    given = {
        "empty": np.zeros((1, 64, 96), bool),
        "size": np.ones((1, 10, 10), bool),
        "many": np.repeat(masks(frame, "red"), 17, axis=0),
    }[wrong]
    with pytest.raises(RejectedInput) as refused:
        tracker.start(frame, given)
    assert refused.value.code is Code.TRACK_REFUSED
    assert tracker.start(frame, masks(frame, "red")) == (1,)


def test_engines_that_fail_are_a_code_and_the_next_frame_has_its_turn(tracker: Tracker, inner: Inner) -> None:
    first = picture({"red": (5, 5)})
    tracker.start(first, masks(first, "red"))

    def fail() -> None:
        raise MemoryError("out of it")

    inner[0].on_step = fail
    if isinstance(tracker, ColourTracker):
        return  # in this process it is the caller's to catch; see the worker
    with pytest.raises(RejectedInput) as refused:
        tracker.step(first)
    assert refused.value.code is Code.SEGMENTER_FAILED
    inner[0].on_step = lambda: None
    assert tracker.step(first).ids == (1,)


def test_a_killed_host_ends_what_it_followed_and_a_new_tracker_is_of_the_next_one(make_pipeline) -> None:  # type: ignore[no-untyped-def]
    pipeline = make_pipeline()
    until(lambda: pipeline.state().phase == "ready", "the engines to open")
    frame = picture({"red": (50, 50)}, size=(320, 240))
    tracker = pipeline.new_tracker()
    tracker.start(frame, masks(frame, "red"))
    os.kill(pipeline.state().pid, signal.SIGKILL)

    def lost() -> bool:
        try:
            tracker.step(frame)
        except RejectedInput as error:
            return error.code is Code.REASONER_DIED
        return False

    until(lost, "the end of what was followed")
    again = pipeline.new_tracker()
    assert again.start(frame, masks(frame, "red")) == (1,)
    assert again.step(frame).ids == (1,)
