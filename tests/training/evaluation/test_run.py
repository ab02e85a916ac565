"""No sample is ever dropped: whatever goes wrong with one is a wrong answer with its code."""

import numpy as np
import pytest

from segzero_ros.backends.fake import (
    FakeReasoner,
    FakeSegmenter,
    GarbageReasoner,
    RaisingReasoner,
    RaisingSegmenter,
    WrongMasksSegmenter,
    WrongTypeReasoner,
)
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from training.evaluation.record import read_line
from training.evaluation.run import Listener, ask_all, mask_overlaps
from training.evaluation.summary import summarise

from .made_examples import BOWL, MUG, SIZE, Made, bad_row, example, mask_of, said


def evaluate(examples, *answers, reasoner=None, segmenter=None, **more):
    pipeline = Pipeline(get_profile("abstaining_v2"), reasoner or FakeReasoner(*answers), segmenter or FakeSegmenter())
    return list(ask_all(pipeline, examples, lambda record: None, **more))


# ---- right and wrong ----


def test_the_right_box_has_the_right_mask():
    (record,) = evaluate(Made(example("a", MUG)), said(MUG))
    assert (record.right, record.iou, record.code, record.found_pixels) == (True, 1.0, "OK", 600)


def test_several_objects_are_scored_by_the_union_of_their_masks_and_by_all_their_boxes():
    one, both, swapped = evaluate(Made(*[example("a", MUG, BOWL)] * 3), said(MUG), said(MUG, BOWL), said(BOWL, MUG))
    assert (one.right, one.iou) == (False, pytest.approx(600 / 1200))
    assert (both.right, both.iou) == (True, 1.0)
    assert (swapped.right, swapped.iou) == (True, 1.0), "their order does not matter"


def test_nothing_said_is_right_where_nothing_is_and_wrong_where_something_is():
    absent, there, invented = evaluate(Made(example("a"), example("b", MUG), example("c")), said(), said(), said(MUG))
    assert (absent.code, absent.right, absent.iou, absent.says_nothing) == ("NO_TARGET", True, 1.0, True)
    assert (there.code, there.right, there.iou, there.says_something) == ("NO_TARGET", False, 0.0, False)
    assert (invented.code, invented.right, invented.iou, invented.says_nothing) == ("OK", False, 0.0, False)


# ---- nothing is dropped ----

FAULTS = {
    "REASONER_FAILED": {"reasoner": RaisingReasoner()},
    "SEGMENTER_FAILED": {"segmenter": RaisingSegmenter()},
    "ANSWER_UNREADABLE": {"reasoner": GarbageReasoner()},
    "TIMEOUT": {"timeout_sec": 1e-9},
}


@pytest.mark.parametrize("code", FAULTS)
def test_a_failure_of_any_kind_is_a_wrong_answer_with_its_code(code):
    records = evaluate(Made(example("a", MUG), example("b")), said(MUG), **FAULTS[code])
    assert [(r.code, r.right, r.iou, r.says_nothing, r.says_something) for r in records] == [
        (code, False, 0.0, False, False)
    ] * 2


@pytest.mark.parametrize("more", [{"reasoner": WrongTypeReasoner(7)}, {"segmenter": WrongMasksSegmenter(None)}])
def test_an_engine_that_returns_nonsense_is_counted_too(more):
    (record,) = evaluate(Made(example("a", MUG)), said(MUG), **more)
    assert record.code in ("REASONER_FAILED", "SEGMENTER_FAILED")


def test_rows_that_cannot_be_read_are_wrong_and_the_others_are_asked():
    defect = KeyError("a defect of the reader")
    given = Made(example("a", MUG), bad_row(), defect, example("d", MUG))
    records = evaluate(given, said(MUG))
    assert [r.code for r in records] == ["OK", "IMAGE_UNREADABLE", "INTERNAL", "OK"]
    assert [r.number for r in records] == [0, 1, 2, 3]
    whole = summarise(records)["types"]["all"]
    assert (whole["count"], whole["right"]["value"], whole["giou"]["value"]) == (4, 0.5, 0.5)


def test_a_question_no_robot_takes_is_counted_without_being_asked():
    reasoner = FakeReasoner(said(MUG))
    given = Made(example("a", MUG, question="the mug " * 100), example("b", MUG, question="\x07"))
    records = evaluate(given, reasoner=reasoner)
    assert [r.code for r in records] == ["COMMAND_TOO_LONG", "COMMAND_UNREADABLE"]
    assert reasoner.commands == []


def test_a_defect_of_the_pipeline_itself_is_counted_as_internal():
    class Broken:
        def ground(self, *_args, **_more):
            raise ZeroDivisionError("ours")

    (record,) = list(ask_all(Broken(), Made(example("a", MUG)), lambda record: None))
    assert (record.code, record.right) == ("INTERNAL", False)
    assert "ZeroDivisionError" in record.detail


def test_a_record_survives_being_written_and_read():
    for record in evaluate(Made(example("a", MUG), bad_row(), example("c")), said(MUG), said()):
        assert read_line(record.line()) == record


# ---- ignore pixels: both protocols ----


def test_ignore_pixels_are_left_out_of_both_masks_or_count_as_object():
    """By hand: 4 x 5 pixels, found the left 3 columns, true the left 2, the third to be ignored."""
    found, true, ignore = (np.zeros((4, 5), bool) for _ in range(3))
    found[:, :3], true[:, :2], ignore[:, 2] = True, True, True
    assert mask_overlaps(found, true, ignore) == {
        "intersection": 8,
        "union": 8,
        "filled_intersection": 12,
        "filled_union": 12,
    }
    nothing = np.zeros_like(found)
    assert mask_overlaps(nothing, true, ignore)["union"] == 8
    assert mask_overlaps(nothing, true, ignore)["filled_union"] == 12


def test_a_mask_that_lies_only_on_ignored_pixels_is_empty_to_lisa_and_not_to_seg_zero():
    given = example("a", BOWL, mask=mask_of(), ignore=mask_of(BOWL), object_masks=())
    (record,) = evaluate(Made(given), said(BOWL))
    assert (record.iou, record.filled_iou) == (1.0, 1.0)
    (silent,) = evaluate(Made(given), said())
    assert (silent.iou, silent.filled_iou) == (1.0, 0.0)


def test_overlaps_agree_with_counting_pixel_by_pixel():
    rng = np.random.default_rng(5)
    for _ in range(20):
        found, true, ignore = rng.random((3, 6, 7)) < rng.random((3, 1, 1))
        counted = dict.fromkeys(("intersection", "union", "filled_intersection", "filled_union"), 0)
        for f, t, i in zip(found.flat, true.flat, ignore.flat, strict=True):
            counted["intersection"] += f and t and not i
            counted["union"] += (f or t) and not i
            counted["filled_intersection"] += f and (t or i)
            counted["filled_union"] += f or t or i
        assert mask_overlaps(found, true, ignore) == counted


def test_a_truth_without_masks_has_no_mask_figures_but_all_others():
    (record,) = evaluate(Made(example("a", MUG, mask=None, object_masks=())), said(MUG))
    assert (record.right, record.has_mask) == (True, False)
    whole = summarise([record])["types"]["all"]
    assert whole["right"]["value"] == 1.0
    assert "giou" not in whole


# ---- thinking ----


@pytest.mark.parametrize(
    "pieces, count",
    [
        (["<think>", "a", " mug", "</think>", "<answer>", "[]", "</answer>"], 2),
        (["<th", "ink>", "a", "</", "think>", "<answer>[]"], 1),
        (["<think>", "a", " mug", " or", " two"], 4),
        (["<answer>", "[]", "</answer>"], 0),
        ([], 0),
    ],
)
def test_thinking_tokens_are_the_pieces_between_the_tags(pieces, count):
    listener = Listener()
    listener.pieces += pieces
    assert listener.thinking_tokens == count


def test_a_record_tells_tokens_and_thinking_apart():
    (record,) = evaluate(Made(example("a", MUG)), said(MUG, thinking="x" * 40))
    assert record.thinking_tokens == 10, "the fake says four characters at a time"
    assert record.tokens > record.thinking_tokens


def test_labels_come_back_from_the_record():
    from training.evaluation.record import unpack_labels

    (record,) = evaluate(Made(example("a", MUG, BOWL)), said(MUG, BOWL))
    labels = unpack_labels(record.labels, (SIZE, SIZE))
    assert (labels[20, 20], labels[60, 60], labels[0, 0]) == (1, 2, 0)
    assert not unpack_labels("", (7, 5)).any()
    assert unpack_labels("", (7, 5)).shape == (5, 7)
