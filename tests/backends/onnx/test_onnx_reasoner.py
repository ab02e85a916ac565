"""The ONNX reasoner is the stock model, bounded: same logits and text, every budget, deadline and cancel answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")

from export.queries import drawn_questions
from export.reasoner_onnx import FILES, export_reasoner
from segzero_ros.answer import split_thinking
from segzero_ros.backends import EngineOptions
from segzero_ros.backends.decoding.generation import ANSWER_RESERVE_TOKENS, read_shape
from segzero_ros.backends.onnx.reasoner import OnnxReasoner
from segzero_ros.command import Command, read_command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.reasoner import Answer, Request
from tests.export.small_reasoner import PROFILE, save_checkpoint

MUG = Command("1", "the red mug")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reasoner")
    export_reasoner(save_checkpoint(folder / "checkpoint"), folder, image_size=(168, 168), max_length=512)
    return {role: folder / name for role, name in FILES.items()}


@pytest.fixture(scope="module")
def reasoner(files: dict[str, Path]) -> OnnxReasoner:
    return OnnxReasoner(files, PROFILE, EngineOptions(threads=1))


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return [question.frame for question in drawn_questions(3, seed=5)]


def ask(
    reasoner: OnnxReasoner,
    frame: Frame,
    command: Command = MUG,
    *,
    budget: int = 8,
    deadline_ns: int | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    on_text: Callable[[str], None] = lambda _: None,
) -> Answer:
    return reasoner.reason(Request(frame, command, budget, deadline_ns, cancelled, on_text))


def after(calls: int) -> Callable[[], bool]:
    """Return a `cancelled` that turns true at its call number `calls`."""
    count: Iterator[int] = iter(range(1_000_000))
    return lambda: next(count) >= calls


def test_the_same_frame_is_looked_at_once_and_answers_the_same(reasoner: OnnxReasoner, frames: list[Frame]) -> None:
    first = ask(reasoner, frames[0])
    again = ask(reasoner, frames[0])
    assert first.timings_ms["vision"] > 0
    assert again.timings_ms["vision"] == 0
    assert again.text == first.text and again.confidence == first.confidence


def test_nothing_of_an_earlier_question_is_left_in_the_cache(
    reasoner: OnnxReasoner, files: dict[str, Path], frames: list[Frame]
) -> None:
    used = reasoner.score(frames[1], MUG, [5, 6, 7])
    ask(reasoner, frames[1], read_command("a much longer question about something else altogether", "2"), budget=100)
    assert np.array_equal(reasoner.score(frames[1], MUG, [5, 6, 7]), used)
    assert np.array_equal(OnnxReasoner(files, PROFILE, EngineOptions(threads=1)).score(frames[1], MUG, [5, 6, 7]), used)


def test_what_a_token_needs_is_bound_once_and_logits_have_one_place(
    reasoner: OnnxReasoner, frames: list[Frame]
) -> None:
    ask(reasoner, frames[0], budget=30)
    decoder = reasoner._engine._decoder  # type: ignore[attr-defined]
    bound = {count: id(binding) for count, (_, binding) in decoder._bindings.items()}
    ask(reasoner, frames[0], budget=30)
    assert {count: id(binding) for count, (_, binding) in decoder._bindings.items()} == bound
    assert 1 in bound and max(bound) <= reasoner._shape.logit_rows
    one = np.zeros((1, reasoner._shape.hidden_size), np.float32)
    angle = np.zeros((1, reasoner._shape.head_dim // 2), np.float32)
    assert np.shares_memory(decoder.append(one, angle, angle, 3), decoder.append(one, angle, angle, 4))


def test_another_frame_is_another_answer(reasoner: OnnxReasoner, frames: list[Frame]) -> None:
    one, other = (reasoner.score(frame, MUG, []) for frame in frames[:2])
    assert np.abs(one - other).max() > 1e-3


def test_a_budget_closes_the_thinking_and_asks_for_the_answer(reasoner: OnnxReasoner, frames: list[Frame]) -> None:
    answer = ask(reasoner, frames[0], budget=8)
    assert answer.finish == "budget"
    assert answer.text.count("</think><answer") == 1
    thinking = answer.text[: answer.text.index("</think>")]
    assert len(reasoner._prompt.plain(thinking)) <= 8 + 8  # the model's tokens may be shorter than BPE's
    assert answer.tokens > 8


def test_no_budget_at_all_still_asks_for_the_answer(reasoner: OnnxReasoner, frames: list[Frame]) -> None:
    answer = ask(reasoner, frames[0], budget=0)
    assert answer.text.startswith("<think></think><answer")
    assert split_thinking(answer.text)[0] == ""
    assert answer.finish == "budget"


def test_a_deadline_closes_the_thinking_and_asks_for_the_answer(reasoner: OnnxReasoner, frames: list[Frame]) -> None:
    answer = ask(reasoner, frames[0], budget=10_000, deadline_ns=time.monotonic_ns() - 1)
    assert answer.finish == "deadline"
    assert answer.text.startswith("<think></think><answer")


def test_thinking_leaves_room_for_the_answer_whatever_the_budget(reasoner: OnnxReasoner, frames: list[Frame]) -> None:
    answer = ask(reasoner, frames[0], budget=10_000)
    assert answer.finish == "budget"
    assert "</think><answer" in answer.text
    assert answer.tokens >= ANSWER_RESERVE_TOKENS


@pytest.mark.parametrize("calls", [0, 1, 4])
def test_cancelled_between_tokens(reasoner: OnnxReasoner, frames: list[Frame], calls: int) -> None:
    answer = ask(reasoner, frames[0], cancelled=after(calls))
    assert answer.finish == "cancelled"
    assert answer.tokens == max(0, calls - 1)


def test_the_pieces_are_whole_characters_and_add_up(reasoner: OnnxReasoner, frames: list[Frame]) -> None:
    pieces: list[str] = []
    answer = ask(reasoner, frames[2], on_text=pieces.append)
    assert "".join(pieces) == answer.text
    assert all(piece for piece in pieces)
    assert 0 < answer.timings_ms["first_token"] < answer.timings_ms["decode"] + answer.timings_ms["first_token"]


def test_confidence_is_the_mean_gap_of_the_two_best(reasoner: OnnxReasoner, frames: list[Frame]) -> None:
    answer = ask(reasoner, frames[0], cancelled=after(2))
    logits = reasoner.score(frames[0], MUG, [])[0].astype(np.float64)
    chances = np.sort(np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum())
    assert answer.confidence == pytest.approx(chances[-1] - chances[-2], abs=1e-5)


def test_a_raising_listener_leaves_the_reasoner_usable(reasoner: OnnxReasoner, frames: list[Frame]) -> None:
    def fail(_: str) -> None:
        raise RuntimeError("listener")

    before = ask(reasoner, frames[0])
    with pytest.raises(RuntimeError, match="listener"):
        ask(reasoner, frames[0], on_text=fail)
    assert ask(reasoner, frames[0]).text == before.text


def test_a_question_too_long_for_the_cache_is_refused(files: dict[str, Path], frames: list[Frame]) -> None:
    wordy = replace(PROFILE, prompt=PROFILE.prompt + " word" * 400)
    with pytest.raises(RejectedInput) as caught:
        ask(OnnxReasoner(files, wordy, EngineOptions(threads=1)), frames[0])
    assert caught.value.code is Code.COMMAND_TOO_LONG


def test_a_profile_of_another_image_size_is_refused(files: dict[str, Path]) -> None:
    with pytest.raises(RejectedInput) as caught:
        OnnxReasoner(files, replace(PROFILE, image_size=(196, 168)))
    assert caught.value.code is Code.BUNDLE_PROFILE


def test_a_config_with_missing_keys_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architecture": "Qwen2.5-VL"}')
    with pytest.raises(RejectedInput) as caught:
        read_shape(tmp_path / "config.json")
    assert caught.value.code is Code.BUNDLE_FORMAT


def test_a_broken_graph_is_refused_with_its_name(files: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "decoder.onnx"
    broken.write_bytes(files["decoder"].read_bytes()[:1000])
    with pytest.raises(RejectedInput, match=r"decoder\.onnx") as caught:
        OnnxReasoner({**files, "decoder": broken}, PROFILE)
    assert caught.value.code is Code.BUNDLE_BACKEND
