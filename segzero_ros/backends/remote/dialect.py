"""What each OpenAI-compatible server takes beside the common request, and the request itself.

Which server it is, is what ``owned_by`` says in /v1/models. Names and meanings were read in the sources of
TensorRT-LLM (main, November 2026), TensorRT Edge-LLM 0.11.0, SGLang 0.5.23 and vLLM (main, November 2026). The first
two refuse a field they do not know, the others pass over it in silence; a server of another make gets the common
request alone.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.answer import MAX_TARGETS
from segzero_ros.backends.decoding import grammar
from segzero_ros.profile import Profile

OPEN, CLOSE, START, END = grammar.OPEN_THINKING, grammar.CLOSE_THINKING, grammar.OPEN_ANSWER, grammar.END
CHARS_PER_TOKEN = 4  # of English reasoning; bounds the thinking where the server cannot be asked to go on
PNG_PIXELS = 448 * 448  # a larger picture goes as JPEG: 840 x 840 has 2.1 MB as it is, 1.3 as PNG and 0.3 as JPEG
JPEG_QUALITY = 95

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one make of server is asked.

    ``guide``: the fields that make what it writes follow a regular expression, None where that is not possible.
    ``stop``: fields that leave the stop text in the answer. ``resume``: fields that make it go on with an assistant
    message begun for it; empty where it cannot. ``native``: `segzero serve`, which keeps budget, deadline and grammar
    itself and takes its prompt as it is.
    """

    name: str
    guide: Callable[[str], Fields] | None = None
    stop: Mapping[str, Any] = field(default_factory=dict)
    resume: Mapping[str, Any] = field(default_factory=dict)
    native: bool = False


_RESUME = {"continue_final_message": True, "add_generation_prompt": False}
OTHER = Dialect("another server")
DIALECTS: Mapping[str, Dialect] = {
    "segzero": Dialect("segzero serve", native=True),
    "tensorrt_llm": Dialect(
        "TensorRT-LLM",
        guide=lambda pattern: {"response_format": {"type": "regex", "regex": pattern}},
        stop={"include_stop_str_in_output": True},
    ),
    "tensorrt-edgellm": Dialect("TensorRT Edge-LLM", guide=lambda pattern: {"guided_decoding": {"regex": pattern}}),
    "vllm": Dialect(
        "vLLM",
        guide=lambda pattern: {"structured_outputs": {"regex": pattern}},
        stop={"include_stop_str_in_output": True},
        resume=_RESUME,
    ),
    "sglang": Dialect(
        "SGLang",
        guide=lambda pattern: {"regex": pattern},
        stop={"no_stop_trim": True},
        resume={"continue_final_message": True},
    ),
}


def answer_pattern(profile: Profile, *, thinking: int | None, begun: bool = False) -> str | None:
    """Return the regular expression of a whole answer with its thinking, None for a profile whose answers are free.

    ``thinking``: at most so many tokens of it, None = any number. ``begun``: it goes on after ``<answer>``.
    Only what every engine's regular expressions have is used: classes, groups, ``?``, ``*`` and bounded repetition.
    """
    if not profile.tags:
        return None
    body = (_v1_body() if profile.grammar == "v1" else _v2_body(abstains=profile.abstains)) + END
    if begun:
        return body
    repeated = "*" if thinking is None else f"{{0,{max(1, thinking) * CHARS_PER_TOKEN}}}"
    return f"{OPEN}[^<]{repeated}{CLOSE}[ \n]?{START}{body}"


def _numbers(count: int) -> str:
    return r"\[" + ", ?".join(["[0-9]{1,4}"] * count) + r"\]"


def _v1_body() -> str:
    quote = "['\"]"
    pairs = (("bbox", 4), ("points_1", 2), ("points_2", 2))
    return r"\{" + ", ?".join(f"{quote}{key}{quote}: ?{_numbers(count)}" for key, count in pairs) + r"\}"


def _v2_body(*, abstains: bool) -> str:
    one = r"\{" + f'"bbox_2d": ?{_numbers(4)}, ?"point_2d": ?{_numbers(2)}' + r"\}"
    several = f"{one}(, ?{one}){{0,{MAX_TARGETS - 1}}}"
    return rf"\[({several})?\]" if abstains else rf"\[{several}\]"


def encode_picture(rgb: NDArray[np.uint8]) -> str:
    """Return uint8 (H, W, 3) as a data URL: PNG, exact, for small pictures, JPEG of quality 95 for large ones.

    PNG is not compressed: that takes 15 times as long as to send what it saves (docs/remote.md).
    The picture has the profile's size already. Qwen2.5-VL's processor resizes to multiples of 28 (Qwen3-VL's: of 32)
    between a least and a most number of pixels; every profile's size is such a multiple, so servers leave it as it is.
    """
    small = rgb.shape[0] * rgb.shape[1] <= PNG_PIXELS
    # Colour at full resolution: halved, thin and small things lose theirs.
    exact = [
        cv2.IMWRITE_JPEG_QUALITY,
        JPEG_QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    kind, options = ("png", [cv2.IMWRITE_PNG_COMPRESSION, 0]) if small else ("jpeg", exact)
    stored = cv2.imencode(f".{kind}", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)[1]
    return f"data:image/{kind};base64,{base64.b64encode(stored.tobytes()).decode('ascii')}"


def plain_question(text: str) -> str:
    """Return a prompt in which nothing spells one of Qwen's special tokens (CVE-2026-44222).

    Such servers read ``<|im_start|>`` and its like out of any text; `segzero serve` does not.
    """
    return text.replace("<|", "< |")


def chat_messages(system: str, picture: str, text: str, begun: str = "") -> list[Fields]:
    """Return the messages; the picture comes before the question, as in training. ``begun``: the answer so far."""
    question = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": text}]
    answer = [{"role": "assistant", "content": begun}] if begun else []
    return [{"role": "system", "content": system}, {"role": "user", "content": question}, *answer]
