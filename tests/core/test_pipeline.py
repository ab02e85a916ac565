"""The pipeline turns every fault of its parts into one code, and what is found into instances and labels."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

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
from segzero_ros.backends.prefetch import PrefetchingSegmenter
from segzero_ros.command import Command, Stage
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Pipeline, Segmentation, labels_of, paint_labels, unanswered
from segzero_ros.profile import PROFILES, get_profile
from segzero_ros.reasoner import Answer, Reasoner
from segzero_ros.segmenter import Masks, Segmenter

COMMAND = Command("7", "the red mug")
FRAME = Frame(np.zeros((60, 80, 3), np.uint8), 123, "camera")
ABSTAINING = get_profile("abstaining_v2")
TWO = (
    '<think>two</think><answer>[{"bbox_2d":[0,0,420,840],"point_2d":[9,9]},'
    '{"bbox_2d":[210,0,840,840],"point_2d":[800,9]}]</answer>'
)


def ground(reasoner: Reasoner | None = None, segmenter: Segmenter | None = None, **options: object) -> Segmentation:
    pipeline = Pipeline(ABSTAINING, reasoner or FakeReasoner(), segmenter or FakeSegmenter())
    return pipeline.ground(FRAME, COMMAND, **options)  # type: ignore[arg-type]


def assert_found_nothing(result: Segmentation, code: Code) -> None:
    assert result.code is code
    assert result.detail
    assert result.detail.isprintable()
    assert result.instances == ()
    assert not result.labels.any()
    assert result.labels.shape == (60, 80)


def test_what_is_commanded_becomes_an_instance_and_its_pixels() -> None:
    result = ground()
    (instance,) = result.instances
    assert (result.code, result.detail, result.reasoning) == (Code.OK, "", "Something stands in the middle.")
    assert (instance.label, instance.box, instance.point, instance.mask_index) == (
        "the red mug",
        (20, 15, 60, 45),
        (40, 30),
        1,
    )
    assert result.frame is FRAME
    assert result.command is COMMAND
    assert result.text == centre_answer()
    assert result.labels.dtype == np.uint8
    assert (result.labels == 1).sum() == 40 * 30


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_goes_all_the_way(name: str) -> None:
    profile = get_profile(name)
    pipeline = Pipeline(profile, FakeReasoner(centre_answer(profile)), FakeSegmenter())
    assert pipeline.ground(FRAME, COMMAND).instances[0].box == (20, 15, 60, 45)


def test_a_label_of_the_configuration_replaces_the_command() -> None:
    assert (
        Pipeline(ABSTAINING, FakeReasoner(), FakeSegmenter(), label="target").ground(FRAME, COMMAND).instances[0].label
        == "target"
    )


def test_where_masks_overlap_the_better_score_wins() -> None:
    result = ground(FakeReasoner(TWO))
    assert [instance.mask_index for instance in result.instances] == [1, 2]
    assert result.instances[0].score > result.instances[1].score
    assert np.unique(result.labels[:, :40]).tolist() == [1]
    assert np.unique(result.labels[:, 40:]).tolist() == [2]


def test_a_later_but_better_mask_stays_on_top() -> None:
    masks = np.ones((2, 2, 2), bool)
    assert paint_labels(Masks(masks, np.array([0.2, 0.9], np.float32))).tolist() == [[2, 2], [2, 2]]


def test_more_than_254_instances_need_16_bits() -> None:
    for count, dtype in ((254, np.uint8), (255, np.uint16)):
        labels = paint_labels(Masks(np.zeros((count, 3, 3), bool), np.zeros(count, np.float32)))
        assert labels.dtype == dtype


TWICE = (
    '<think>two</think><answer>[{"bbox_2d":[0,0,420,840],"point_2d":[9,9]},'
    '{"bbox_2d":[420,0,840,840],"point_2d":[800,9]},{"bbox_2d":[425,0,840,840],"point_2d":[700,9]}]</answer>'
)


def test_a_thing_that_was_named_twice_is_there_once_and_it_is_said() -> None:
    result = ground(FakeReasoner(TWICE))
    assert [instance.box for instance in result.instances] == [(0, 0, 40, 60), (40, 0, 80, 60)]
    assert [instance.mask_index for instance in result.instances] == [1, 2]
    assert (result.code, np.unique(result.labels).tolist()) == (Code.OK, [1, 2])
    assert result.detail == "the model named 1 of 3 things a second time; left out"


def test_what_a_person_gives_twice_stays() -> None:
    target = Target((40, 0, 80, 60), ())
    result = Pipeline(ABSTAINING, FakeReasoner(), FakeSegmenter()).mask(FRAME, COMMAND, (target, target))
    assert [instance.mask_index for instance in result.instances] == [1, 2]


class SeesNothing(FakeSegmenter):
    """Its last mask is empty."""

    def predict(self, targets: tuple[Target, ...]) -> Masks:
        masks = super().predict(targets)
        masks.masks[-1] = False
        return masks


def test_a_box_in_which_the_segmenter_sees_nothing_is_said() -> None:
    result = ground(FakeReasoner(TWO), SeesNothing())
    assert (result.code, len(result.instances), result.labels.max()) == (Code.OK, 2, 1)
    assert result.detail == "the segmenter saw nothing in box 2"


def test_nothing_found_is_an_answer() -> None:
    result = ground(FakeReasoner("<think>no mug here</think><answer>[]</answer>"))
    assert_found_nothing(result, Code.NO_TARGET)
    assert result.reasoning == "no mug here"


def test_nothing_found_does_not_wake_the_segmenter() -> None:
    segmenter = FakeSegmenter()
    ground(FakeReasoner("<think></think><answer>[]</answer>"), segmenter)
    assert segmenter.encoded == 0


def test_an_unreadable_answer_keeps_its_text_and_thinking_clean() -> None:
    result = ground(GarbageReasoner())
    assert_found_nothing(result, Code.ANSWER_UNREADABLE)
    assert result.reasoning == "\ufffd"
    assert "\0" not in result.text
    assert "NaN" in result.text


@pytest.mark.parametrize(
    "reasoner",
    [
        RaisingReasoner(),
        RaisingReasoner(MemoryError("no\0 room\n")),
        WrongTypeReasoner(None),
        WrongTypeReasoner("text"),
    ],
)
def test_a_failing_reasoner_has_one_code_and_says_what_happened(reasoner: Reasoner) -> None:
    result = ground(reasoner)
    assert result.code is Code.REASONER_FAILED
    assert "Error" in result.detail
    assert "\0" not in result.detail


def test_what_was_said_before_the_failure_is_kept() -> None:
    assert ground(RaisingReasoner(after=3)).text == "<think>Somet"


@pytest.mark.parametrize(
    "segmenter",
    [
        RaisingSegmenter(on="set_image"),
        RaisingSegmenter(on="predict"),
        WrongMasksSegmenter(None),
        WrongMasksSegmenter(Masks(np.zeros((1, 60, 79), bool), np.ones(1, np.float32))),
        WrongMasksSegmenter(Masks(np.zeros((2, 60, 80), bool), np.ones(2, np.float32))),
        WrongMasksSegmenter(Masks(np.zeros((1, 60, 80), np.uint8), np.ones(1, np.float32))),  # type: ignore[arg-type]
        WrongMasksSegmenter(Masks(np.zeros((1, 60, 80), bool), np.full(1, np.nan, np.float32))),
    ],
)
def test_a_failing_segmenter_has_one_code_and_keeps_the_reasoning(segmenter: Segmenter) -> None:
    result = ground(segmenter=segmenter)
    assert_found_nothing(result, Code.SEGMENTER_FAILED)
    assert result.reasoning == "Something stands in the middle."


def test_an_engine_may_refuse_with_a_code_of_its_own() -> None:
    refusal = RejectedInput(Code.UNSUPPORTED, "got a panorama, want a picture")
    assert_found_nothing(ground(RaisingReasoner(refusal, after=0)), Code.UNSUPPORTED)
    assert_found_nothing(ground(segmenter=RaisingSegmenter(refusal)), Code.UNSUPPORTED)


def test_the_next_command_works_after_a_failure() -> None:
    pipeline = Pipeline(ABSTAINING, FakeReasoner("garbage", centre_answer()), FakeSegmenter())
    assert [pipeline.ground(FRAME, COMMAND).code for _ in "ab"] == [Code.ANSWER_UNREADABLE, Code.OK]


def test_cancel_is_honoured_before_every_token() -> None:
    for after in range(1, 20):
        asked = itertools.count()
        reasoner = FakeReasoner()
        result = ground(reasoner, cancelled=lambda asked=asked, after=after: next(asked) >= after)
        assert_found_nothing(result, Code.CANCELLED)
        assert centre_answer().startswith(result.text)
        assert result.timing.tokens == after


def test_cancel_after_the_last_token_still_cancels() -> None:
    pieces: list[str] = []
    segmenter = FakeSegmenter()
    result = ground(None, segmenter, on_text=pieces.append, cancelled=lambda: "".join(pieces) == centre_answer())
    assert_found_nothing(result, Code.CANCELLED)
    assert segmenter.encoded == 0


def test_the_pieces_heard_are_the_text() -> None:
    pieces: list[str] = []
    result = ground(on_text=pieces.append)
    assert len(pieces) > 5
    assert "".join(pieces) == result.text


def test_stages_are_announced_in_order() -> None:
    stages: list[Stage] = []
    ground(on_stage=stages.append)
    assert stages == [Stage.REASONING, Stage.SEGMENTING]


def test_a_budget_shortens_the_thinking_and_still_answers() -> None:
    pipeline = Pipeline(
        ABSTAINING, FakeReasoner("<think>" + "well, " * 500 + centre_answer()), FakeSegmenter(), budget=10
    )
    result = pipeline.ground(FRAME, COMMAND)
    assert result.code is Code.OK
    assert len(result.reasoning) < 60


def clock(*, step_ns: int = 1_000_000, start_ns: int = 0) -> "itertools.count[int]":
    return itertools.count(start_ns, step_ns)


def test_a_deadline_already_over_is_a_timeout_and_wakes_nobody() -> None:
    reasoner = FakeReasoner()
    pipeline = Pipeline(ABSTAINING, reasoner, FakeSegmenter(), now=clock(start_ns=10).__next__)
    assert_found_nothing(pipeline.ground(FRAME, COMMAND, deadline_ns=5), Code.TIMEOUT)
    assert reasoner.commands == []


def test_a_deadline_in_the_thinking_still_gives_the_answer() -> None:
    now = clock()
    reasoner = FakeReasoner("<think>" + "well, " * 500 + centre_answer(), now=now.__next__)
    result = Pipeline(ABSTAINING, reasoner, FakeSegmenter(), now=now.__next__).ground(
        FRAME, COMMAND, deadline_ns=50_000_000
    )
    assert result.code is Code.OK
    assert len(result.reasoning) < 300


def test_a_deadline_without_an_answer_is_a_timeout() -> None:
    now = clock()
    reasoner = FakeReasoner("<think>" + "well, " * 500 + "</think>", now=now.__next__)
    result = Pipeline(ABSTAINING, reasoner, FakeSegmenter(), now=now.__next__).ground(
        FRAME, COMMAND, deadline_ns=50_000_000
    )
    assert_found_nothing(result, Code.TIMEOUT)


def test_a_budget_without_an_answer_is_a_truncated_answer() -> None:
    reasoner = FakeReasoner("<think>" + "well, " * 500 + "</think>")
    result = Pipeline(ABSTAINING, reasoner, FakeSegmenter(), budget=5).ground(FRAME, COMMAND)
    assert_found_nothing(result, Code.ANSWER_TRUNCATED)


def test_every_stage_is_timed() -> None:
    timing = Pipeline(ABSTAINING, FakeReasoner(), FakeSegmenter(), now=clock().__next__).ground(FRAME, COMMAND).timing
    assert 0 < timing.first_token_ms < timing.reasoning_ms < timing.total_ms
    assert 0 < timing.segmentation_ms < timing.total_ms
    assert timing.tokens == -(-len("<think>Something stands in the middle.") // 4) + -(
        -len(centre_answer().partition("</think>")[2] + "</think>") // 4
    )


def test_a_failure_is_timed_too() -> None:
    timing = (
        Pipeline(ABSTAINING, RaisingReasoner(), FakeSegmenter(), now=clock().__next__).ground(FRAME, COMMAND).timing
    )
    assert timing.total_ms > timing.reasoning_ms > 0


def test_one_frame_is_encoded_once_for_many_commands() -> None:
    segmenter = FakeSegmenter()
    pipeline = Pipeline(ABSTAINING, FakeReasoner(), segmenter)
    for _ in range(3):
        pipeline.ground(FRAME, COMMAND)
    pipeline.ground(Frame(FRAME.rgb.copy(), 124), COMMAND)
    assert segmenter.encoded == 2


def test_a_command_without_a_frame_ends_with_an_empty_one() -> None:
    result = unanswered(COMMAND, Code.NO_FRAME, "got no frame")
    assert result.frame.size == (0, 0)
    assert result.labels.shape == (0, 0)


def test_the_ellipse_of_the_fake_lies_in_its_box() -> None:
    labels: NDArray[np.generic] = ground(segmenter=FakeSegmenter(ellipse=True)).labels
    rows, columns = np.nonzero(labels)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (15, 44, 20, 59)
    assert abs((labels > 0).sum() / (40 * 30) - np.pi / 4) < 0.02


class Panic(BaseException):
    """What an engine in Rust raises, and what ``except Exception`` does not see."""


@pytest.mark.parametrize("error", [RuntimeError("odd"), MemoryError("all of it"), SystemExit(2), Panic("at line 7")])
def test_an_engines_fault_is_its_own_code_wherever_and_whatever_it_raises(error: BaseException) -> None:
    for segmenter in (
        RaisingEarlySegmenter(error),
        RaisingSegmenter(error, on="set_image"),
        RaisingSegmenter(error),
        PrefetchingSegmenter(RaisingSegmenter(error, on="set_image")),
    ):
        assert_found_nothing(ground(segmenter=segmenter), Code.SEGMENTER_FAILED)
    assert_found_nothing(ground(RaisingReasoner(error)), Code.REASONER_FAILED)


class RaisingEarlyReasoner(FakeReasoner):
    def prefill_image(self, frame: Frame) -> None:
        raise Panic("no room")


@pytest.mark.parametrize(
    ("reasoner", "segmenter", "code"),
    [
        (RaisingEarlyReasoner(), FakeSegmenter(), Code.REASONER_FAILED),
        (FakeReasoner(), RaisingEarlySegmenter(Panic()), Code.SEGMENTER_FAILED),
        (FakeReasoner(), RaisingSegmenter(Panic(), on="set_image"), Code.SEGMENTER_FAILED),
    ],
)
def test_an_engine_that_fails_before_anybody_asks_says_which_it_was(
    reasoner: Reasoner, segmenter: Segmenter, code: Code
) -> None:
    with pytest.raises(RejectedInput) as refused:
        Pipeline(ABSTAINING, reasoner, segmenter).prefill_image(FRAME)
    assert refused.value.code is code


def test_ctrl_c_in_an_engine_is_no_fault_of_the_engines() -> None:
    with pytest.raises(KeyboardInterrupt):
        ground(segmenter=RaisingEarlySegmenter(KeyboardInterrupt()))


@pytest.mark.parametrize("tokens", [None, "12", -1, 1.5, True])
def test_a_count_that_no_message_holds_is_the_reasoners_fault(tokens: object) -> None:
    answer = Answer(centre_answer(ABSTAINING), tokens, 1.0, {}, "stop")  # type: ignore[arg-type]
    assert_found_nothing(ground(WrongTypeReasoner(answer)), Code.REASONER_FAILED)


# ---- the label image out of a message ----


@pytest.mark.parametrize(
    ("encoding", "is_bigendian", "data"),
    [
        ("mono8", 0, bytes([1, 2, 9, 3, 4, 9])),
        ("mono16", 0, bytes([1, 0, 2, 0, 9, 9, 3, 0, 4, 0, 9, 9])),
        ("mono16", 1, bytes([0, 1, 0, 2, 9, 9, 0, 3, 0, 4, 9, 9])),
    ],
)
def test_labels_come_out_of_a_mask_of_either_width_and_byte_order_without_its_padding(
    encoding: str, is_bigendian: int, data: bytes
) -> None:
    mask = SimpleNamespace(height=2, width=2, encoding=encoding, is_bigendian=is_bigendian, data=data)
    labels = labels_of(mask)
    assert labels.tolist() == [[1, 2], [3, 4]]
    assert labels.dtype == (np.uint8 if encoding == "mono8" else np.uint16)
    labels[0, 0] = 7  # its own memory


def test_a_mask_of_no_picture_has_no_labels() -> None:
    mask = SimpleNamespace(height=0, width=0, encoding="mono8", is_bigendian=0, data=b"")
    assert labels_of(mask).shape == (0, 0)
