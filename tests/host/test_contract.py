"""One contract both ways: a pipeline in this process, and the same engines behind socket and shared memory.

The host's end runs in a thread here, so that any fake can be its engines; that it is a process of its own elsewhere
changes nothing of what crosses the border.
"""

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from segzero_ros.answer import Target
from segzero_ros.backends.fake import (
    FakeReasoner,
    FakeSegmenter,
    GarbageReasoner,
    RaisingEarlySegmenter,
    RaisingReasoner,
    RaisingSegmenter,
    WrongMasksSegmenter,
    WrongTypeReasoner,
    centre_answer,
)
from segzero_ros.command import Command, Stage
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.host.messages import Open
from segzero_ros.host.pipeline import HostPipeline
from segzero_ros.host.process import Started
from segzero_ros.host.room import Room
from segzero_ros.host.server import Server
from segzero_ros.pipeline import Pipeline, Segmentation
from segzero_ros.profile import get_profile
from segzero_ros.reasoner import Answer
from tests.host.conftest import LIMIT_S, until

COMMAND = Command("7", "the red mug")
FRAME = Frame(np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8), 123, "camera")
PROFILE = get_profile("abstaining_v2")
THINKS = "<think>" + "well, " * 500
THREE = ",".join(f'{{"bbox_2d":[0,0,{right},840],"point_2d":[9,9]}}' for right in (300, 600, 840))
Make = Callable[..., Any]


def here(pipeline: Pipeline, **_options: Any) -> tuple[Pipeline, Callable[[], None]]:
    return pipeline, lambda: None


def behind_the_border(pipeline: Pipeline, **options: Any) -> tuple[HostPipeline, Callable[[], None]]:
    room = Room(lambda wanted: (wanted.bundle, "0" * 64, pipeline))
    ours, theirs = socket.socketpair()
    server = Server(room, owner=theirs)
    thread = threading.Thread(target=server.run)
    thread.start()
    hosted = HostPipeline(lambda: Started(ours), Open("fakes", "fake", {}, False), **options)

    def end() -> None:
        hosted.close()
        thread.join(LIMIT_S)
        assert not thread.is_alive()

    until(lambda: hosted.state().phase == "ready", "the engines to open")
    return hosted, end


@pytest.fixture(params=[here, behind_the_border], ids=["in_process", "process"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """``make(reasoner, segmenter, budget=, label=)``: the pipeline, this way and the other."""
    ends = []

    def make(reasoner: Any = None, segmenter: Any = None, **options: Any) -> Any:
        engines = Pipeline(PROFILE, reasoner or FakeReasoner(), segmenter or FakeSegmenter(), **options)
        pipeline, end = request.param(engines, **options)
        ends.append(end)
        return pipeline

    yield make
    for end in ends:
        end()


def ground(pipeline: Any, **options: Any) -> Segmentation:
    result: Segmentation = pipeline.ground(options.pop("frame", FRAME), COMMAND, **options)
    return result


def assert_found_nothing(result: Segmentation, code: Code) -> None:
    assert result.code is code
    assert result.detail.isprintable()
    assert result.detail
    assert (result.instances, result.labels.any(), result.labels.shape) == ((), False, (60, 80))


def test_what_is_commanded_becomes_an_instance_and_its_pixels(make: Make) -> None:
    result = ground(make())
    (instance,) = result.instances
    assert (result.code, result.detail, result.reasoning) == (Code.OK, "", "Something stands in the middle.")
    assert (instance.label, instance.box, instance.point) == ("the red mug", (20, 15, 60, 45), (40, 30))
    assert instance.mask_index == 1
    assert result.frame is FRAME
    assert result.command is COMMAND
    assert result.text == centre_answer()
    assert (result.labels.dtype, (result.labels == 1).sum()) == (np.uint8, 40 * 30)


def test_a_label_of_the_configuration_replaces_the_command(make: Make) -> None:
    assert ground(make(label="target")).instances[0].label == "target"


def test_several_instances_keep_their_order_scores_and_pixels(make: Make) -> None:
    result = ground(make(FakeReasoner(f"<think>three</think><answer>[{THREE}]</answer>")))
    scores = [instance.score for instance in result.instances]
    assert [instance.mask_index for instance in result.instances] == [1, 2, 3]
    assert scores == sorted(scores, reverse=True)
    assert np.unique(result.labels).tolist() == [1, 2, 3]


def test_what_a_person_points_at_is_masked_without_the_reasoner(make: Make) -> None:
    pipeline = make(RaisingReasoner())
    targets = (Target((10, 5, 30, 25), ((12, 8),), ((29, 24),)), Target((40, 30, 60, 50), ()))
    result = pipeline.mask(FRAME, COMMAND, targets)
    assert (result.code, result.command, result.frame is FRAME) == (Code.OK, COMMAND, True)
    assert [(one.box, one.point) for one in result.instances] == [(targets[0].box, (12, 8)), (targets[1].box, (50, 40))]
    assert ((result.labels == 1).sum(), (result.labels == 2).sum()) == (400, 400)


def test_points_on_and_off_the_object_reach_the_segmenter_as_they_were_given(make: Make) -> None:
    seen: list[Target] = []

    class Watching(FakeSegmenter):
        def predict(self, targets: tuple[Target, ...]) -> Any:
            seen.extend(targets)
            return super().predict(targets)

    target = Target((10.5, 5.0, 30.0, 25.25), ((12.0, 8.5), (13.0, 9.0)), ((29.0, 24.0),))
    make(None, Watching()).mask(FRAME, COMMAND, (target,))
    assert seen == [target]


@pytest.mark.parametrize("segmenter", [RaisingSegmenter(), WrongMasksSegmenter()])
def test_a_segmenter_that_fails_over_what_a_person_points_at_says_so(make: Make, segmenter: Any) -> None:
    result = make(None, segmenter).mask(FRAME, COMMAND, (Target((10, 5, 30, 25), ()),))
    assert_found_nothing(result, Code.SEGMENTER_FAILED)


def test_nothing_found_is_an_answer(make: Make) -> None:
    result = ground(make(FakeReasoner("<think>no mug here</think><answer>[]</answer>")))
    assert_found_nothing(result, Code.NO_TARGET)
    assert result.reasoning == "no mug here"


def test_an_unreadable_answer_keeps_its_text_and_thinking_clean(make: Make) -> None:
    result = ground(make(GarbageReasoner()))
    assert_found_nothing(result, Code.ANSWER_UNREADABLE)
    assert result.reasoning == "\ufffd"
    assert "\0" not in result.text
    assert "NaN" in result.text


@pytest.mark.parametrize(
    "reasoner", [RaisingReasoner(), RaisingReasoner(MemoryError("no\0 room\n")), WrongTypeReasoner("text")]
)
def test_a_failing_reasoner_has_one_code_and_says_what_happened(make: Make, reasoner: Any) -> None:
    result = ground(make(reasoner))
    assert_found_nothing(result, Code.REASONER_FAILED)
    assert "Error" in result.detail


def test_what_was_said_before_the_failure_is_kept(make: Make) -> None:
    assert ground(make(RaisingReasoner(after=3))).text == "<think>Somet"


@pytest.mark.parametrize(
    "segmenter",
    [RaisingEarlySegmenter(), RaisingSegmenter(on="set_image"), RaisingSegmenter(), WrongMasksSegmenter(None)],
)
def test_a_failing_segmenter_has_one_code_and_keeps_the_reasoning(make: Make, segmenter: Any) -> None:
    result = ground(make(segmenter=segmenter))
    assert_found_nothing(result, Code.SEGMENTER_FAILED)


def test_an_engine_may_refuse_with_a_code_of_its_own(make: Make) -> None:
    refusal = RejectedInput(Code.UNSUPPORTED, "got a panorama, want a picture")
    assert_found_nothing(ground(make(RaisingReasoner(refusal, after=0))), Code.UNSUPPORTED)


def test_the_next_command_works_after_a_failure(make: Make) -> None:
    pipeline = make(FakeReasoner("garbage", centre_answer()))
    assert [ground(pipeline).code for _ in "ab"] == [Code.ANSWER_UNREADABLE, Code.OK]


@pytest.mark.parametrize("tokens", [None, "12", -1, 1.5, True])
def test_a_count_that_no_message_holds_is_the_reasoners_fault(make: Make, tokens: Any) -> None:
    answer = Answer(centre_answer(PROFILE), tokens, 1.0, {}, "stop")
    assert_found_nothing(ground(make(WrongTypeReasoner(answer))), Code.REASONER_FAILED)


class Endless(FakeReasoner):
    """Thinks until it is told to stop."""

    def reason(self, request: Any) -> Answer:
        for _ in itertools.count():
            request.on_text("hm, ")
            if request.cancelled():
                break
            time.sleep(0.001)
        return super().reason(request)


def test_a_cancel_stops_it_and_what_was_said_is_kept(make: Make) -> None:
    heard: list[str] = []
    result = ground(make(Endless()), on_text=heard.append, cancelled=lambda: len(heard) > 2)
    assert_found_nothing(result, Code.CANCELLED)


def test_the_pieces_heard_are_the_text(make: Make) -> None:
    pieces: list[str] = []
    result = ground(make(), on_text=pieces.append)
    assert "".join(pieces) == result.text


def test_stages_are_announced_in_order(make: Make) -> None:
    stages: list[Stage] = []
    ground(make(), on_stage=stages.append)
    assert stages == [Stage.REASONING, Stage.SEGMENTING]


def test_a_budget_shortens_the_thinking_and_still_answers(make: Make) -> None:
    result = ground(make(FakeReasoner(THINKS + centre_answer()), budget=10))
    assert result.code is Code.OK
    assert len(result.reasoning) < 60


def test_a_budget_without_an_answer_is_a_truncated_answer(make: Make) -> None:
    assert_found_nothing(ground(make(FakeReasoner(THINKS + "</think>"), budget=5)), Code.ANSWER_TRUNCATED)


def test_a_deadline_already_over_is_a_timeout_and_wakes_nobody(make: Make) -> None:
    reasoner = FakeReasoner()
    assert_found_nothing(ground(make(reasoner), deadline_ns=time.monotonic_ns() - 1), Code.TIMEOUT)
    assert reasoner.commands == []


def test_every_stage_is_timed(make: Make) -> None:
    timing = ground(make()).timing
    assert 0 < timing.first_token_ms <= timing.reasoning_ms < timing.total_ms
    assert 0 < timing.segmentation_ms < timing.total_ms
    assert timing.tokens > 5


def test_one_frame_is_encoded_once_for_many_commands_and_for_its_prefill(make: Make) -> None:
    segmenter = FakeSegmenter()
    pipeline = make(segmenter=segmenter)
    pipeline.prefill_image(FRAME)
    assert [ground(pipeline).code for _ in range(3)] == [Code.OK] * 3
    assert segmenter.encoded == 1
    ground(pipeline, frame=Frame(FRAME.rgb.copy(), 124))
    assert segmenter.encoded == 2


def test_the_engine_sees_every_pixel_of_the_frame(make: Make) -> None:
    seen: list[Frame] = []

    class Looking(FakeReasoner):
        def reason(self, request: Any) -> Answer:
            seen.append(Frame(request.frame.rgb.copy(), request.frame.stamp_ns, request.frame.frame_id))
            return super().reason(request)

    ground(make(Looking()))
    assert np.array_equal(seen[0].rgb, FRAME.rgb)
    assert (seen[0].stamp_ns, seen[0].frame_id) == (123, "camera")


def test_a_prefill_that_fails_says_so_and_the_next_command_is_answered(make: Make) -> None:
    class Early(FakeReasoner):
        def prefill_image(self, frame: Frame) -> None:
            raise RuntimeError("no room")

    pipeline = make(Early())
    with pytest.raises(RejectedInput) as refused:
        pipeline.prefill_image(FRAME)
    assert refused.value.code is Code.REASONER_FAILED
    assert ground(pipeline).code is Code.OK
