"""The prompts are the ones the checkpoints were trained with, to the letter."""

import dataclasses

import pytest

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.profile import PROFILES, get_profile

V1 = (
    "Please find 'the red mug' with bbox and points.Compare the difference between objects and find the most closely "
    "matched one.Output the thinking process in <think> </think> and final answer in <answer> </answer> tags.Output "
    "the one bbox and points of two largest inscribed circles inside the interested object in JSON format.i.e., "
    "<think> thinking process here </think><answer>{'bbox': [10,100,200,210], 'points_1': [30,110], 'points_2': "
    "[35,180]}</answer>"
)
V2 = (
    'Please find "the red mug" with bboxs and points.Compare the difference between object(s) and find the most '
    "closely matched object(s).Output the thinking process in <think> </think> and final answer in <answer> </answer> "
    "tags.Output the bbox(es) and point(s) inside the interested object(s) in JSON format.i.e., <think> thinking "
    'process here </think><answer>[{"bbox_2d": [10,100,200,210], "point_2d": [30,110]}, {"bbox_2d": [225,296,706,786], '
    '"point_2d": [302,410]}]</answer>'
)


def test_there_are_six_profiles() -> None:
    assert set(PROFILES) == {
        "seg_zero_v1",
        "vision_reasoner_v2",
        "abstaining_v2",
        "qwen25vl_zero_shot",
        "qwen3vl",
        "qwen3vl_thinking",
    }


def test_v1_asks_with_single_quotes_and_one_object() -> None:
    assert get_profile("seg_zero_v1").render("the red mug") == V1


def test_v2_asks_with_double_quotes_and_a_list() -> None:
    assert get_profile("vision_reasoner_v2").render("the red mug") == V2


def test_abstaining_v2_is_v2_and_one_sentence_about_the_empty_list() -> None:
    prompt = get_profile("abstaining_v2").render("the red mug")
    assert prompt.startswith(V2)
    assert prompt.removeprefix(V2).count("[]") == 2


def test_a_qwen3_that_thinks_is_asked_as_abstaining_v2_and_answers_in_thousandths() -> None:
    profile, like = get_profile("qwen3vl_thinking"), get_profile("abstaining_v2")
    assert profile.render("The red mug.") == like.render("The red mug.")
    assert (profile.tags, profile.abstains, profile.coordinate_size()) == (True, True, (1000, 1000))


@pytest.mark.parametrize("name", ["qwen25vl_zero_shot", "qwen3vl"])
def test_zero_shot_prompts_ask_for_no_tags(name: str) -> None:
    assert "<answer>" not in get_profile(name).render("the red mug")


@pytest.mark.parametrize(("said", "asked"), [("The Red Mug.", "the red mug"), ("...a MUG...", "a mug"), ("...", "...")])
def test_trained_profiles_ask_in_lower_case_without_full_stops(said: str, asked: str) -> None:
    assert get_profile("vision_reasoner_v2").question(said) == asked


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("vision_reasoner_v2", "which mug"),
        ("seg_zero_v1", '"which mug?"'),
        ("abstaining_v2", '"which mug?"'),
        ("qwen3vl", '"Which Mug?"'),
    ],
)
def test_marks_at_either_end_go_where_upstream_takes_them_off(name: str, asked: str) -> None:
    assert get_profile(name).question('"Which Mug?"') == asked


def test_stock_models_are_asked_as_it_was_said() -> None:
    assert get_profile("qwen3vl").question("The Red Mug.") == "The Red Mug."


@pytest.mark.parametrize("name", PROFILES)
def test_braces_in_a_command_are_only_braces(name: str) -> None:
    assert "{question} {0.__class__} {{" in get_profile(name).render("{question} {0.__class__} {{".lower()).lower()


def test_coordinates_are_pixels_of_the_image_or_thousandths() -> None:
    assert get_profile("vision_reasoner_v2").coordinate_size() == (840, 840)
    assert get_profile("qwen3vl").coordinate_size() == (1000, 1000)


def test_only_some_families_can_say_there_is_none() -> None:
    assert {name for name, profile in PROFILES.items() if not profile.abstains} == {"seg_zero_v1", "vision_reasoner_v2"}


def test_an_unknown_profile_gets_the_nearest_name() -> None:
    with pytest.raises(RejectedInput, match="did you mean 'vision_reasoner_v2'") as refused:
        get_profile("vision_reasoner")
    assert refused.value.code is Code.BUNDLE_PROFILE


@pytest.mark.parametrize(
    "prompt",
    ["no question", "{question} {question}", "{question.x}", "{question!r}", "{question:>9}", "{}", "{", "{other}"],
)
def test_a_bundles_own_prompt_must_have_the_question_once_and_nothing_else(prompt: str) -> None:
    with pytest.raises(RejectedInput) as refused:
        dataclasses.replace(get_profile("abstaining_v2"), prompt=prompt)
    assert refused.value.code is Code.BUNDLE_PROFILE


@pytest.mark.parametrize("size", [(0, 168), (168, -1), (168,)])
def test_an_image_without_area_is_no_image_size(size: tuple[int, int]) -> None:
    with pytest.raises(RejectedInput):
        dataclasses.replace(get_profile("abstaining_v2"), image_size=size)
