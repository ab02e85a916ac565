"""What a model quotes, drafts or spells while it thinks is never its answer, however the text grows."""

import itertools
import json
import random

import pytest

from segzero_ros.answer import parse_answer
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.profile import get_profile
from segzero_ros.reasoner import TagReader, find_answer

SIZE = (840, 840)
TAGGED, FREE = get_profile("abstaining_v2"), get_profile("qwen3vl")
DRAFT = json.dumps([{"bbox_2d": [1, 2, 3, 4], "point_2d": [2, 3]}])
REAL = json.dumps([{"bbox_2d": [100, 200, 300, 400], "point_2d": [150, 250]}])
WANTED = (100.0, 200.0, 300.0, 400.0)
PROMPT = TAGGED.render("the mug")

DRAFTS = {
    "an answer": f"I would say <answer>{DRAFT}</answer> but no.",
    "none": "Is it <answer>[]</answer>? Rather not.",
    "the prompt": f"I was asked: {PROMPT} So.",
    "a whole reply": f"They write <think>hm</think><answer>{DRAFT}</answer>, as an example.",
    "an opening tag": f"It begins with <answer> and then {DRAFT}.",
    "braces": f"The set {{a, b}} or {DRAFT}, we will see.",
    "a fence": f"```json\n{DRAFT}\n``` was the last one.",
    "a closing tag apart": f"After </think> comes <answer>{DRAFT}</answer> and so on.",
    "at once": f"<answer>{DRAFT}</answer> is too early.",
}


def code(text: str, profile=TAGGED, finish="stop") -> Code:
    with pytest.raises(RejectedInput) as refused:
        parse_answer(text, profile, SIZE, finish=finish)
    return refused.value.code


@pytest.mark.parametrize("opened", [True, False], ids=["opened", "opened by the prompt"])
@pytest.mark.parametrize("name", DRAFTS)
def test_a_draft_is_not_the_answer(name, opened):
    text = f"{'<think>' * opened}{DRAFTS[name]}</think><answer>{REAL}</answer>"
    assert [target.box for target in parse_answer(text, TAGGED, SIZE).targets] == [WANTED]
    assert [target.box for target in parse_answer(text, TAGGED, SIZE, finish="budget").targets] == [WANTED]


@pytest.mark.parametrize("name", DRAFTS)
def test_cut_before_the_real_one_it_is_truncated(name):
    whole = f"<think>{DRAFTS[name]}</think><answer>{REAL}</answer>"
    for length in range(len(whole)):
        assert code(whole[:length], finish="budget") is Code.ANSWER_TRUNCATED


@pytest.mark.parametrize("name", [name for name in DRAFTS if name != "a closing tag apart"])
def test_thinking_without_an_answer_is_unreadable(name):
    assert code(f"<think>{DRAFTS[name]}") is Code.ANSWER_UNREADABLE
    assert code(f"<think>{DRAFTS[name]}</think>") is Code.ANSWER_UNREADABLE


@pytest.mark.parametrize("name", DRAFTS)
def test_a_profile_without_tags_knows_thinking_too(name):
    text = f"<think>{DRAFTS[name]}</think>\n```json\n{REAL}\n```"
    (target,) = parse_answer(text, FREE, (1000, 1000)).targets
    assert target.box == WANTED
    assert code(f"<think>{DRAFTS[name].replace('</think>', '')}", FREE) is Code.ANSWER_UNREADABLE
    assert code(text[: text.index("</think>\n")], FREE, "budget") is Code.ANSWER_TRUNCATED


@pytest.mark.parametrize("tag", ["<thinking>", "<THINK>", "< think >", "<reasoning>", "<Thought>"])
def test_a_draft_in_tags_of_another_spelling_is_not_read_as_an_answer(tag):
    closing = tag.replace("<", "</")
    assert code(f"{tag}I would say {DRAFT}{closing}{REAL}", FREE) is Code.ANSWER_UNREADABLE
    assert code(f"{tag}I would say {DRAFT}", FREE) is Code.ANSWER_UNREADABLE
    assert code(f"<answer>{tag}{DRAFT}{closing}{REAL}</answer>") is Code.ANSWER_UNREADABLE
    assert parse_answer(f"<answer>{REAL}</answer>", FREE, SIZE).targets


def test_an_opening_tag_spelled_too_often_costs_nothing_at_the_end_of_the_text():
    text = f"<think>I use <think> tags.</think><answer>{REAL}</answer>"
    assert parse_answer(text, TAGGED, SIZE).thinking == "I use <think> tags."
    assert code(text + " And", finish="budget") is Code.ANSWER_TRUNCATED


# ---- the rule for growing texts ----


def read(pieces) -> TagReader:
    reader = TagReader()
    for piece in pieces:
        reader.push(piece)
    return reader


@pytest.mark.parametrize("name", [name for name in DRAFTS if name != "a closing tag apart"])
def test_a_growing_text_is_over_at_the_real_answers_end(name):
    whole = f"<think>{DRAFTS[name]}</think><answer>{REAL}</answer>"
    reader = TagReader()
    for at, char in enumerate(whole):
        assert reader.ended_at is None, whole[:at]
        reader.push(char)
    assert reader.ended_at == len(whole)


def test_pieces_do_not_matter_and_what_it_takes_for_whole_the_parser_does_too():
    rng, ended = random.Random(3), 0
    parts = ["<think>", "</think>", "<answer>", "</answer>", " ", "hm", "<", "</", "[]", "<think", "\n"]
    for _ in range(20_000):
        text = "".join(rng.choices(parts, k=rng.randrange(1, 9)))
        cuts = sorted(rng.randrange(len(text) + 1) for _ in range(3))
        pieces = [text[lo:hi] for lo, hi in itertools.pairwise([0, *cuts, len(text)])]
        one, other = read([text]), read(pieces)
        assert vars(one) == vars(other)
        if one.ended_at == len(text) and "think>" not in text[one.answer_at :]:
            ended += 1
            passage = find_answer(text, tags=True)
            assert passage is not None and passage.body == text[one.answer_at : -len("</answer>")]
    assert ended > 50
