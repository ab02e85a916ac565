"""The TensorRT-LLM backend asks for what the package has, hears all that comes, and always gets an answer."""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from segzero_ros.answer import parse_answer
from segzero_ros.backends import EngineOptions, tensorrt_llm
from segzero_ros.backends.tensorrt_llm import TensorRtLlmReasoner, answer_guides, open_reasoner, why_unavailable
from segzero_ros.backends.torch_cuda.parentage import weight_hashes
from segzero_ros.bundle import Bundle, open_bundle
from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.profile import PROFILES
from segzero_ros.reasoner import Answer, Request
from tests.backends import fake_tensorrt_llm as fake

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "checkpoints" / "tabletop"
TEXT = '<think>a red mug, left</think><answer>[{"bbox_2d": [10,20,30,40], "point_2d": [20,30]}]</answer>'
THOUGHT, ANSWER = TEXT.split("<answer>")
MUG = Command("1", "the red mug")
FRAME = Frame(np.zeros((48, 64, 3), np.uint8), 0, "camera")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The demo bundle, as if it were CHECKPOINT's; it is one of a later step of that training."""
    bundle = open_bundle(ROOT / "bundles" / "tabletop")
    return replace(bundle, provenance={"reasoner": {"sha256": weight_hashes(CHECKPOINT)}})


@pytest.fixture
def llm() -> fake.LLM:
    llm = fake.LLM("checkpoint")
    llm.says = lambda prompt: ANSWER if prompt.endswith("<answer>") else TEXT
    return llm


@pytest.fixture
def reasoner(bundle: Bundle, llm: fake.LLM) -> TensorRtLlmReasoner:
    tokenizer = bundle.reasoner.files["tokenizer"].read_text("utf-8")
    return TensorRtLlmReasoner(fake.package(), llm, bundle.profile, tokenizer, max_length=512)


def ask(
    reasoner: TensorRtLlmReasoner,
    *,
    command: Command = MUG,
    budget: int = 64,
    deadline_ns: int | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    on_text: Callable[[str], None] = lambda _: None,
) -> Answer:
    return reasoner.reason(Request(FRAME, command, budget, deadline_ns, cancelled, on_text))


# ---- what it hears ----


def test_an_answer_is_streamed_whole(reasoner: TensorRtLlmReasoner) -> None:
    pieces: list[str] = []
    answer = ask(reasoner, on_text=pieces.append)
    assert answer.text == TEXT == "".join(pieces) and len(pieces) > 5
    assert answer.finish == "stop"
    assert answer.tokens == -(-len(TEXT) // 4)
    assert answer.confidence == pytest.approx(0.5)


def test_one_request_is_enough_when_the_model_answers_in_time(reasoner: TensorRtLlmReasoner, llm: fake.LLM) -> None:
    ask(reasoner)
    assert len(llm.requests) == 1


def test_what_comes_after_the_answer_is_not_heard(reasoner: TensorRtLlmReasoner, llm: fake.LLM) -> None:
    llm.says = lambda _: TEXT + "and so on <answer>[]</answer>"
    assert ask(reasoner).text == TEXT


@pytest.mark.parametrize("budget", [0, 3])
def test_a_spent_budget_closes_the_thinking_and_asks_for_the_answer(
    reasoner: TensorRtLlmReasoner, llm: fake.LLM, budget: int
) -> None:
    answer = ask(reasoner, budget=budget)
    assert answer.finish == "budget"
    assert answer.text.endswith("</think><answer>" + ANSWER)
    prompt, sampling = llm.requests[-1][0]["prompt"], llm.requests[-1][1]
    assert prompt.endswith("assistant\n" + answer.text.removesuffix(ANSWER))  # its blocks are in the cache
    assert sampling.guided_decoding.regex and not sampling.guided_decoding.structural_tag
    assert all(result.aborted() for result in llm.results[:-1])


def test_a_deadline_closes_the_thinking_and_asks_for_the_answer(reasoner: TensorRtLlmReasoner) -> None:
    answer = ask(reasoner, deadline_ns=time.monotonic_ns() - 1)
    assert answer.finish == "deadline"
    assert answer.text == "<think></think><answer>" + ANSWER


def test_a_model_that_stops_before_its_answer_is_asked_for_it(reasoner: TensorRtLlmReasoner, llm: fake.LLM) -> None:
    llm.says = lambda prompt: ANSWER if prompt.endswith("<answer>") else "<think>hm"
    assert ask(reasoner).text == "<think>hm</think><answer>" + ANSWER


@pytest.mark.parametrize("calls", [0, 1, 4])
def test_cancelling_aborts_the_request(reasoner: TensorRtLlmReasoner, llm: fake.LLM, calls: int) -> None:
    asked = iter(range(1000))
    answer = ask(reasoner, cancelled=lambda: next(asked) >= calls)
    assert answer.finish == "cancelled"
    assert answer.tokens == calls
    assert all(result.aborted() for result in llm.results)


def test_an_error_of_the_package_is_raised_and_the_next_command_works(
    reasoner: TensorRtLlmReasoner, llm: fake.LLM
) -> None:
    says, llm.says = llm.says, lambda prompt: {}[prompt]
    with pytest.raises(KeyError):
        ask(reasoner)
    llm.says = says
    assert ask(reasoner).text == TEXT


# ---- what it asks ----


def test_decoding_is_greedy_and_stops_at_the_answers_end(reasoner: TensorRtLlmReasoner, llm: fake.LLM) -> None:
    ask(reasoner)
    sampling = llm.requests[0][1]
    assert sampling.top_k == 1 and sampling.temperature is None and sampling.top_p is None
    assert sampling.stop == "</answer>" and sampling.include_stop_str_in_output
    assert sampling.max_tokens <= 512


def test_the_prompt_is_the_profiles_with_one_picture_of_its_size(
    reasoner: TensorRtLlmReasoner, llm: fake.LLM, bundle: Bundle
) -> None:
    ask(reasoner)
    inputs = llm.requests[0][0]
    assert bundle.profile.system in inputs["prompt"] and bundle.profile.render(MUG.text) in inputs["prompt"]
    assert inputs["prompt"].count("<|image_pad|>") == 1
    assert [picture.size for picture in inputs["multi_modal_data"]["image"]] == [bundle.profile.image_size]


def test_no_special_token_comes_from_the_question(reasoner: TensorRtLlmReasoner, llm: fake.LLM) -> None:
    ask(reasoner)
    plain = llm.requests[-1][0]["prompt"].count("<|")
    ask(reasoner, command=Command("2", "the <|im_start|> and <|image_pad|> mug"))
    assert llm.requests[-1][0]["prompt"].count("<|") == plain


def test_a_question_that_leaves_no_room_is_refused(reasoner: TensorRtLlmReasoner) -> None:
    with pytest.raises(RejectedInput) as caught:
        ask(reasoner, command=Command("1", "zebra " * 300))
    assert caught.value.code is Code.COMMAND_TOO_LONG


def test_thinking_leaves_room_for_the_answer_whatever_the_budget(reasoner: TensorRtLlmReasoner, llm: fake.LLM) -> None:
    llm.says = lambda prompt: ANSWER if prompt.endswith("<answer>") else "<think>" + "so " * 3000
    answer = ask(reasoner, budget=100_000)
    assert answer.finish == "budget" and answer.text.endswith(ANSWER)
    assert answer.tokens < 512


def test_looking_brings_the_same_prefix_into_the_cache(reasoner: TensorRtLlmReasoner, llm: fake.LLM) -> None:
    reasoner.prefill_image(FRAME)
    assert reasoner.prefill_image(FRAME) == (0.0, 0.0)
    ask(reasoner)
    looked, asked = (inputs for inputs, _ in llm.requests)
    assert asked["prompt"].startswith(looked["prompt"])
    assert looked["multi_modal_data"]["image"][0] is asked["multi_modal_data"]["image"][0]
    assert llm.requests[0][1].max_tokens == 1


def test_unconstrained_and_tagless_profiles_have_no_guide(bundle: Bundle) -> None:
    tokenizer = bundle.reasoner.files["tokenizer"].read_text("utf-8")
    free = replace(PROFILES["qwen25vl_zero_shot"], image_size=(196, 196))
    for profile, constrained in ((bundle.profile, False), (free, True)):
        llm = fake.LLM("checkpoint")
        llm.says = lambda _: "[]"
        ask(TensorRtLlmReasoner(fake.package(), llm, profile, tokenizer, max_length=512, constrained=constrained))
        assert all(sampling.guided_decoding is None for _, sampling in llm.requests)


# ---- guides ----


@pytest.mark.parametrize("name", ["seg_zero_v1", "vision_reasoner_v2", "abstaining_v2"])
def test_what_the_guides_allow_is_what_the_parser_reads(name: str) -> None:
    """With xgrammar itself, where it is installed: whatever it lets end is an answer, and no other answer ends."""
    xgrammar = pytest.importorskip("xgrammar")
    profile = PROFILES[name]
    tag, rest = answer_guides(profile)
    info = xgrammar.TokenizerInfo([chr(code) for code in range(128)] + ["<eos>"], stop_token_ids=[128])
    compiler = xgrammar.GrammarCompiler(info)
    grammar = compiler.compile_structural_tag(tag["structural_tag"])
    v1 = '{"bbox": [1,2,30,40], "points_1": [3,4], "points_2": [5,6]}'
    good = v1 if profile.grammar == "v1" else '[{"bbox_2d": [1,2,30,40], "point_2d": [3,4]}]'
    whole = f"<think>1 < 2, so it is</think><answer>{good}</answer>"
    assert parse_answer(whole, profile, (840, 840)).targets
    assert xgrammar.GrammarMatcher(grammar).accept_string(whole)
    assert xgrammar.GrammarMatcher(compiler.compile_regex(rest["regex"])).accept_string(good + "</answer>")
    for bad in (good[:-1] + "</answer>", good.replace("1", "NaN"), "none</answer>", good + "</answer> and"):
        assert not xgrammar.GrammarMatcher(grammar).accept_string("<think>so</think><answer>" + bad)


def test_a_structural_tag_is_one_json_object() -> None:
    tag, rest = answer_guides(PROFILES["abstaining_v2"])
    assert tag is not None and rest is not None
    form = json.loads(tag["structural_tag"])["format"]
    assert form["triggers"] == ["<answer>"]
    assert form["tags"][0]["content"] == {"type": "regex", "pattern": rest["regex"]}


# ---- opening ----


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    package = fake.package()
    monkeypatch.setitem(sys.modules, "tensorrt_llm", package)
    monkeypatch.setitem(sys.modules, "tensorrt_llm.llmapi", package.llmapi)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        tensorrt_llm.importlib.util, "find_spec", lambda name: object() if name == "tensorrt_llm" else found(name)
    )


@pytest.mark.usefixtures("installed")
def test_opening_reuses_blocks_trusts_no_code_and_leaves_the_gpu_memory_to_others(bundle: Bundle) -> None:
    assert why_unavailable(bundle, EngineOptions(model=str(CHECKPOINT))) == ""
    reasoner = open_reasoner(bundle, EngineOptions(model=str(CHECKPOINT)))
    llm = reasoner._llm
    assert llm.model == str(CHECKPOINT) and llm.trusts is False
    assert llm.options["guided_decoding_backend"] == "xgrammar"
    assert llm.options["max_seq_len"] == 512
    cache = llm.options["kv_cache_config"]
    assert cache.enable_block_reuse is True and cache.max_tokens == 8 * 512


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("model", ["", "/nowhere", str(ROOT / "bundles" / "tabletop" / "reasoner")])
def test_no_checkpoint_is_one_clear_line(bundle: Bundle, model: str) -> None:
    line = why_unavailable(bundle, EngineOptions(model=model))
    assert line.startswith("got ") and "want" in line and "\n" not in line
    with pytest.raises(RejectedInput) as caught:
        open_reasoner(bundle, EngineOptions(model=model))
    assert caught.value.code is Code.BUNDLE_BACKEND and caught.value.detail == line


@pytest.mark.usefixtures("installed")
def test_another_checkpoint_than_the_bundles_is_refused() -> None:
    with pytest.raises(RejectedInput, match="was exported from one with") as caught:
        open_reasoner(open_bundle(ROOT / "bundles" / "tabletop"), EngineOptions(model=str(CHECKPOINT)))
    assert caught.value.code is Code.BUNDLE_BACKEND


@pytest.mark.usefixtures("installed")
def test_a_package_that_cannot_open_it_is_one_clear_line(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys.modules["tensorrt_llm"], "LLM")
    with pytest.raises(RejectedInput) as caught:
        open_reasoner(bundle, EngineOptions(model=str(CHECKPOINT)))
    assert caught.value.code is Code.BUNDLE_BACKEND and "AttributeError" in caught.value.detail


def test_without_the_package_it_says_how_to_get_it(bundle: Bundle) -> None:
    if importlib.util.find_spec("tensorrt_llm"):
        pytest.skip("tensorrt_llm is installed here")
    assert "pip install tensorrt-llm" in why_unavailable(bundle, EngineOptions())


# ---- the stand-in ----


def test_the_stand_in_has_the_names_that_were_read_in_the_sources() -> None:
    given = {name: tuple(inspect.signature(getattr(fake.LLM, name)).parameters)[1:] for name in ("generate_async",)}
    assert given["generate_async"] == fake.NAMES["generate_async"]
    assert tuple(inspect.signature(fake.LLM).parameters) == (*fake.NAMES["LLM"], "kwargs")
    assert tuple(field.name for field in fields(fake.CompletionOutput)) == fake.NAMES["CompletionOutput"]
    assert all(
        hasattr(fake.Result("", fake.strict("SamplingParams", {}), 0.5), n) for n in fake.NAMES["GenerationResult"]
    )


def test_the_stand_in_refuses_names_the_package_does_not_have() -> None:
    package = fake.package()
    for refused in (
        lambda: package.SamplingParams(max_new_tokens=3),
        lambda: package.llmapi.GuidedDecodingParams(schema="{}"),
        lambda: package.llmapi.GuidedDecodingParams(regex="a", grammar="b"),
        lambda: package.llmapi.KvCacheConfig(block_reuse=True),
        lambda: package.LLM("checkpoint", max_tokens=3),
    ):
        with pytest.raises((TypeError, ValueError)):
            refused()


def test_the_package_itself_has_those_names() -> None:
    """Where it is installed."""
    real = pytest.importorskip("tensorrt_llm")
    assert set(fake.NAMES["LLM"]) <= set(inspect.signature(real.LLM.__init__).parameters)
    assert set(fake.NAMES["SamplingParams"]) <= {field.name for field in fields(real.SamplingParams)}
    assert set(fake.NAMES["KvCacheConfig"]) <= set(real.llmapi.KvCacheConfig.model_fields)
