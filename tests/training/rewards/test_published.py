"""Seg-Zero's and VisionReasoner's rewards pay what their rules say, to the odd ends, on any text, in linear time.

The vectors are worked out by hand from the rules. What they expect of malformed texts was checked once against the
published training code, on several hundred thousand generated texts (docs/rewards.md).
"""

import itertools
import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("scipy", reason="offline stack not installed")

from training.rewards.published import seg_zero_v1, vision_reasoner_v2
from training.rewards.truth import Truth

FRAME = (840, 840)
NOTHING = Truth((), (), FRAME)
BOX, POINTS = [100, 100, 300, 200], [[150, 150], [250, 150]]
ONE = Truth((tuple(BOX),), (tuple(map(tuple, POINTS)),), FRAME)

# what a text is put together from when chance writes it
SOUP = [
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "{",
    "}",
    "{}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "'",
    " ",
    "\n",
    "\u3000",
]
SOUP += ["\u3000", "x.", "x.", "NaN", "1e999", "true", "null", "9" * 5000, "\ud800", "\x00", "bbox", "point", "```json"]
SOUP += ['"bbox": [100, 100, 300, 200]', '"points_1": [150, 150]', '"points_2": [250, 150]']
SOUP += ['{"bbox_2d": [100, 100, 300, 200], "point_2d": [150, 150]}', "[" * 3000, '{"bbox_2d": "1234", "point_2d": {}}']
texts = st.one_of(st.text(), st.lists(st.sampled_from(SOUP), max_size=20).map("".join))


def said(body, thinking="hm"):
    return f"<think>{thinking}</think>\n<answer>{body}</answer>"


def truth_of(box, *points):
    return Truth((tuple(box),), (tuple(points) or ((box[0], box[1]), (box[2], box[3])),), FRAME)


# ---- the thinking's form, the same in both ----

FORMS = {
    "<think>hm</think><answer>x</answer>": 1,
    "<think>hm</think> \n\t\u3000<answer>x</answer>": 1,
    "<think></think><answer></answer>": 1,
    "<think>a\nb</think><answer>c\nd</answer>": 1,
    "<think>a</think>b</think><answer>x</answer>": 1,  # what stands between the tags may be tags
    "<think>a</think><answer>b</answer><answer>c</answer>": 1,
    "<think>a</think>b<answer>x</answer>": 0,
    "<think>a</think><answer>x</answer>\n": 0,
    " <think>a</think><answer>x</answer>": 0,
    "<think>a</think><answer>x": 0,
    "<think>a<answer>x</answer>": 0,
    "a</think><answer>x</answer>": 0,
    "<think></think><answer>": 0,
    "<answer>x</answer><think>a</think>": 0,
    "<think></answer>": 0,
    "": 0,
}


@pytest.mark.parametrize("text", FORMS)
def test_thinking_format_is_the_whole_text_in_its_tags(text):
    assert seg_zero_v1(text, ONE).parts["thinking_format"] == FORMS[text]
    assert vision_reasoner_v2(text, ONE).parts["thinking_format"] == FORMS[text]


# ---- v1 ----


def v1(body, truth=ONE, strict=True, thinking="hm"):
    """The parts without the thinking's form: answer format, box IoU, box L1, points."""
    parts = seg_zero_v1(said(body, thinking), truth, strict=strict).parts
    return tuple(parts[name] for name in ("answer_format", "box_iou", "box_l1", "points"))


def v1_json(box=BOX, first=POINTS[0], second=POINTS[1]):
    return json.dumps({"bbox": box, "points_1": first, "points_2": second})


def test_a_perfect_answer_earns_five_in_v1():
    reward = seg_zero_v1(said(v1_json()), ONE)
    assert list(reward.parts) == ["thinking_format", "answer_format", "box_iou", "box_l1", "points"]
    assert reward.total == 5


# what is said -> (strict, soft)
V1_FORMS = {
    '{"bbox": [1,2,3,4], "points_1": [1,2], "points_2": [3,4]}': (1, 1),
    '{"BBox": [1,2,3,4], "Points_a": [1,2], "my point": [3,4]}': (0, 1),
    '{"bbox_2d": [1,2,3,4], "point_1": [1,2], "point_2": [3,4]}': (0, 1),
    '{"bbox": [1,2,3,4], "points_1": [1,2]}': (0, 0),
    '{"points_1": [1,2], "points_2": [3,4]}': (0, 0),
    '{"bbox": [1,2,3], "points_1": [1,2], "points_2": [3,4]}': (0, 0),
    '{"bbox": [1,2,3,4], "points_1": [1,2,3], "points_2": [3,4]}': (0, 0),
    '{"bbox": "four", "points_1": "xy", "points_2": "xy"}': (0, 1),  # soft asks for lengths only
    '{"bbox": [null,"a",NaN,[]], "points_1": [1e999,true], "points_2": ["",""]}': (1, 1),
    '{"bbox": 4, "points_1": [1,2], "points_2": [3,4]}': (0, 0),
    '{"bbox": [1,2,3,4], "points_1": [1], "points_1": [1,2], "points_2": [3,4]}': (1, 1),  # the last of a key counts
    '{"bbox": [1,2,3,4], "bbox_b": 5, "points_1": [1,2], "points_2": [3,4]}': (1, 1),
    '{"bbox": [1,2,3,4], "bbox_point": [1,2], "points_2": [3,4]}': (0, 1),  # the second bbox key is a point's
    '{"bbox": [1,2,3,4], "points_0": [1], "points_1": [1,2], "points_2": [3,4]}': (1, 0),  # soft takes the first two
    "{'bbox': [1,2,3,4], 'points_1': [1,2], 'points_2': [3,4]}": (0, 0),  # the prompt's own example is no JSON
    '[{"bbox": [1,2,3,4], "points_1": [1,2], "points_2": [3,4]}]': (1, 1),
    '{}{}{"bbox": [1,2,3,4], "points_1": [1,2], "points_2": [3,4]}': (1, 1),  # "{}" is passed over, "{ }" is not
    '{ }{"bbox": [1,2,3,4], "points_1": [1,2], "points_2": [3,4]}': (0, 0),
    '{"a": {"bbox": [1,2,3,4], "points_1": [1,2], "points_2": [3,4]}}': (0, 0),  # read to the first "}"
    '{"bbox": [1,2,3,4], "points_1": [1,2], "points_2": [3,4], "say": "}"}': (0, 0),
    '{"bbox": [1,2,3,4], "points_1": [1,2], "points_2": [3,4]': (0, 0),
    "[1,2,3,4]": (0, 0),
    "": (0, 0),
}


@pytest.mark.parametrize("body", V1_FORMS)
def test_answer_format_of_v1(body):
    assert (v1(body, strict=True)[0], v1(body, strict=False)[0]) == V1_FORMS[body]


def test_v1_reads_the_first_braces_even_of_the_thinking():
    assert v1(v1_json(), thinking='the {"bbox": 1} of it') == (0, 0, 0, 0)
    assert seg_zero_v1(f"no tags at all {v1_json()}", ONE).total == 4


# truth, box said -> (IoU > 0.5, L1 < 10)
V1_BOXES = [
    ([0, 0, 99, 99], [0, 0, 99, 49], (0, 0)),  # 5,000 of 10,000 pixels is not above a half
    ([0, 0, 99, 99], [0, 0, 99, 50], (1, 0)),
    ([0, 0, 2, 2], [0, 0, 2, 1], (1, 1)),  # the last pixel counts: 6 of 9, not 2 of 4
    ([5, 5, 5, 9], [5, 5, 5, 9], (0, 1)),  # but a shared column alone is no overlap
    ([100, 100, 300, 200], [110, 110, 310, 210], (1, 0)),  # a mean of 10 is not below 10
    ([100, 100, 300, 200], [110, 110, 310, 209], (1, 1)),
    ([100, 100, 300, 200], [300, 200, 100, 100], (0, 0)),  # corners are not put in order
    ([10, 10, 10, 10], [10, 10, 8, 10], (0, 1)),  # a union of nothing: no IoU, and the distance still pays
    ([100, 100, 300, 200], [100.4, 99.6, 300, 200], (1, 1)),
    ([100, 100, 300, 200], [100, 100, 300, 10**400], (0, 0)),
    ([100, 100, 300, 200], [100, 100, 300, math.nan], (0, 0)),
    ([100, 100, 300, 200], [100, 100, math.inf, 200], (0, 0)),
    ([0, 0, 1, 1], [False, 0, True, True], (1, 1)),  # Python counts with booleans
    ([100, 100, 300, 200], ["100", 100, 300, 200], (0, 0)),
    ([100, 100, 300, 200], [100, 100, 300, None], (0, 0)),
    ([100, 100, 300, 200], [100, 100, 300, 200, 5], (0, 0)),
    ([100, 100, 300, 200], "1234", (0, 0)),
]


@pytest.mark.parametrize("true, box, paid", V1_BOXES)
def test_boxes_of_v1(true, box, paid):
    for strict in (True, False):
        assert v1(v1_json(box), truth_of(true), strict)[1:3] == paid


# first, second point said -> paid; the box said is the true one, 100..300 x 100..200
V1_POINTS = [
    (POINTS[0], POINTS[1], 1),
    (POINTS[1], POINTS[0], 1),  # in the better order
    ([100, 100], [300, 200], 1),  # the box's border is inside
    ([99, 150], [250, 150], 0),
    ([300.9, 150], [250, 150], 1),  # cut to whole pixels
    ([-0.5, 150], [250, 150], 0),
    ([150, 150, "and more"], [250, 150], 1),
    (["150", " 150 "], [250, 150], 1),  # texts that are numbers are numbers here
    (["150.0", 150], [250, 150], 0),
    ([math.nan, 150], [250, 150], 0),
    ([math.inf, 150], [250, 150], 0),
    ([150], [250, 150], 0),
    (None, [250, 150], 0),
]


@pytest.mark.parametrize("first, second, paid", V1_POINTS)
def test_points_of_v1(first, second, paid):
    for strict in (True, False):
        assert v1(v1_json(BOX, first, second), strict=strict)[3] == paid


def test_points_of_v1_are_near_below_a_mean_of_100_pixels():
    wide = truth_of([0, 0, 800, 10], (0, 0), (400, 0))
    assert v1(v1_json([0, 0, 800, 10], [100, 0], [500, 0]), wide)[3] == 0
    assert v1(v1_json([0, 0, 800, 10], [99, 0], [500, 0]), wide)[3] == 1
    assert v1(v1_json([0, 0, 800, 10], [0, 0], [599, 0]), wide)[3] == 1


def test_points_of_v1_must_lie_in_the_box_said_not_in_the_true_one():
    assert v1(v1_json([100, 100, 200, 200]))[3] == 0
    assert v1(v1_json([0, 0, 839, 839]))[1:] == (0, 0, 1)


def test_soft_v1_asks_for_point_in_the_format_and_for_points_in_the_measure():
    body = '{"bbox": [100,100,300,200], "point_1": [150,150], "point_2": [250,150]}'
    assert v1(body, strict=False) == (1, 1, 1, 0)
    assert v1(body.replace("point_", "Points_"), strict=False) == (1, 1, 1, 1)


def test_v1_without_a_true_object_or_second_point_pays_what_needs_neither():
    assert v1(v1_json(), NOTHING) == (1, 0, 0, 0)
    assert v1(v1_json(), truth_of(BOX, (150, 150))) == (1, 1, 1, 0)


# ---- v2 ----


def item(box, point):
    return {"bbox_2d": box, "point_2d": point}


def things(count):
    """That many objects, far from each other."""
    boxes = [(at % 12 * 70, at // 12 * 70, at % 12 * 70 + 40, at // 12 * 70 + 40) for at in range(count)]
    return Truth(tuple(boxes), tuple(((box[0] + 20, box[1] + 20),) for box in boxes), FRAME)


def answer_of(truth, *places):
    return [item(list(truth.boxes[at]), list(truth.points[at][0])) for at in places]


def v2(answer, truth=ONE):
    """The parts that depend on the answer: format and accuracy."""
    parts = vision_reasoner_v2(said(answer if isinstance(answer, str) else json.dumps(answer)), truth).parts
    return parts["answer_format"], parts["accuracy"]


def test_a_perfect_answer_earns_seven_in_v2():
    truth = things(3)
    reward = vision_reasoner_v2(said(json.dumps(answer_of(truth, 2, 0, 1))), truth)
    assert list(reward.parts) == ["thinking_format", "answer_format", "accuracy", "non_repeat"]
    assert reward.total == 7


GOOD = item(BOX, POINTS[0])

V2_FORMS = [
    ([GOOD], 2),
    ([GOOD, {"bbox_2d": BOX}], 1.5),
    ([GOOD, {}], 1),
    ([GOOD, item([1, 2, 3], [1, 2])], 1.5),
    ([item(["a", None, [], 1], [True, {}])], 2),  # lengths of lists, whatever they hold
    ([item("1234", "12")], 0),
    ([GOOD, "bbox"], 1),  # a text is no item but does not hurt ...
    ([GOOD, "bbox_2d", GOOD, GOOD], 0.5),  # ... unless it holds the key: nothing after it counts
    ([GOOD, 5, GOOD, GOOD], 0.5),
    ([None, GOOD], 0),
    ([GOOD, ["point_2d"], GOOD], 2 / 3),
    (GOOD, 0),  # one object without its list is read key by key
    ({}, 0),
    ([], 0),
    ("5", 0),
    ("null", 0),
    ('"bbox_2d"', 0),
    ("```json\n[]\n```", 0),
    ("[{'bbox_2d': [1,2,3,4], 'point_2d': [1,2]}]", 0),
    (f"\u3000 {json.dumps([GOOD])} \n", 2),
    (f"{json.dumps([GOOD])}</answer><answer>[]", 2),  # the first answer is read
    (f"<answer>{json.dumps([GOOD])}", 0),  # from the first tag on
]


@pytest.mark.parametrize("answer, paid", V2_FORMS)
def test_answer_format_of_v2(answer, paid):
    assert v2(answer)[0] == pytest.approx(paid, abs=1e-12)


def test_v2_reads_the_answer_of_a_text_without_thinking():
    assert vision_reasoner_v2(f"<answer>{json.dumps([GOOD])}</answer>", ONE).total == 6
    assert vision_reasoner_v2(json.dumps([GOOD]), ONE).total == 1


# truth, box, point -> how many of IoU > 0.5, L1 < 10, point < 30 px and in its own box
V2_PAIRS = [
    (BOX, BOX, [150, 150], 3),
    (BOX, BOX, [179, 150], 3),
    (BOX, BOX, [180, 150], 2),  # 30 pixels are not below 30
    (BOX, BOX, [168, 174], 2),  # 18 and 24 make 30, too
    (BOX, [160, 100, 300, 200], [150, 150], 1),  # the point is outside the box said; the mean L1 of 15 is too much
    (BOX, [110, 110, 310, 210], [150, 150], 2),
    (BOX, [110, 110, 310, 209], [150, 150], 3),
    ([0, 0, 99, 99], [0, 0, 99, 49], [0, 0], 1),
    ([0, 0, 99, 99], [0, 0, 99, 50], [0, 0], 2),
    ([5, 5, 5, 9], [5, 5, 5, 9], [5, 5], 3),  # here a shared column is an overlap
    (BOX, [100.5, 100, 300, 200], [150.5, 150], 3),
    (BOX, [True, 100, 300, 200], [150, 150], 2),
    (BOX, [math.nan, 100, 300, 200], [150, 150], 0),
    (BOX, [100, 100, math.inf, 200], [150, 150], 1),
    (BOX, [100, 100, 300, 10**30], [150, 150], 1),
    (BOX, [100, 100, 300, 10**400], [150, 150], 0),
    (BOX, BOX, [150, 10**30], 0),  # past 64 bits NumPy has no root, and the whole answer is lost
    (BOX, ["100", 100, 300, 200], [150, 150], 0),
    (BOX, [100, 100, 300, None], [150, 150], 0),
    (BOX, [[100], [100], [300], [200]], [150, 150], 0),
    (BOX, [True, True, True, True], [150, 150], 0),
    (BOX, [*BOX, *BOX], [150, 150], 0),
    (BOX, BOX, [150], 0),
    (BOX, BOX, [150, 150, 150], 0),
    # 2**32 pixels squared are none in 64 bits: published so, and a way to be paid for every object there is
    ([10, 10, 20, 20], [0, 0, 2**32 - 1, 2**32 - 1], [10, 10], 2),
]


@pytest.mark.parametrize("true, box, point, paid", V2_PAIRS)
def test_pairs_of_v2(true, box, point, paid):
    first = (150, 150) if true is BOX else (true[0], true[1])
    assert v2([item(box, point)], truth_of(true, first))[1] == paid


V2_LISTS = [
    (2, [0], 1.5),
    (2, [0, 1], 3),
    (2, [1, 0], 3),
    (1, [0, 0], 1.5),  # said twice counts as one too many
    (3, [2], 1),
    (0, [], 0),  # nothing there, nothing said: never paid
    (1, [], 0),
    (120, range(120), 3),
    (130, range(120), 3),  # neither side is counted beyond 120
    (130, range(130), 3),
    (130, range(10, 130), 2.75),  # the ten beyond are not wanted
    (60, [*range(60), *range(60)] * 3, 1.5),
]


@pytest.mark.parametrize("count, said_objects, paid", V2_LISTS)
def test_accuracy_of_v2_is_over_the_longer_list(count, said_objects, paid):
    truth = things(count)
    assert v2(answer_of(truth, *said_objects), truth)[1] == pytest.approx(paid, abs=1e-12)


def test_boxes_where_nothing_is_are_not_punished_but_not_paid_in_v2():
    assert v2([GOOD], NOTHING) == (2, 0)


def test_an_item_without_its_keys_loses_all_accuracy_of_v2_even_beyond_the_120():
    truth = things(120)
    whole = answer_of(truth, *range(120))
    assert v2([*whole, {"label": "x"}], truth)[1] == 0
    assert v2([*whole, item(None, None)], truth)[1] == 3  # keys are asked of all, numbers of the first 120


V2_REPETITIONS = {
    "One. Two. Three.": 1,
    "One. Two. One. Three": 1,
    "One. One. One. ": 0,
    "One. Two. One. Two.": 0,
    "One.\n One .One.": 0,  # white space around does not count
    "One! One! One! One!": 1,  # only full stops end a sentence
    "........": 1,
    "": 1,
}


@pytest.mark.parametrize("text", V2_REPETITIONS)
def test_non_repeat_of_v2(text):
    assert vision_reasoner_v2(text, ONE).parts["non_repeat"] == V2_REPETITIONS[text]


# ---- all texts ----

numbers = st.integers(0, 60)
pairs = st.lists(st.tuples(numbers, numbers, numbers, numbers, numbers, numbers), min_size=1, max_size=4)


def slow_pair(said_object, true):
    """v2's three measures of one pair, in whole numbers and written out."""
    (a0, b0, a1, b1, ax, ay), (c0, d0, c1, d1, cx, cy) = said_object, true
    both = max(0, min(a1, c1) - max(a0, c0) + 1) * max(0, min(b1, d1) - max(b0, d0) + 1)
    union = (a1 - a0 + 1) * (b1 - b0 + 1) + (c1 - c0 + 1) * (d1 - d0 + 1) - both
    iou = 2 * both > union if union > 0 else both * union > 0 if union else both > 0
    inside = a0 <= ax <= a1 and b0 <= ay <= b1
    return (
        iou
        + (abs(a0 - c0) + abs(b0 - d0) + abs(a1 - c1) + abs(b1 - d1) < 40)
        + (inside and (ax - cx) ** 2 + (ay - cy) ** 2 < 900)
    )


def ordered(row):
    x0, x1, y0, y1 = *sorted((row[0], row[2])), *sorted((row[1], row[3]))
    return x0, y0, x1, y1, *row[4:]


@given(pairs.map(lambda rows: list(map(ordered, rows))), pairs.map(lambda rows: list(map(ordered, rows))))
def test_accuracy_of_v2_is_the_best_of_all_pairings(said_objects, true):
    longer, shorter = sorted((said_objects, true), key=len, reverse=True)
    best = max(
        sum(
            slow_pair(one, other) if longer is said_objects else slow_pair(other, one)
            for one, other in zip(some, shorter, strict=True)
        )
        for some in itertools.permutations(longer, len(shorter))
    )
    truth = Truth(tuple(row[:4] for row in true), tuple((row[4:],) for row in true), FRAME)
    answer = [item(list(row[:4]), list(row[4:])) for row in said_objects]
    assert v2(answer, truth)[1] == pytest.approx(best / len(longer), abs=1e-12)


@given(texts, st.sampled_from([ONE, NOTHING, things(3)]))
def test_any_text_earns_the_sum_of_its_parts_within_bounds(text, truth):
    for reward, most in (
        (seg_zero_v1(text, truth), 5),
        (seg_zero_v1(text, truth, strict=False), 5),
        (vision_reasoner_v2(text, truth), 7),
    ):
        assert reward.total == pytest.approx(sum(reward.parts.values()), abs=1e-12)
        assert 0 <= reward.total <= most and all(part >= 0 for part in reward.parts.values())
    assert set(seg_zero_v1(text, truth).parts.values()) <= {0.0, 1.0}


@given(st.permutations(range(4)), st.permutations(range(4)), st.lists(st.integers(-20, 20), min_size=4, max_size=4))
def test_the_order_of_objects_does_not_matter_in_v2(order, other, shifts):
    truth = things(4)
    answer = [
        item([value + shift for value in said_object["bbox_2d"]], said_object["point_2d"])
        for said_object, shift in zip(answer_of(truth, *range(4)), shifts, strict=True)
    ]
    moved = Truth(tuple(truth.boxes[at] for at in other), tuple(truth.points[at] for at in other), FRAME)
    assert v2([answer[at] for at in order], moved) == pytest.approx(v2(answer, truth))


HOSTILE = {
    "spaces after an open tag": lambda size: "<answer>" + " " * size,
    "white space after the thinking": lambda size: "<think></think>" + " " * size + "x</answer>",
    "turns": lambda size: "<think>" + "</think> <answer>" * (size // 17),
    "open answers": lambda size: "<answer>" * (size // 8),
    "answers": lambda size: "<answer> </answer>" * (size // 18),
    "open braces": lambda size: "{" * size,
    "empty braces": lambda size: "{}" * (size // 2),
    "open lists": lambda size: "<answer>" + "[" * size + "</answer>",
    "digits": lambda size: "<answer>[" + "9" * size + "]</answer>",
    "full stops": lambda size: " ." * (size // 2),
    "one long text among numbers": lambda size: said(
        f"[{(json.dumps(GOOD) + ',') * (size // 200)}" + json.dumps(item(["a" * (size // 2), 1, 2, 3], [1, 2])) + "]"
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_sixteen_times_the_text_takes_about_sixteen_times_the_work(kind):
    short, long = (least_seconds(HOSTILE[kind](size)) for size in (20_000, 320_000))
    assert long < 80 * max(short, 2e-4)  # quadratic would be 256 times, cubic 4,096


def least_seconds(text):
    """Processor time of all three rewards, the least of three, so that the machine's other work does not count."""

    def once():
        start = time.process_time()
        seg_zero_v1(text, ONE)
        seg_zero_v1(text, ONE, strict=False)
        vision_reasoner_v2(text, ONE)
        return time.process_time() - start

    return min(once() for _ in range(3))
