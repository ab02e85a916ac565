"""What goes around an engine: forced text in one pass, guesses that cost nothing, an answer whatever runs out."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segzero_ros.answer import parse_answer
from segzero_ros.backends import EngineOptions, open_pipeline
from segzero_ros.backends.decoding.decode_state import LATE_TOKENS
from segzero_ros.backends.decoding.generation import LocalReasoner, read_shape
from segzero_ros.bundle import open_bundle, resolve_bundle
from segzero_ros.command import Command
from segzero_ros.frame import Frame
from segzero_ros.reasoner import LATE_S, Answer, Request

BUNDLE = open_bundle(resolve_bundle("tabletop"))
TOKENIZER = BUNDLE.reasoner.files["tokenizer"].read_text("utf-8")
SHAPE = read_shape(BUNDLE.reasoner.files["config"])
ONE = '<think>The red mug is here.</think><answer>[{"bbox_2d": [12,30,145,160], "point_2d": [60,90]}]</answer>'
FRAME = Frame(np.zeros((48, 64, 3), np.uint8), 0)


class ScriptedEngine:
    """Wants to say a text, whatever it has been made to say: its logits follow the text from what is in the cache."""

    def __init__(self, text: str, *, max_length: int = 512, logit_rows: int = 8) -> None:
        self.shape = replace(SHAPE, max_length=max_length, logit_rows=logit_rows)
        self.passes: list[int] = []
        self._cache: dict[int, int] = {}
        self._text = text
        self._reply_at = 0
        self.tokenizer: Any = None

    def encode_image(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.zeros((1, 1), np.float32)

    def append(
        self,
        ids: NDArray[np.int64],
        cos: NDArray[np.float32],
        sin: NDArray[np.float32],
        place: int,
        picture: tuple[slice, Any] | None = None,
    ) -> NDArray[np.float32]:
        assert len(ids) == len(cos) == len(sin)
        assert place + len(ids) <= self.shape.max_length
        self.passes.append(len(ids))
        if len(self.passes) == 2:  # after the picture comes the question, and after that the reply
            self._reply_at = place + len(ids)
        self._cache |= dict(enumerate(ids.tolist(), start=place))
        last = range(place + len(ids), place, -1)[: self.shape.logit_rows]
        return np.stack([self._wish(end) for end in reversed(last)])

    def _wish(self, end: int) -> NDArray[np.float32]:
        said = self.tokenizer.decode([self._cache[at] for at in range(self._reply_at, end)])
        rest = self._text[len(said) :] if self._text.startswith(said) else ""
        wish = self.tokenizer.encode(rest, add_special_tokens=False).ids[0] if rest else self._stop
        logits = np.zeros(self.shape.vocabulary, np.float32)
        logits[wish] = 5.0
        return logits

    @property
    def _stop(self) -> int:
        return int(self.tokenizer.token_to_id("<|im_end|>"))


def ask(engine: ScriptedEngine, *, budget: int = 200, deadline_ns: int | None = None, **levers: Any) -> Answer:
    reasoner = LocalReasoner(engine, TOKENIZER, BUNDLE.profile, EngineOptions(**levers))
    engine.tokenizer = reasoner._prompt.tokenizer
    pieces: list[str] = []
    answer = reasoner.reason(Request(FRAME, Command("1", "the red mug"), budget, deadline_ns, on_text=pieces.append))
    assert "".join(pieces) == answer.text
    return answer


def test_the_grammar_changes_nothing_about_a_good_answer_but_the_number_of_passes() -> None:
    free, kept = ask(ScriptedEngine(ONE), constrained=False), ask(ScriptedEngine(ONE))
    assert free.text == kept.text == ONE
    assert free.tokens == kept.tokens
    assert kept.steps < free.steps / 1.5
    assert (free.finish, kept.finish) == ("stop", "stop")


def test_nothing_is_asked_of_the_engine_once_the_rest_is_certain() -> None:
    engine = ScriptedEngine(ONE)
    assert ask(engine).text == ONE
    said = engine.tokenizer.decode([engine._cache[at] for at in sorted(engine._cache) if at >= engine._reply_at])
    assert said.endswith("[60,90")


@pytest.mark.parametrize(
    "text",
    [
        "<think>mug</think><answer>[{'bbox': 12}]</answer>",
        "<think>mug</think><answer>I cannot see it",
        "<think>mug</think>\n\n<answer>[oops",
        "<think>mug</thinking> and so on",
        "<think>I stop here",
        "<answer>{}</answer>",
        '<think>mug</think><answer>[{"bbox_2d": [900,30,1,160], "point_2d": [600,90]}]</answer>',
        "",
    ],
)
def test_an_answer_kept_to_its_grammar_can_be_read_whatever_the_model_wants(text: str) -> None:
    answer = ask(ScriptedEngine(text), budget=20)
    assert parse_answer(answer.text, BUNDLE.profile, (64, 48), finish=answer.finish).targets is not None
    assert answer.text.endswith("</answer>")


@pytest.mark.parametrize(
    "draft", ["as in <think>hm</think><answer>[]</answer>, but", "<answer>[]</answer> is too early", "<think> is a tag"]
)
@pytest.mark.parametrize("constrained", [True, False])
def test_an_answer_drafted_in_the_thinking_is_not_the_answer(draft: str, constrained: bool) -> None:
    text = ONE.replace("The red mug is here.", draft)
    complete = ask(ScriptedEngine(text), constrained=constrained)
    assert parse_answer(complete.text, BUNDLE.profile, (64, 48), finish=complete.finish).targets
    assert complete.text == text or draft == "<think> is a tag"  # never level again: closed for the model at its end
    cut = ask(ScriptedEngine(text + " hm" * 99), budget=len(draft) // 4)
    assert cut.text.endswith("</answer>") and parse_answer(cut.text, BUNDLE.profile, (64, 48), finish=cut.finish)


def test_a_model_that_spells_its_answers_otherwise_is_complained_of(caplog: pytest.LogCaptureFixture) -> None:
    ask(ScriptedEngine(ONE))
    assert not caplog.records
    ask(ScriptedEngine(ONE.replace("[12,30,145,160]", "[ 12, 30, 145, 160]")))
    assert "open it with constrained off" in caplog.text


ODD = [
    "<think>mug</think>\n\n<answer>[ { 'bbox_2d' : [ 12,30,145,160 ] , 'point_2d' : [60,90] } ]</answer>",
    "<think>mug</think><answer>[]</answer>",
    "<answer>\n[{'bbox_2d':[12,\n30,\n145,\n160],'point_2d':[60,\n90]}]</answer>",
    "<think>mug</think> and so on",
]


@pytest.mark.parametrize("spelling", [{}, BUNDLE.spelling], ids=["unknown", "known"])
@pytest.mark.parametrize("odd", ODD)
def test_no_answer_depends_on_those_before_it(odd: str, spelling: Mapping[str, str]) -> None:
    engine = ScriptedEngine(ONE)
    reasoner = LocalReasoner(engine, TOKENIZER, BUNDLE.profile, spelling=spelling)
    engine.tokenizer = reasoner._prompt.tokenizer

    def said(text: str, budget: int) -> tuple[str, int]:
        engine._text, engine.passes = text, []
        answer = reasoner.reason(Request(replace(FRAME), Command("1", "the red mug"), budget))
        return answer.text, answer.steps

    alone = [said(ONE, budget) for budget in (200, 2)]
    said(odd, 200)
    assert [said(ONE, budget) for budget in (200, 2)] == alone


def test_a_spelling_known_beforehand_saves_passes_and_leaves_the_text_as_it_is() -> None:
    answers = []
    for spelling in ({}, BUNDLE.spelling):
        engine = ScriptedEngine(ONE)
        reasoner = LocalReasoner(engine, TOKENIZER, BUNDLE.profile, spelling=spelling)
        engine.tokenizer = reasoner._prompt.tokenizer
        answers.append(reasoner.reason(Request(FRAME, Command("1", "the red mug"), 200)))
    assert [answer.text for answer in answers] == [ONE, ONE]
    assert answers[1].steps < answers[0].steps


def test_a_profile_without_tags_answers_freely() -> None:
    profile = replace(BUNDLE.profile, tags=False)
    engine = ScriptedEngine('[{"bbox_2d": [12, 30, 145, 160]}]')
    reasoner = LocalReasoner(engine, TOKENIZER, profile)
    engine.tokenizer = reasoner._prompt.tokenizer
    answer = reasoner.reason(Request(FRAME, Command("1", "mug"), 9))
    assert answer.text == '[{"bbox_2d": [12, 30, 145, 160]}]'


LIST = "<think>all</think><answer>[" + ", ".join(
    f'{{"bbox_2d": [{x},10,{x + 9},40], "point_2d": [{x + 4},20]}}' for x in range(10, 180, 3)
)


@pytest.mark.parametrize("what", ["cache", "deadline"])
def test_a_list_that_does_not_fit_ends_in_good_order(what: str) -> None:
    text = LIST if what == "cache" else LIST.replace("all", "")  # the thinking is closed before it begins
    engine = ScriptedEngine(text, max_length=320 if what == "cache" else 2048)
    late = None if what == "cache" else time.monotonic_ns() - 1
    answer = ask(engine, budget=50, deadline_ns=late)
    targets = parse_answer(answer.text, BUNDLE.profile, (64, 48), finish=answer.finish).targets
    assert 2 < len(targets) < 50
    assert answer.finish == ("budget" if what == "cache" else "deadline")
    assert what == "cache" or answer.tokens < LATE_TOKENS + 80


class Clock:
    """The ``time`` of the decoders: it goes on by what each pass of an engine is said to take."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic_ns(self) -> int:
        return int(self.now_s * 1e9)

    def perf_counter(self) -> float:
        return self.now_s


class TimedEngine(ScriptedEngine):
    """Every pass takes ``pass_s``, the prompt's two ``prompt_s`` each."""

    def __init__(self, text: str, clock: Clock, pass_s: float, prompt_s: float = 0.1) -> None:
        super().__init__(text, max_length=2048)
        self._clock, self._pass_s, self._prompt_s = clock, pass_s, prompt_s

    def append(self, *arguments: Any, **more: Any) -> NDArray[np.float32]:
        rows = super().append(*arguments, **more)
        self._clock.now_s += self._prompt_s if len(self.passes) <= 2 else self._pass_s
        return rows


@pytest.mark.parametrize("constrained", [True, False])
@pytest.mark.parametrize("left_s", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("pass_s", [0.005, 0.02, 0.1, 0.4, 1.5])
def test_what_comes_after_a_deadline_is_bounded_in_time_on_any_engine(
    pass_s: float, left_s: float, constrained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("segzero_ros.backends.decoding.decode_state.time", clock)
    deadline_s = clock.now_s + left_s
    text = LIST.replace("all", "hm " * 200 if left_s else "")
    answer = ask(
        TimedEngine(text, clock, pass_s), budget=300, deadline_ns=int(deadline_s * 1e9), constrained=constrained
    )
    assert answer.finish == "deadline" or pass_s < 0.01  # a fast one is at its budget before
    assert clock.now_s - deadline_s <= LATE_S + pass_s + 1e-6
    if constrained and pass_s <= 0.02:
        assert parse_answer(answer.text, BUNDLE.profile, (64, 48), finish=answer.finish).targets


def test_a_prompt_that_takes_longer_than_the_time_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("segzero_ros.backends.decoding.decode_state.time", clock)
    engine = TimedEngine(ONE, clock, 0.1, prompt_s=5.0)
    answer = ask(engine, deadline_ns=int((clock.now_s + 1) * 1e9))
    assert (answer.text, answer.finish, len(engine.passes)) == ("", "deadline", 1)


def test_an_answer_too_wide_for_the_cache_is_cut_off_and_nothing_breaks() -> None:
    engine = ScriptedEngine(ONE, max_length=190)
    reasoner = LocalReasoner(engine, TOKENIZER, BUNDLE.profile)
    engine.tokenizer = reasoner._prompt.tokenizer
    grammar = reasoner._grammar
    assert grammar is not None
    wide = ONE[ONE.index("</think>") :].replace(" ", "").replace(",", ",\n" + " " * 11).replace(":", ":\n" + " " * 11)
    grammar.learn(grammar.start, wide)
    answer = reasoner.reason(Request(FRAME, Command("1", "the red mug"), 20))
    assert answer.finish == "budget"
    assert not answer.text.endswith("</answer>")


REPEATING = (
    "<think>the red mug near the blue box, the red mug near the blue box (the red mug)</think>"
    '<answer>[{"bbox_2d": [112,30,145,160], "point_2d": [128,95]}]</answer>'
)


@pytest.mark.parametrize("ahead", [1, 4, 7])
@pytest.mark.parametrize("constrained", [True, False])
def test_guesses_from_the_prompt_save_passes_and_never_change_the_text(ahead: int, constrained: bool) -> None:
    plain = ask(ScriptedEngine(REPEATING), constrained=constrained)
    guessed = ask(ScriptedEngine(REPEATING), constrained=constrained, draft_tokens=ahead)
    assert guessed.text == plain.text == REPEATING
    assert guessed.tokens == plain.tokens
    assert guessed.steps < plain.steps


def test_an_engine_with_one_row_of_logits_is_not_asked_to_check_guesses() -> None:
    engine = ScriptedEngine(REPEATING, logit_rows=1)
    assert ask(engine, draft_tokens=7, constrained=False).text == REPEATING
    assert set(engine.passes[2:]) == {1}


def pictures(count: int) -> list[Frame]:
    rng = np.random.default_rng(3)
    blocks = rng.integers(0, 255, (count, 6, 8, 3), dtype=np.uint8)
    return [Frame(np.kron(block, np.ones((20, 20, 1), np.uint8)), 0) for block in blocks]


@pytest.mark.parametrize(
    "levers", [{"constrained": False}, {"draft_tokens": 5}, {"constrained": False, "draft_tokens": 5}]
)
def test_on_real_weights_every_lever_leaves_the_text_as_it_is(levers: dict[str, Any]) -> None:
    plain = open_pipeline(BUNDLE, "onnx", options=EngineOptions(threads=1))
    other = open_pipeline(BUNDLE, "onnx", options=EngineOptions(threads=1, **levers))
    for frame in pictures(4):
        texts = [told(pipeline.reasoner.reason, frame).text for pipeline in (plain, other)]
        assert texts[0] == texts[1]


def test_on_real_weights_the_order_of_questions_changes_no_byte() -> None:
    questions = [
        Request(frame, Command("1", text), 64) for frame in pictures(3) for text in ("the red mug", "all the boxes")
    ]
    reasoner = open_pipeline(BUNDLE, "onnx", options=EngineOptions(threads=1)).reasoner
    there = [reasoner.reason(question).text for question in questions]
    back = [reasoner.reason(question).text for question in reversed(questions)]
    assert there == back[::-1]


def test_a_picture_looked_at_before_costs_no_vision() -> None:
    pipeline = open_pipeline(BUNDLE, "onnx", options=EngineOptions(threads=1))
    frame, other = pictures(2)
    pipeline.prefill_image(other)
    cold = told(pipeline.reasoner.reason, frame)
    pipeline.prefill_image(other)
    pipeline.prefill_image(frame)
    warm = told(pipeline.reasoner.reason, frame)
    assert warm.text == cold.text
    assert (cold.timings_ms["vision"] > 0, warm.timings_ms["vision"]) == (True, 0.0)


def told(reason: Callable[[Request], Answer], frame: Frame) -> Answer:
    return reason(Request(frame, Command("1", "the red mug"), 100))
