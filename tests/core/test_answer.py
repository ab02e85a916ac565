"""Whatever a model writes becomes boxes one can act on, or a code; in linear time."""

import json
import math
import random
import re
import time
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segzero_ros.answer import MAX_ANSWER_CHARS, MAX_TARGETS, Parsed, Target, clean_text, parse_answer, split_thinking
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.profile import PROFILES, Profile, get_profile

V1, V2, ABSTAINING = get_profile("seg_zero_v1"), get_profile("vision_reasoner_v2"), get_profile("abstaining_v2")
QWEN25, QWEN3 = get_profile("qwen25vl_zero_shot"), get_profile("qwen3vl")
SIZE = (1680, 840)  # twice as wide as the model's image, as high
ONE = '[{"bbox_2d": [10,100,200,210], "point_2d": [30,110]}]'
ONE_BOX, ONE_POINT = (20.0, 100.0, 400.0, 210.0), (60.0, 110.0)


def tagged(body: str, thinking: str = "hm") -> str:
    return f"<think>{thinking}</think><answer>{body}</answer>"


def item(box: object, point: object = (30, 110)) -> str:
    return json.dumps({"bbox_2d": box, "point_2d": point})


def parse(text: str, profile: Profile = V2, **options: str) -> Parsed:
    return parse_answer(text, profile, SIZE, **options)  # type: ignore[arg-type]


def code_of(text: str, profile: Profile = V2, **options: str) -> Code:
    with pytest.raises(RejectedInput) as refused:
        parse(text, profile, **options)
    assert refused.value.detail
    refused.value.detail.encode("utf-8")
    return refused.value.code


def parse_or_refuse(text: str, profile: Profile, finish: str) -> Parsed | RejectedInput:
    try:
        return parse(text, profile, finish=finish)
    except RejectedInput as error:
        return error


def assert_safe_or_refused(text: str, profile: Profile, finish: str = "stop") -> str:
    """The invariant of the parser; returns what came of it."""
    result = parse_or_refuse(text, profile, finish)
    if isinstance(result, RejectedInput):
        assert result.code in {Code.ANSWER_UNREADABLE, Code.ANSWER_TRUNCATED}
        result.detail.encode("utf-8")
        return result.code.name
    result.thinking.encode("utf-8")
    assert "\0" not in result.thinking
    assert len(result.targets) <= MAX_TARGETS
    assert result.targets or profile.abstains
    for target in result.targets:
        assert_safe(target, points=2 if profile.grammar == "v1" else 1)
    return "targets" if result.targets else "none"


def assert_safe(target: Target, *, points: int) -> None:
    x0, y0, x1, y1 = target.box
    assert 0 <= x0 < x1 <= SIZE[0]
    assert 0 <= y0 < y1 <= SIZE[1]
    assert len(target.points) == points
    assert all(0 <= x < SIZE[0] and 0 <= y < SIZE[1] for x, y in target.points)
    assert all(math.isfinite(number) for number in (*target.box, *sum(target.points, ())))


# ---- what is read ----


def test_v1_gives_one_box_and_two_points_in_source_pixels() -> None:
    parsed = parse(tagged("{'bbox': [10,100,200,210], 'points_1': [30,110], 'points_2': [35,180]}"), V1)
    assert parsed.thinking == "hm"
    assert [(target.box, target.points) for target in parsed.targets] == [(ONE_BOX, (ONE_POINT, (70.0, 180.0)))]


def test_v2_gives_boxes_in_the_models_order() -> None:
    body = (
        '[{"bbox_2d": [10,100,200,210], "point_2d": [30,110]}, {"bbox_2d": [225,296,706,786], "point_2d": [302,410]}]'
    )
    assert [target.box for target in parse(tagged(body)).targets] == [ONE_BOX, (450.0, 296.0, 1412.0, 786.0)]


def test_the_example_in_each_prompt_is_an_answer_of_that_profile() -> None:
    for profile in (V1, V2, ABSTAINING):
        example = profile.render("the mug").partition("i.e., ")[2]
        assert parse(example.partition("</answer>")[0], profile).targets


def test_thousandths_become_source_pixels() -> None:
    parsed = parse('```json\n[{"bbox_2d": [0, 500, 500, 1000], "label": "mug"}]\n```', QWEN3)
    assert parsed.targets[0].box == (0.0, 420.0, 840.0, 840.0)


@pytest.mark.parametrize(
    "body",
    [
        ONE,
        ONE.replace('"', "'"),
        f"```json\n{ONE}\n```",
        f"```\n{ONE}```",
        f"Here it is: {ONE} I hope.",
        ONE[1:-1],
        ONE.replace("}", ",}").replace("]}", ",]}").replace("}]", "},]"),
        ONE.replace(",", " ,\n\t"),
        ONE.replace("10,", "10.0,"),
        ONE.replace("}", ', "label": "the man\'s \\"hat\\" } ] \\u0041", "sure": true, "why": null, "n": 3}'),
        f"[{ONE[1:-1]}, {ONE[1:-1]}]",
    ],
)
def test_the_ways_models_write_one_object(body: str) -> None:
    (target,) = parse(tagged(body)).targets
    assert (target.box, target.points) == (ONE_BOX, (ONE_POINT,))


def test_the_last_answer_counts_not_one_spelled_in_the_thinking() -> None:
    echoed = tagged(item([1, 1, 2, 2]))
    parsed = parse(f"<think>they wrote {echoed} but</think><answer>{ONE}</answer>")
    assert parsed.targets[0].box == ONE_BOX
    assert parsed.thinking.startswith("they wrote <think>hm</think><answer>")


@pytest.mark.parametrize(
    "text",
    [
        f"<answer>{ONE}</answer>",
        f"no tags <answer>{ONE}</answer>",
        f"</think><answer>{ONE}</answer>",
        f"<think><answer>{ONE}",
    ],
)
def test_thinking_may_be_missing_or_unclosed(text: str) -> None:
    assert parse(text).targets[0].box == ONE_BOX


@pytest.mark.parametrize("finish", ["budget", "deadline"])
def test_a_complete_answer_counts_however_the_thinking_ended(finish: str) -> None:
    assert parse(tagged(ONE), finish=finish).targets


def test_a_stop_word_may_have_taken_the_closing_tag() -> None:
    assert parse(f"<think>hm</think><answer>{ONE}").targets


def test_a_stock_model_without_a_point_gets_the_boxs_centre() -> None:
    (target,) = parse('[{"bbox_2d": [0, 0, 420, 420], "label": "mug"}]', QWEN25).targets
    assert target.points == ((420.0, 210.0),)


# ---- boxes one can act on ----


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        ([200, 210, 10, 100], ONE_BOX),
        ([-50, -1, 200, 210], (0.0, 0.0, 400.0, 210.0)),
        ([10, 100, 999999999, 99999], (20.0, 100.0, 1680.0, 840.0)),
        ([0.25, 0.5, 1.5, 2.5], (0.5, 0.5, 3.0, 2.5)),
    ],
)
def test_boxes_are_ordered_and_clamped(box: list[float], wanted: tuple[float, ...]) -> None:
    assert parse(tagged(f"[{item(box)}]")).targets[0].box == wanted


def test_points_are_clamped_to_pixels_that_exist() -> None:
    assert parse(tagged(f"[{item([1, 1, 9, 9], [5000, -5])}]")).targets[0].points == ((1679.0, 0.0),)


@pytest.mark.parametrize("box", [[10, 10, 10, 20], [900, 10, 950, 20], [-9, -9, -1, -1]])
def test_a_box_without_area_in_the_image_is_refused(box: list[int]) -> None:
    assert code_of(tagged(f"[{item(box)}]")) is Code.ANSWER_UNREADABLE


def test_the_same_object_twice_is_one_and_too_many_are_refused() -> None:
    many = [item([k, 0, k + 5, 5]) for k in range(MAX_TARGETS)]
    assert len(parse(tagged(f"[{','.join(many * 2)}]")).targets) == MAX_TARGETS
    assert code_of(tagged(f"[{','.join([*many, item([800, 1, 805, 9])])}]")) is Code.ANSWER_UNREADABLE


# ---- what is refused ----


@pytest.mark.parametrize(
    "number",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "1e3",
        "true",
        "null",
        '"5"',
        "9" * 5000,
        "0x10",
        "1_0",
        "1.2.3",
        "+1",
        "[1]",
        "--1",
        "1.",
        "nan",
        "٣",
    ],
)
def test_only_plain_numbers_are_coordinates(number: str) -> None:
    assert code_of(tagged(f'[{{"bbox_2d": [{number},100,200,210], "point_2d": [30,110]}}]')) is Code.ANSWER_UNREADABLE


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no idea",
        "[1]",
        "[[]]",
        "[null]",
        "{}",
        "[{}]",
        '[{"bbox_2d": [1,2,3]}]',
        '[{"bbox_2d": [1,2,3,4]}]',
        '[{"bbox_2d": [1,2,3,4], "point_2d": [1]}]',
        '[{"bbox_2d": [1,2,3,4], "point_2d": [1,2,3]}]',
        '[{"bbox_2d": {"x": 1}, "point_2d": [1,2]}]',
        '[{"bbox_2d": [1,2,3,4], "bbox_2d": [1,2,3,9], "point_2d": [1,2]}]',
        '[{"bbox_2d": [1,2,3,4] "point_2d": [1,2]}]',
        '[{"bbox_2d": [1,2,3,4], "point_2d": [1,2]}, {"bbox_2d": [1,',
        "[" * 100_000,
        '{"a":' * 50_000,
        '["' + "\\" * 10_000,
        "[" + " " * (MAX_ANSWER_CHARS + 1) + "]",
    ],
)
def test_what_is_no_answer_is_unreadable(body: str) -> None:
    assert code_of(tagged(body)) is Code.ANSWER_UNREADABLE


def test_one_bad_object_spoils_the_answer() -> None:
    assert code_of(tagged(f"[{item([1, 1, 9, 9])}, {item([1, 1, 9])}]")) is Code.ANSWER_UNREADABLE


def test_v1_wants_exactly_one_object_with_two_points() -> None:
    one = "{'bbox': [1,2,3,4], 'points_1': [1,2], 'points_2': [1,2]}"
    assert parse(tagged(f"[{one}]"), V1).targets
    assert code_of(tagged(f"[{one}, {one.replace('4', '5')}]"), V1) is Code.ANSWER_UNREADABLE
    assert code_of(tagged("{'bbox': [1,2,3,4], 'points_1': [1,2]}"), V1) is Code.ANSWER_UNREADABLE


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_an_empty_list_is_an_answer_only_of_profiles_that_abstain(profile: Profile) -> None:
    text = tagged(" [ ] ") if profile.tags else "```json\n[]\n```"
    if profile.abstains:
        assert parse(text, profile).targets == ()
    else:
        assert code_of(text, profile) is Code.ANSWER_UNREADABLE


@pytest.mark.parametrize("finish", ["budget", "deadline", "cancelled"])
@pytest.mark.parametrize(
    "text", ["", "<think>hm", "<think>hm</think>", "<think>hm</think><answer>[{", "<think>hm</think><answer>"]
)
def test_a_text_cut_before_its_end_is_truncated(text: str, finish: str) -> None:
    assert code_of(text, finish=finish) is Code.ANSWER_TRUNCATED
    assert code_of(text) is Code.ANSWER_UNREADABLE


def test_an_untagged_answer_cut_before_its_end_is_truncated() -> None:
    assert code_of('```json\n[{"bbox_2d": [1,2', QWEN25, finish="budget") is Code.ANSWER_TRUNCATED
    assert code_of('```json\n[{"bbox_2d": [1,2\n```', QWEN25, finish="budget") is Code.ANSWER_UNREADABLE


def test_every_cut_of_an_answer_is_truncated_and_never_half_an_answer() -> None:
    whole = tagged(f"[{item([1, 1, 9, 9])}, {item([11, 1, 19, 9])}]")
    closing = whole.rindex("]") + 1
    for length in range(closing):
        assert code_of(whole[:length], finish="budget") is Code.ANSWER_TRUNCATED


# ---- the invariant ----

json_like = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(["bbox_2d", "point_2d", "bbox", "points_1", "points_2", "label"]), inner, max_size=4
        )
    ),
    max_leaves=30,
)


@given(json_like, st.sampled_from(sorted(PROFILES)))
def test_any_json_gives_safe_boxes_or_a_refusal(value: object, name: str) -> None:
    assert_safe_or_refused(tagged(json.dumps(value)), PROFILES[name])


@given(st.lists(st.floats(-1e8, 1e8), min_size=4, max_size=4), st.lists(st.floats(-1e8, 1e8), min_size=2, max_size=2))
def test_any_numbers_give_safe_boxes_or_a_refusal(box: list[float], point: list[float]) -> None:
    numbers = [f"{number:.6f}" for number in (*box, *point)]
    body = f'[{{"bbox_2d": [{",".join(numbers[:4])}], "point_2d": [{",".join(numbers[4:])}]}}]'
    assert_safe_or_refused(tagged(body), V2)


@given(st.text(st.characters(codec=None, categories=None), max_size=200), st.sampled_from(sorted(PROFILES)))
def test_any_text_gives_safe_boxes_or_a_refusal(text: str, name: str) -> None:
    assert_safe_or_refused(text, PROFILES[name])


SPLICES = [
    "NaN",
    "1e999",
    "true",
    "[",
    "]",
    "{",
    "}",
    '"',
    "'",
    "\\",
    ",",
    ":",
    "-",
    "9" * 40,
    "\ud83d",
    "\0",
    "</answer>",
    "<answer>",
    "```",
    "<think>",
    "</think>",
    " " * 9,
    "\\ud83d",
]


def mutated(text: str, rng: random.Random) -> str:
    for _ in range(rng.randrange(1, 5)):
        at, end = sorted(rng.randrange(len(text) + 1) for _ in "ab")
        kind = rng.randrange(4)
        if kind == 0:
            text = text[:at] + rng.choice(SPLICES) + text[at:]
        elif kind == 1:
            text = text[:at] + text[min(end, at + 8) :]
        elif kind == 2:
            text = text[:at] + text[at:end] * 2 + text[end:]
        else:
            text = text[:at] + chr(rng.choice([rng.randrange(128), rng.randrange(0x110000)])) + text[at + 1 :]
    return text


def test_mutated_answers_give_safe_boxes_or_a_refusal() -> None:
    rng, seen = random.Random(6), Counter[str]()
    seeds = {
        "seg_zero_v1": [tagged("{'bbox': [10,100,200,210], 'points_1': [30,110], 'points_2': [35,180]}")],
        "abstaining_v2": [tagged(ONE), tagged("[]"), tagged(f"[{item([1, 1, 9, 9])}, {item([11, 1, 19, 9])}]")],
        "qwen25vl_zero_shot": [f"```json\n{ONE}\n```"],
        "qwen3vl": ['[{"bbox_2d": [0, 500, 500, 1000], "label": "mug"}]'],
        "qwen3vl_thinking": [tagged(f"[{item([1, 1, 9, 9])}, {item([700, 700, 1000, 999])}]")],
    }
    for _ in range(20_000):
        name = rng.choice(list(seeds))
        finish = rng.choice(["stop", "stop", "budget", "deadline"])
        seen[assert_safe_or_refused(mutated(rng.choice(seeds[name]), rng), PROFILES[name], finish)] += 1
    assert min(seen[kind] for kind in ("targets", "none", "ANSWER_UNREADABLE", "ANSWER_TRUNCATED")) >= 200, seen


def test_a_bundles_own_image_size_is_the_coordinates() -> None:
    small = replace(V2, image_size=(168, 168))
    assert parse(tagged(f"[{item([2, 20, 40, 42], [6, 22])}]"), small).targets[0].box == ONE_BOX


# ---- time ----

PATHOLOGICAL = {
    "an unclosed tag and spaces": lambda n: "<answer>" + " " * n,
    "opening tags": lambda n: "<answer>" * (n // 8),
    "closing tags": lambda n: "</answer>" * (n // 9),
    "thinking tags": lambda n: "<think>" * (n // 7) + tagged(ONE),
    "half tags": lambda n: "<answer" * (n // 7) + tagged(ONE),
    "fences": lambda n: "<answer>" + "```" * (n // 3) + "</answer>",
    "brackets": lambda n: "<answer>" + "[" * n + "</answer>",
    "escapes": lambda n: '<answer>["' + '\\"' * (n // 2) + "</answer>",
    "quotes": lambda n: "<answer>{" + "'\"" * (n // 2) + "</answer>",
    "digits": lambda n: "<answer>[" + "9" * n + "</answer>",
    "boxes in words": lambda n: "<answer>" + "10, 20, 60, 80 " * (n // 15) + ONE + "</answer>",
    "numbers in words": lambda n: tagged(ONE + "1 " * (n // 2)),
    "quotes in words": lambda n: tagged(ONE + "\"'" * (n // 2)),
    "tags of another spelling": lambda n: tagged("< " * (n // 2) + ONE),
    "controls": lambda n: "<think>" + "\x07" * n + "</think><answer>[]</answer>",
    "objects": lambda n: tagged("[" + ",".join([item([1, 1, 9, 9])] * (n // 53)) + "]"),
}


def seconds(text: str) -> float:
    """CPU seconds of one parse, the best of five: the machine is busy with other things."""
    best = math.inf
    for _ in range(5):
        start = time.process_time()
        parse_or_refuse(text, ABSTAINING, "stop")
        best = min(best, time.process_time() - start)
    return best


@pytest.mark.parametrize("make", PATHOLOGICAL.values(), ids=PATHOLOGICAL.keys())
def test_twice_the_text_takes_at_most_about_twice_the_time(make) -> None:  # type: ignore[no-untyped-def]
    n = 100_000
    short, long = seconds(make(n)), seconds(make(2 * n))
    assert long < 4 * short + 0.005, (short, long)
    assert long < 0.1


def test_the_longest_answer_that_is_read_takes_milliseconds() -> None:
    text = tagged("[" + ",".join([item([1, 1, 9, 9])] * (MAX_ANSWER_CHARS // 54)) + "]")
    assert parse(text).targets
    assert seconds(text) < 0.1


def test_the_clock_would_notice_the_cubic_pattern() -> None:
    pattern = re.compile(r"<answer>\s*(.*?)\s*</answer>", re.DOTALL)
    times = []
    for n in (150, 300):
        start = time.process_time()
        for _ in range(3):
            pattern.search("<answer>" + " " * n)
        times.append(time.process_time() - start)
    assert times[1] > 4 * times[0]


# ---- text for people ----


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain\n\ttext ü🍵", "plain\n\ttext ü🍵"),
        ("a\0b\x1b[31mc\x7f\x9b", "ab[31mc"),
        ("\ud83c\udf75", "🍵"),
        ("a\ud83db\udc00", "a\ufffdb\ufffd"),
        ("\r\n", "\n"),
    ],
)
def test_clean_text_is_utf8_without_controls(text: str, clean: str) -> None:
    assert clean_text(text) == clean


@given(st.text(st.characters(codec=None, categories=None)))
def test_any_text_cleans_to_utf8_and_stays_clean(text: str) -> None:
    once = clean_text(text)
    assert "\0" not in once
    assert clean_text(once.encode("utf-8").decode("utf-8")) == once


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think> hm </think><answer>[]</answer>", ("hm", "<answer>[]</answer>")),
        ("<think>growing", ("growing", "")),
        ("<think>cut <answer>[]", ("cut", "")),
        ("[]", ("", "[]")),
        ("", ("", "")),
    ],
)
def test_a_growing_text_splits_into_thinking_and_the_rest(text: str, parts: tuple[str, str]) -> None:
    assert split_thinking(text) == parts
