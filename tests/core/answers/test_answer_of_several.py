"""However a model lists several objects, the robot gets all of them or a refusal, never some."""

import json

import pytest

from segzero_ros.answer import parse_answer
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.profile import get_profile

SIZE = (840, 840)
V1, V2, STOCK = get_profile("seg_zero_v1"), get_profile("abstaining_v2"), get_profile("qwen25vl_zero_shot")
BOXES = [(10, 20, 60, 80), (200, 210, 300, 330), (400, 10, 480, 90)]
A, B, C = (json.dumps({"bbox_2d": box, "point_2d": [box[0] + 5, box[1] + 5]}) for box in BOXES)

CONTAINERS = {
    "side by side": f"{A} {B} {C}",
    "with commas": f"{A}, {B}, {C}",
    "line by line": f"{A}\n{B}\n{C}\n",
    "numbered": f"1. {A}\n2. {B}\n3. {C}",
    "a list each": f"[{A}]\n[{B}]\n[{C}]",
    "two lists": f"[{A}, {B}], [{C}]",
    "a list and one": f"[{A}, {B}] and {C}",
    "one and a list": f"{A}\n[{B}, {C}]",
    "the first bracket lost": f"{A}, {B}, {C}]",
    "the list closed early": f"[{A}], {B}, {C}]",
    "a fence each": f"```json\n{A}\n```\nand\n```json\n[{B}]\n```\n```\n{C}\n```",
    "one before the fence": f"{A}\n```json\n[{B}, {C}]\n```",
    "one behind the fence": f"```json\n[{A}, {B}]\n```\n{C}",
    "an empty list first": f"[] [{A}, {B}, {C}]",
}


def boxes(text: str, profile=V2, finish="stop"):
    return [target.box for target in parse_answer(text, profile, SIZE, finish=finish).targets]


def code(text: str, profile=V2, finish="stop") -> Code:
    with pytest.raises(RejectedInput) as refused:
        parse_answer(text, profile, SIZE, finish=finish)
    return refused.value.code


def tagged(body: str) -> str:
    return f"<think>hm</think><answer>{body}</answer>"


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_object_counts_whatever_they_stand_in(name):
    assert boxes(tagged(CONTAINERS[name])) == BOXES
    assert boxes(CONTAINERS[name], STOCK) == BOXES


@pytest.mark.parametrize("name", CONTAINERS)
def test_cut_anywhere_it_is_truncated(name):
    for whole, profile in ((tagged(CONTAINERS[name]), V2), (CONTAINERS[name], STOCK)):
        for length in range(len(whole)):
            refused = code(whole[:length], profile, "budget")
            assert refused is Code.ANSWER_TRUNCATED or (refused is Code.ANSWER_UNREADABLE and profile is STOCK)


@pytest.mark.parametrize(
    "body",
    [
        f'{{"objects": [{A}, {B}]}}',
        f'{{"first": {A}, "second": {B}}}',
        f"[[{A}], [{B}]]",
        A[:-1] + f', "also": {B}}}',
        A[:-1] + f', "others": [{B}]}}',
        A[:-1] + ', "bbox_2d_2": [1, 2, 30, 40], "point_2d_2": [5, 6]}',
        f"{A}\n{B[:-9]}",
        f"{A[1:]}, {B}",
        f"[{A}]</answer> or rather <answer>[{B}]",
        f"[{A}]</answer><answer>[]",
        f"{A}\n{B.replace('bbox', 'BBox')}",
        f"[{A}] {B.replace('bbox_2d', 'box')}",
        f"{A} {B.replace('bbox', chr(92) + 'u0062box')}",
        f"```json\n[{A}]\n```\n{B.replace('bbox_2d', 'box_2d')}",
        f"{A} and [200, 210, 300, 330]",
        f"The other is at (200, 210), (300, 330): {A}",
        f"{A} <|box_start|>(200,210),(300,330)<|box_end|>",
        f"- bbox: [10, 20, 60, 80]\n[{B}]",
        f'{A} {{"point_2d": [205, 215]}}',
    ],
)
def test_what_names_others_where_they_cannot_be_told_is_refused(body):
    assert code(tagged(body)) is Code.ANSWER_UNREADABLE


@pytest.mark.parametrize("between", ["", " ", ", ", "\n"])
def test_a_profile_of_one_object_refuses_two_whatever_they_stand_in(between):
    one = "{'bbox': [10,20,60,80], 'points_1': [15,25], 'points_2': [20,30]}"
    other = one.replace("60", "70")
    assert boxes(tagged(one), V1) == [BOXES[0]]
    assert code(tagged(one + between + other), V1) is Code.ANSWER_UNREADABLE
    assert code(tagged(f"[{one}]{between}[{other}]"), V1) is Code.ANSWER_UNREADABLE


def test_words_around_an_answer_do_not_count_brackets_behind_it_neither():
    assert boxes(tagged(f"Here: {A} (see [1] and {{so on}})")) == BOXES[:1]
    assert boxes(f"The [mug], {{maybe}}:\n```json\n[{A}]\n```\nas [asked].", STOCK) == BOXES[:1]


def test_a_box_of_the_answer_may_be_said_in_words_too():
    assert (
        boxes(f"```json\n[{A}, {B}]\n```\nThe mug is at [200, 210, 300, 330], the spoon at 10, 20, 60, 80.", STOCK)
        == (BOXES[:2])
    )


def test_no_object_said_twice_is_still_none():
    assert boxes(tagged("[] []")) == []
