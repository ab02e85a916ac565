"""Upstream's ``solution`` texts become truths and texts again; what is none is refused with what was wanted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("scipy", reason="offline stack not installed")

from segzero_ros.errors import Code, RejectedInput
from training.rewards.truth import Truth, read_solution_v1, read_solution_v2, write_solution_v1, write_solution_v2

FRAME = (840, 840)
V1 = "<box>(10,20),(110,220)</box><points>(30,40),(50,60)</points>"
V2 = '[{"bbox_2d": [10, 20, 110, 220], "point_2d": [30, 40]}]'


def test_one_object_in_either_notation():
    assert read_solution_v1(f" {V1}\n", FRAME) == Truth(((10, 20, 110, 220),), (((30, 40), (50, 60)),), FRAME)
    assert read_solution_v2(V2, FRAME) == Truth(((10, 20, 110, 220),), (((30, 40),),), FRAME)


def test_an_empty_list_says_there_is_no_such_object():
    assert read_solution_v2(" [] ", FRAME) == Truth((), (), FRAME)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(10,20),(110,220)",
        V1.replace("points", "point"),
        V1.replace("10", "1.5"),
        V1.replace(",", ", "),
        V2,
        "[]",
        V1 + V1.replace("10", "11"),
        V1 + "<box>(1,2),(3,4)</box>",
        V1.replace("110", "9" * 400),
        V1.replace("110", "\u0661\u0660"),
    ],
)
def test_what_is_no_v1_solution_is_refused(text):
    with pytest.raises(RejectedInput, match=r"<box>\(x1,y1\)") as refused:
        read_solution_v1(text, FRAME)
    assert refused.value.code is Code.CONFIG_VALUE


@pytest.mark.parametrize(
    "text",
    [
        "",
        V1,
        "null",
        "5",
        "{}",
        V2[1:-1],
        "[5]",
        V2.replace("bbox_2d", "bbox"),
        V2.replace("point_2d", "points"),
        V2.replace("220", "NaN"),
        V2.replace("220", "1e999"),
        V2.replace("220", "true"),
        V2.replace("220", '"220"'),
        V2.replace(", 220", ""),
        V2.replace("40", "40, 50"),
        V2.replace('{"bbox_2d"', '{"bbox_2d": [1, 2, 3, 4], "bbox_2d"', 1),
        "[" * 5000,
        "9" * 5000,
    ],
)
def test_what_is_no_v2_solution_is_refused(text):
    with pytest.raises(RejectedInput, match="bbox_2d") as refused:
        read_solution_v2(text, FRAME)
    assert refused.value.code is Code.CONFIG_VALUE and len(refused.value.detail) < 400


pixels = st.integers(0, 840).map(float)
boxes = st.tuples(pixels, pixels, pixels, pixels)
points = st.tuples(pixels, pixels)


@settings(max_examples=30)
@given(boxes, points, points)
def test_v1_read_back_is_what_was_written(box, first, second):
    truth = Truth((box,), ((first, second),), FRAME)
    assert read_solution_v1(write_solution_v1(truth), FRAME) == truth


@settings(max_examples=30)
@given(st.lists(st.tuples(boxes, points), max_size=5))
def test_v2_read_back_is_what_was_written(objects):
    truth = Truth(tuple(box for box, _ in objects), tuple((point,) for _, point in objects), FRAME)
    assert read_solution_v2(write_solution_v2(truth), FRAME) == truth


def test_v1_cannot_write_several_objects_nor_one_point():
    for count, points_each in ((0, 2), (2, 2), (1, 1)):
        truth = Truth(((1, 2, 3, 4),) * count, (((1, 2),) * points_each,) * count, FRAME)
        with pytest.raises(RejectedInput, match="want one object with two points"):
            write_solution_v1(truth)


@pytest.mark.parametrize(
    "wrong",
    [
        (((1, 2, 3, 4),), (), FRAME),
        (((1, 2, 3),), (((1, 2),),), FRAME),
        (((1, 2, 3, 4),), ((),), FRAME),
        (((1, 2, 3, 4),), (((1, 2), (1, 2), (1, 2)),), FRAME),
        (((1, 2, 3, float("nan")),), (((1, 2),),), FRAME),
        (((1, 2, 3, 4),), (((1, float("inf")),),), FRAME),
        ((), (), (0, 840)),
    ],
)
def test_a_truth_that_does_not_pair_off_is_a_defect(wrong):
    with pytest.raises(ValueError, match="want"):
        Truth(*wrong)
