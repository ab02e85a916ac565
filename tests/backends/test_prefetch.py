"""Encoding ahead changes when a picture is encoded, and nothing else."""

import threading

import numpy as np
import pytest

from segzero_ros.answer import Target
from segzero_ros.backends import EngineOptions, open_pipeline
from segzero_ros.backends.fake import FakeReasoner, FakeSegmenter, RaisingSegmenter, centre_answer
from segzero_ros.backends.prefetch import PrefetchingSegmenter
from segzero_ros.bundle import open_bundle, resolve_bundle
from segzero_ros.command import Command
from segzero_ros.errors import Code
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from segzero_ros.reasoner import Answer, Request
from segzero_ros.segmenter import EarlySegmenter

LIMIT_S = 60.0
PROFILE = get_profile("abstaining_v2")


def frame(seed: int = 0) -> Frame:
    return Frame(np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8), seed)


class SlowSegmenter(FakeSegmenter):
    """Encodes when it may, and notes which threads are at it."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()
        self.begun = threading.Event()
        self.threads: list[str] = []
        self._busy = threading.Lock()

    def set_image(self, frame: Frame) -> None:
        assert self._busy.acquire(blocking=False), "two threads at one engine"
        try:
            self.threads.append(threading.current_thread().name)
            self.begun.set()
            assert self.may_go_on.wait(LIMIT_S)
            super().set_image(frame)
        finally:
            self._busy.release()


class ReasonerThatWaits(FakeReasoner):
    """Answers only once the segmenter has begun: proof that both are at work at the same time."""

    def __init__(self, segmenter: SlowSegmenter) -> None:
        super().__init__(centre_answer(PROFILE))
        self._slow = segmenter

    def reason(self, request: Request) -> Answer:
        assert self._slow.begun.wait(LIMIT_S)
        self._slow.may_go_on.set()
        return super().reason(request)


def test_the_picture_is_encoded_while_the_reasoner_speaks_and_once_only() -> None:
    slow = SlowSegmenter()
    pipeline = Pipeline(PROFILE, ReasonerThatWaits(slow), PrefetchingSegmenter(slow))
    picture = frame()
    assert pipeline.ground(picture, Command("1", "mug")).code is Code.OK
    assert pipeline.ground(picture, Command("2", "mug")).code is Code.OK
    assert slow.threads[0] == "segzero-encoder"
    assert slow.encoded == 1


def test_a_picture_begun_for_nothing_does_not_stand_in_for_the_next() -> None:
    segmenter = FakeSegmenter()
    ahead = PrefetchingSegmenter(segmenter)
    assert isinstance(ahead, EarlySegmenter)
    ahead.begin(frame(1))
    ahead.begin(frame(2))
    last = frame(3)
    ahead.set_image(last)
    assert ahead.predict((Target((1.0, 1.0, 9.0, 9.0), ((4.0, 4.0),)),)).masks.shape == (1, 48, 64)
    assert segmenter.encoded == 3


def test_what_fails_while_encoding_ends_the_command_with_its_code_and_the_next_one_works() -> None:
    segmenter = RaisingSegmenter("set_image")
    pipeline = Pipeline(PROFILE, FakeReasoner(centre_answer(PROFILE)), PrefetchingSegmenter(segmenter))
    failed = pipeline.ground(frame(), Command("1", "mug"))
    assert failed.code is Code.SEGMENTER_FAILED
    assert pipeline.ground(frame(), Command("2", "mug")).code is Code.SEGMENTER_FAILED


@pytest.mark.parametrize("ahead", [True, False])
def test_real_engines_find_the_same(ahead: bool) -> None:
    bundle = open_bundle(resolve_bundle("tabletop"))
    options = EngineOptions(threads=1, provider="cpu", encode_ahead=ahead)
    pipeline = open_pipeline(bundle, "onnx", options=options)
    plain = open_pipeline(bundle, "onnx", options=EngineOptions(threads=1, provider="cpu", encode_ahead=False))
    assert isinstance(pipeline.segmenter, EarlySegmenter) is ahead
    for seed in range(3):
        one, other = (each.ground(frame(seed), Command("1", "the mug")) for each in (pipeline, plain))
        assert one.text == other.text
        assert np.array_equal(one.labels, other.labels)
