"""Whatever way an answer goes by its grammar, the parser reads it; what is forced is all that could have come."""

import random
from dataclasses import replace

import pytest

from segzero_ros.answer import MAX_TARGETS, parse_answer
from segzero_ros.backends.decoding.grammar import AnswerGrammar, State
from segzero_ros.profile import Profile, get_profile

TAGGED = ("seg_zero_v1", "vision_reasoner_v2", "abstaining_v2")
SMALL = replace(get_profile("abstaining_v2"), prompt="{question}", image_size=(196, 160))


def wander(grammar: AnswerGrammar, rng: random.Random, stop_after: int = 10_000) -> str:
    """Walk at random from the start to the end, closing the list after so many characters."""
    state, text = grammar.start, ""
    while not grammar.ended(state):
        state = state._replace(closing=len(text) > stop_after)
        char = rng.choice(grammar.ways(state))
        after = grammar.walk(state, char)
        assert after is not None, (text, char)
        state, text = after, text + char
    return text


SPACED = (
    '</think><answer>[{"bbox_2d": [1,2,3,4], "point_2d": [5,6]}, {"bbox_2d": [1,2,3,4], "point_2d": [5,6]}]</answer>'
)


def spelled(profile: Profile, text: str = SPACED) -> AnswerGrammar:
    """A grammar that has seen one answer of its model."""
    grammar = AnswerGrammar(profile)
    grammar.learn(grammar.start, text)
    return grammar


@pytest.mark.parametrize("name", TAGGED)
def test_every_answer_of_the_grammar_is_readable(name: str) -> None:
    profile = replace(get_profile(name), image_size=(196, 160))
    grammar, rng = AnswerGrammar(profile), random.Random(5)
    counts = set()
    for _ in range(300):
        text = wander(grammar, rng, rng.choice((50, 400, 2000)))
        counts.add(len(parse_answer("<think>here" + text, profile, (640, 480)).targets))
    assert (0 in counts) == profile.abstains
    assert max(counts) == 1 if profile.grammar == "v1" else max(counts) > 3


def test_a_list_ends_at_the_most_objects_a_parser_takes() -> None:
    grammar = AnswerGrammar(SMALL)
    state: State | None = grammar.start
    text = ""
    grammar = spelled(SMALL)
    while state is not None and not grammar.ended(state):
        way = grammar.ways(state)[0]  # at a choice: another object
        text, state = text + way, grammar.walk(state, way)
    assert text.count("bbox_2d") == MAX_TARGETS
    assert parse_answer(text, SMALL, (640, 480)).targets


@pytest.mark.parametrize("name", TAGGED)
def test_forced_text_is_the_only_way_and_ends_at_a_decision(name: str) -> None:
    grammar, rng = AnswerGrammar(get_profile(name)), random.Random(6)
    for _ in range(40):
        whole = wander(grammar, rng, 200)
        at = rng.randrange(len(whole))
        state = grammar.walk(grammar.start, whole[:at])
        assert state is not None
        forced, after = grammar.forced(state)
        assert whole[at:].startswith(forced)
        assert grammar.walk(state, forced) == after
        assert grammar.ended(after) or len(grammar.ways(after)) > 1


def at(text: str, profile: Profile = SMALL) -> tuple[AnswerGrammar, State]:
    grammar = spelled(profile)
    state = grammar.walk(grammar.start, "</think><answer>" + text)
    assert state is not None
    return grammar, state


def test_numbers_stay_in_the_picture_and_a_box_has_area() -> None:
    grammar, state = at('[{"bbox_2d": [')
    assert grammar.ways(state) == list("0123456789")
    assert grammar.walk(state, "196") is None  # the first corner is left of the edge
    assert grammar.walk(state, "195") is not None
    assert grammar.walk(state, "007") is None
    grammar, state = at('[{"bbox_2d": [120,100,')
    assert grammar.walk(state, "120,") is None
    assert grammar.walk(state, "196,") is not None
    assert grammar.walk(state, "197") is None
    grammar, state = at('[{"bbox_2d": [195,159,')
    assert grammar.forced(state)[0] == '196,160], "point_2d": ['


def test_a_number_that_cannot_grow_is_followed_at_once() -> None:
    grammar, state = at('[{"bbox_2d": [20')
    assert grammar.forced(state)[0] == ","  # 200 is outside
    grammar, state = at('[{"bbox_2d": [19')
    assert grammar.forced(state)[0] == ""
    grammar, state = at('[{"bbox_2d": [19,20,50,70')
    assert grammar.forced(state)[0] == '], "point_2d": ['


def test_thousandths_are_another_range() -> None:
    profile = replace(SMALL, space="relative_1000")
    grammar, state = at('[{"bbox_2d": [0,0,', profile)
    assert grammar.walk(state, "1000,") is not None
    assert grammar.walk(state, "1001") is None


@pytest.mark.parametrize(
    "text",
    [
        SPACED,
        SPACED.replace(": ", ":").replace(", ", ","),
        SPACED.replace(",", ", "),
        SPACED.replace('"', "'"),
        '</think>\n<answer>\n[\n  {\n    "bbox_2d": [1, 2, 3, 4],\n    "point_2d": [5, 6]\n  }\n]\n</answer>',
    ],
)
def test_a_model_is_known_by_its_first_answer_and_forced_to_its_own_spelling_after(text: str) -> None:
    grammar = AnswerGrammar(SMALL)
    assert grammar.walk(grammar.start, text)
    first_free = len(grammar.forced(grammar.start)[0])
    grammar.learn(grammar.start, text)
    after = grammar.walk(grammar.start, text)
    assert after is not None and grammar.ended(after)
    assert grammar.walk(grammar.start, SPACED if text != SPACED else SPACED.replace(": ", ":")) is None
    opening = text[: text.index("[") + 1]
    assert grammar.forced(grammar.start)[0] == opening
    assert first_free < len(opening)


def test_what_the_bundle_says_is_forced_from_the_first_character_on() -> None:
    grammar = AnswerGrammar(SMALL, spelled(SMALL).spelling).for_answer()
    assert grammar.forced(grammar.start)[0] == "</think><answer>["
    state = grammar.walk(grammar.start, "</think><answer>[{")
    assert state is not None
    assert grammar.forced(state)[0] == '"bbox_2d": ['


@pytest.mark.parametrize(
    ("begun", "tokens", "goes_on", "refused"),
    [
        ('[{"bbox_2d": [1', (", ", "2"), ", 3", ",3"),
        ('[{"bbox_2d": [1,2,3,160', ('],"',), 'point_2d": [4,5]}', "point_2d': [4,5]}"),
        ("[", ("{ '",), "bbox_2d': [1", 'bbox_2d": [1'),
    ],
)
def test_a_token_that_spells_otherwise_is_followed_in_its_answer_and_in_no_other(
    begun: str, tokens: tuple[str, ...], goes_on: str, refused: str
) -> None:
    of_the_bundle = AnswerGrammar(SMALL, spelled(SMALL).spelling)
    grammar = of_the_bundle.for_answer()
    state = grammar.walk(grammar.start, "</think><answer>" + begun)
    for token in tokens:
        assert state is not None
        grammar.learn(state, token)
        state = grammar.walk(state, token)
    assert state is not None
    assert grammar.walk(state, goes_on) is not None
    assert grammar.walk(state, refused) is None
    assert of_the_bundle.for_answer().spelling == spelled(SMALL).spelling


def test_the_paper_s_own_answers_are_spelled_otherwise_than_its_prompt() -> None:
    text = '</think>\n<answer>{"bbox": [35, 60, 354, 423], "points_1": [183, 235], "points_2": [168, 305]}</answer>'
    grammar = spelled(get_profile("seg_zero_v1"), text)
    state = grammar.walk(grammar.start, text[: text.index("35")] + "35, 60, 354, 423")
    assert state is not None
    assert grammar.forced(state)[0] == '], "points_1": ['


def test_profiles_without_tags_have_no_grammar() -> None:
    with pytest.raises(ValueError, match="no <answer> tags"):
        AnswerGrammar(get_profile("qwen25vl_zero_shot"))


def test_what_is_learned_in_one_answer_is_no_other_answers() -> None:
    grammar = AnswerGrammar(get_profile("abstaining_v2"))
    one = grammar.for_answer()
    one.learn(one.start, "</think>\n<answer>[ {'bbox_2d' : [1,2,3,4]")
    assert one.opening() == "</think>\n<answer>"
    assert grammar.for_answer().opening() == grammar.opening() == "</think><answer>"
