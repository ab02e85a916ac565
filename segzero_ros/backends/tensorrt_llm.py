"""The reasoner on TensorRT-LLM, in this process: the Hugging Face checkpoint itself, nothing exported or built.

The checkpoint is ``EngineOptions.model``. Its precision is what its own files say: BF16, or FP8, NVFP4 and AWQ as
TensorRT Model Optimizer writes them; a quantised one has to say what it was made of (``torch_cuda/parentage.py``). The
picture's and the question's keys and values stay in the block cache, so that another question on a frame, and an answer
asked for after the thinking was closed, start there.

What is used of the package (``LLM``, ``SamplingParams``, ``KvCacheConfig``, ``GuidedDecodingParams``, the streamed
results) was read in the sources of its 1.2 series and is held by tests/backends/test_tensorrt_llm.py against a stand-in
with the same names; it was never run, for want of a GPU. ``default_multimodal_input_loader`` is not used: it makes a
prompt without the profile's system message, cannot go on with an answer begun, and runs code of the checkpoint
(trust_remote_code). What it returns, a prompt and its pictures, is made here.
Covered: streaming, cancelling, budget and deadline, guided answers, confidence. Not covered: several GPUs.
"""

from __future__ import annotations

import importlib.util
import json
import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzero_ros.backends import EngineOptions
from segzero_ros.backends.decoding.chat_prompt import ChatPrompt
from segzero_ros.backends.decoding.decode_state import MAX_ANSWER_TOKENS
from segzero_ros.backends.decoding.generation import ANSWER_RESERVE_TOKENS, MIN_ANSWER_TOKENS
from segzero_ros.backends.decoding.preprocess import resize_to
from segzero_ros.backends.remote.dialect import END, START, answer_pattern, plain_question
from segzero_ros.backends.remote.events import Delta
from segzero_ros.backends.remote.stream_state import StreamState
from segzero_ros.backends.torch_cuda.checkpoint import checkpoint_of
from segzero_ros.backends.torch_cuda.parentage import check_parentage
from segzero_ros.bundle import Bundle
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.profile import Profile
from segzero_ros.reasoner import Answer, Reasoner, Request

KEPT_PROMPTS = 8  # of the longest kind, in the block cache; the package's own default takes 90 % of the GPU's memory
_INSTALL = "pip install tensorrt-llm on x86-64 with Python 3.10 or 3.12 (docs/deploy/rtx-workstation.md)"
_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
_REPLY = "<|im_end|>\n<|im_start|>assistant\n"


class TensorRtLlmReasoner:
    """``Reasoner`` over a ``tensorrt_llm.LLM``; ``package`` is the module itself."""

    def __init__(
        self,
        package: Any,
        llm: Any,
        profile: Profile,
        tokenizer_json: str,
        *,
        max_length: int,
        constrained: bool = True,
    ) -> None:
        """``max_length``: tokens of picture, prompt and answer together, as the package was told."""
        self._package, self._llm, self._profile = package, llm, profile
        width, height = profile.image_size
        self._chat = ChatPrompt(tokenizer_json, token_grid=(height // 28, width // 28), system=profile.system)
        self._room = max_length - len(self._chat.prefix.ids)
        self._tag, self._rest = answer_guides(profile) if constrained else (None, None)
        self._encoded: tuple[Frame, Any] | None = None

    def prefill_image(self, frame: Frame) -> tuple[float, float]:
        """Bring the picture into the block cache before anybody asks; ms of vision (part of prefill) and prefill."""
        if self._encoded is not None and self._encoded[0] is frame:
            return 0.0, 0.0
        start = time.perf_counter()
        asked = self._inputs(frame, self._prefix())
        self._llm.generate_async(asked, sampling_params=self._sampling(1, None), streaming=False).result()
        return 0.0, (time.perf_counter() - start) * 1e3

    def reason(self, request: Request) -> Answer:
        """Answer; see ``Reasoner``. COMMAND_TOO_LONG when there is no room for an answer."""
        text = self._profile.render(request.command.text)
        room = self._room_after(text)
        budget = min(request.budget, max(0, room - ANSWER_RESERVE_TOKENS))
        state = StreamState(replace(request, budget=budget), thinks=self._profile.tags)
        prompt = self._prefix() + plain_question(text) + _REPLY
        tokens = min(room, budget + MAX_ANSWER_TOKENS)
        self._stream(state, self._inputs(request.frame, prompt), self._sampling(tokens, self._tag))
        if state.thinking and state.finish != "cancelled":
            state.close_thinking()
            begun = self._inputs(request.frame, prompt + plain_question(state.text))
            self._stream(state, begun, self._sampling(min(MAX_ANSWER_TOKENS, tokens - budget), self._rest))
        return state.answer(state.finish)

    def _room_after(self, text: str) -> int:
        room = self._room - len(self._chat.question(text))
        if room < MIN_ANSWER_TOKENS:
            raise RejectedInput(
                Code.COMMAND_TOO_LONG,
                f"got a question that leaves {room} tokens, want at least {MIN_ANSWER_TOKENS}; say it in fewer words",
            )
        return room

    def _stream(self, state: StreamState, inputs: dict[str, Any], sampling: Any) -> None:
        """Read one request's answer to its end, or abort it as soon as it is over."""
        if state.over() is not None:
            state.interrupted()
            return
        stream = self._llm.generate_async(inputs, sampling_params=sampling, streaming=True)
        sent = _Sent()
        for result in stream:
            state.append(sent.delta(result))
            if result.finished:
                return
            if state.over() is not None:
                stream.abort()
                state.interrupted()
                return

    def _sampling(self, tokens: int, guide: dict[str, str] | None) -> Any:
        """Greedy, two log-probabilities per token, up to ``</answer>``, which stays in the text."""
        guided = self._package.llmapi.GuidedDecodingParams(**guide) if guide else None
        return self._package.SamplingParams(
            max_tokens=tokens,
            top_k=1,  # greedy in every version; a temperature of 0 is documented as out of range
            logprobs=2,
            stop=END if self._profile.tags else None,
            include_stop_str_in_output=True,
            add_special_tokens=False,
            guided_decoding=guided,
        )

    def _inputs(self, frame: Frame, prompt: str) -> dict[str, Any]:
        """Return a ``TextPrompt`` of the package."""
        return {"prompt": prompt, "multi_modal_data": {"image": [self._picture(frame)]}}

    def _picture(self, frame: Frame) -> Any:
        """Return the frame at the profile's size; the last one is kept, so that its hash finds its blocks again."""
        if self._encoded is None or self._encoded[0] is not frame:
            self._encoded = frame, _image(resize_to(frame.rgb, self._profile.image_size))
        return self._encoded[1]

    def _prefix(self) -> str:
        """Return the prompt up to the question. The package reads special tokens out of any text it is given."""
        return f"<|im_start|>system\n{self._profile.system}<|im_end|>\n<|im_start|>user\n{_PICTURE}"


class _Sent:
    """How much of a growing result was handed on already."""

    def __init__(self) -> None:
        self._text = self._tokens = 0

    def delta(self, result: Any) -> Delta:
        """Return what a streamed result adds."""
        output = result.outputs[0]
        text, gaps = output.text[self._text :], tuple(map(_gap, (output.logprobs or [])[self._tokens :]))
        self._text, self._tokens = len(output.text), len(output.token_ids)
        finish = str(output.finish_reason or "") if result.finished else ""
        return Delta(text=text, gaps=gaps, tokens=self._tokens, finish=finish)


def answer_guides(profile: Profile) -> tuple[dict[str, str] | None, dict[str, str] | None]:
    """Return the fields of ``GuidedDecodingParams`` for a whole answer and for one that goes on after ``<answer>``.

    A whole one thinks freely; from ``<answer>`` on, a structural tag of xgrammar binds it (0.1.25 and later).
    """
    pattern = answer_pattern(profile, thinking=None, begun=True)
    if pattern is None:
        return None, None
    tag = {"begin": START, "content": {"type": "regex", "pattern": pattern}, "end": ""}
    form = {"type": "triggered_tags", "triggers": [START], "tags": [tag], "stop_after_first": True}
    return {"structural_tag": json.dumps({"type": "structural_tag", "format": form})}, {"regex": pattern}


def why_unavailable(bundle: Bundle | None, options: EngineOptions) -> str:
    """Return "" when it can run here, else one line that says why not and what to do; imports nothing."""
    if importlib.util.find_spec("tensorrt_llm") is None:
        return f"tensorrt_llm is not installed; {_INSTALL}"
    if bundle is None:
        return ""
    try:
        checkpoint_of(bundle, options)
    except RejectedInput as refusal:
        return refusal.detail
    return ""


def open_reasoner(bundle: Bundle, options: EngineOptions) -> Reasoner:
    """Open the checkpoint ``options.model`` with TensorRT-LLM; ``RejectedInput`` BUNDLE_BACKEND on any trouble."""
    checkpoint = checkpoint_of(bundle, options)
    check_parentage(bundle, checkpoint)
    try:
        import tensorrt_llm
        import tensorrt_llm.llmapi

        length = bundle.reasoner.max_length
        cache = tensorrt_llm.llmapi.KvCacheConfig(enable_block_reuse=True, max_tokens=KEPT_PROMPTS * length)
        llm = tensorrt_llm.LLM(
            model=str(checkpoint),
            trust_remote_code=False,
            kv_cache_config=cache,
            max_seq_len=length,
            guided_decoding_backend="xgrammar" if options.constrained else None,
        )
    except Exception as error:
        why = f"{type(error).__name__}: {str(error)[:300]}"
        raise RejectedInput(
            Code.BUNDLE_BACKEND, f"got {checkpoint}, which TensorRT-LLM cannot open ({why}); {_INSTALL}"
        ) from error
    tokenizer = bundle.reasoner.files["tokenizer"].read_text("utf-8")
    return TensorRtLlmReasoner(
        tensorrt_llm, llm, bundle.profile, tokenizer, max_length=length, constrained=options.constrained
    )


def _image(rgb: NDArray[np.uint8]) -> Any:
    from PIL import Image

    return Image.fromarray(rgb)


def _gap(step: Any) -> float:
    """Return by how much the best token's probability is ahead of the second's.

    ``step``: token id -> ``Logprob``, or a number where the package gives the chosen token's alone; then at least.
    """
    values = [entry.logprob for entry in step.values()] if isinstance(step, dict) else [step]
    best, *others = sorted((math.exp(min(0.0, value)) for value in values), reverse=True)
    return best - others[0] if others else max(0.0, 2 * best - 1)
