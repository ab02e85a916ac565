"""A stand-in for the package `tensorrt_llm`: the names and defaults of its 1.2 series, and nothing it would not take.

Read in the package's sources: llmapi/llm.py (LLM.__init__, generate_async), llmapi/llm_args.py (BaseLlmArgs and
KvCacheConfig, which refuse unknown fields), sampling_params.py, executor/result.py (CompletionOutput,
GenerationResult), inputs/data.py (TextPrompt). Its requirements pin xgrammar 0.1.25.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

VERSION = "1.2.1"
NAMES = {
    "LLM": (
        *("model", "tokenizer", "tokenizer_mode", "skip_tokenizer_init", "trust_remote_code", "tensor_parallel_size"),
        *("dtype", "revision", "tokenizer_revision"),
    ),
    "LLM kwargs": (
        *("kv_cache_config", "enable_chunked_prefill", "guided_decoding_backend", "batched_logits_processor"),
        *("max_batch_size", "max_input_len", "max_seq_len", "max_beam_width", "max_num_tokens", "backend"),
        *("speculative_config", "cache_transceiver_config", "reasoning_parser", "return_perf_metrics"),
    ),
    "generate_async": (
        *("inputs", "sampling_params", "lora_request", "prompt_adapter_request", "streaming"),
        *("kv_cache_retention_config", "disaggregated_params", "_postproc_params", "scheduling_params", "cache_salt"),
    ),
    "KvCacheConfig": ("enable_block_reuse", "max_tokens", "max_attention_window", "free_gpu_memory_fraction"),
    "GuidedDecodingParams": ("json", "regex", "grammar", "json_object", "structural_tag"),
    "SamplingParams": (
        *("end_id", "pad_id", "max_tokens", "bad", "bad_token_ids", "stop", "stop_token_ids"),
        *("include_stop_str_in_output", "embedding_bias", "logits_processor", "apply_batched_logits_processor"),
        *("n", "best_of", "use_beam_search", "top_k", "top_p", "top_p_min", "top_p_reset_ids", "top_p_decay", "seed"),
        *("temperature", "min_tokens", "beam_search_diversity_rate", "repetition_penalty", "presence_penalty"),
        *("frequency_penalty", "length_penalty", "early_stopping", "no_repeat_ngram_size", "min_p"),
        *("beam_width_array", "logprobs", "prompt_logprobs", "return_context_logits", "return_generation_logits"),
        *("exclude_input_from_output", "return_encoder_output", "return_perf_metrics", "additional_model_outputs"),
        *("lookahead_config", "guided_decoding", "ignore_eos", "detokenize", "add_special_tokens"),
        *("truncate_prompt_tokens", "skip_special_tokens", "spaces_between_special_tokens"),
    ),
    "TextPrompt": ("prompt", "multi_modal_data", "mm_processor_kwargs"),
    "CompletionOutput": ("index", "text", "token_ids", "cumulative_logprob", "logprobs", "finish_reason"),
    "GenerationResult": ("outputs", "finished", "abort", "aborted", "result", "__iter__", "__next__"),
}


def strict(name: str, given: dict[str, Any]) -> SimpleNamespace:
    """A value with the fields of `name`; TypeError for any other, as the dataclasses and models have it."""
    unknown = set(given) - set(NAMES[name])
    if unknown:
        raise TypeError(f"{name}: got an unexpected keyword argument {sorted(unknown)}")
    return SimpleNamespace(**{**dict.fromkeys(NAMES[name]), **given})


def guided_decoding_params(**given: Any) -> SimpleNamespace:
    params = strict("GuidedDecodingParams", given)
    if sum(map(bool, given.values())) > 1:
        raise ValueError(f"Only one guide can be used for a request, but got {len(given)}.")
    return params


@dataclass
class CompletionOutput:
    index: int = 0
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    cumulative_logprob: float | None = None
    logprobs: list[dict[int, Any]] = field(default_factory=list)
    finish_reason: str | None = None


class Result:
    """A request's result, which is its own iterator and grows; a token is up to four characters."""

    def __init__(self, text: str, sampling: SimpleNamespace, certainty: float) -> None:
        self._text, self._sampling, self._certainty = text, sampling, certainty
        self.outputs = [CompletionOutput()]
        self.finished = self._aborted = False

    def abort(self) -> None:
        self._aborted = self.finished = True

    def aborted(self) -> bool:
        return self._aborted

    def result(self, timeout: float | None = None) -> Result:
        for _ in self:
            pass
        return self

    def __iter__(self) -> Iterator[Result]:
        return self

    def __next__(self) -> Result:
        if self.finished:
            raise StopIteration
        output, rest = self.outputs[0], self._text[len(self.outputs[0].text) :]
        output.text += rest[:4]
        output.token_ids.append(len(output.token_ids))
        chances = {1: self._certainty, 2: 1 - self._certainty}
        output.logprobs.append({id: SimpleNamespace(logprob=math.log(p), rank=id) for id, p in chances.items()})
        stop = self._sampling.stop
        if stop and stop in output.text:
            end = output.text.index(stop) + (len(stop) if self._sampling.include_stop_str_in_output else 0)
            output.text = output.text[:end]
            self.finished, output.finish_reason = True, "stop"
        elif len(rest) <= 4:
            self.finished, output.finish_reason = True, "stop"
        elif len(output.token_ids) >= self._sampling.max_tokens:
            self.finished, output.finish_reason = True, "length"
        return self


class LLM:
    def __init__(
        self,
        model: str,
        tokenizer: Any = None,
        tokenizer_mode: str = "auto",
        skip_tokenizer_init: bool = False,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        revision: str | None = None,
        tokenizer_revision: str | None = None,
        **kwargs: Any,
    ) -> None:
        unknown = set(kwargs) - set(NAMES["LLM kwargs"])
        if unknown:
            raise ValueError(f"Extra inputs are not permitted: {sorted(unknown)}")
        self.model, self.trusts, self.options = model, trust_remote_code, kwargs
        self.requests: list[tuple[dict[str, Any], SimpleNamespace]] = []
        self.results: list[Result] = []
        self.says: Callable[[str], str] = lambda prompt: "<think>none</think><answer>[]</answer>"
        self.certainty = 0.75

    def generate_async(
        self,
        inputs: dict[str, Any],
        sampling_params: SimpleNamespace | None = None,
        lora_request: Any = None,
        prompt_adapter_request: Any = None,
        streaming: bool = False,
        kv_cache_retention_config: Any = None,
        disaggregated_params: Any = None,
        _postproc_params: Any = None,
        scheduling_params: Any = None,
        cache_salt: str | None = None,
    ) -> Result:
        strict("TextPrompt", inputs)
        assert sampling_params is not None
        self.requests.append((inputs, sampling_params))
        self.results.append(Result(self.says(inputs["prompt"]), sampling_params, self.certainty))
        return self.results[-1]


def package() -> ModuleType:
    """The package, as `import tensorrt_llm` would give it."""
    module, llmapi = ModuleType("tensorrt_llm"), ModuleType("tensorrt_llm.llmapi")
    contents = {
        "LLM": LLM,
        "SamplingParams": lambda **given: strict("SamplingParams", given),
        "KvCacheConfig": lambda **given: strict("KvCacheConfig", given),
        "GuidedDecodingParams": guided_decoding_params,
    }
    for name, value in contents.items():
        setattr(llmapi, name, value)
    module.LLM, module.SamplingParams, module.llmapi = LLM, contents["SamplingParams"], llmapi  # type: ignore[attr-defined]
    return module
