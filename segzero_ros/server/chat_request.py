"""The body of a chat request -> a ``ChatRequest``, or a refusal that names what was wrong; no I/O.

One invariant: for every JSON value ``read_chat_request`` returns a ``ChatRequest`` or raises ``Refusal``.
Covered: one picture and one message per request, asked greedily; a system message other than the bundle's is refused,
since the model was trained with that one only. Not covered: tools, several turns, sampling.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segzero_ros.errors import clean_text, nearest
from segzero_ros.host.messages import MAX_QUESTION_CHARS, MAX_STOP_CHARS, MAX_STOPS

MAX_TOKENS = 8192
MAX_DEADLINE_S = 3600.0
_FIXED: Mapping[str, tuple[Any, ...]] = {  # fields that may be there, and what they may say
    "n": (1,),
    "temperature": (0,),
    "top_p": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "response_format": ({"type": "text"},),
}
_FREE = ("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "stop", "segzero")
_PASSED_OVER = ("seed", "user", "metadata", "store")


class Refusal(Exception):
    """A request that is not taken: HTTP ``status`` and a sentence; ``wait_s``: when to try again, None = never.

    ``code``: a name of ``segzero_ros.errors.Code`` where the command itself is at fault.
    """

    def __init__(self, status: int, detail: str, *, wait_s: int | None = None, code: str = "") -> None:
        super().__init__(detail)
        self.status, self.detail, self.wait_s, self.code = status, clean_text(detail), wait_s, code


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a client asks.

    ``picture``: a JPEG's or PNG's bytes. ``text``: the whole user message, already rendered. ``budget``: thinking
    tokens, ``deadline_s``: from now on, both None when the client did not say. ``client``: "" = known by its address.
    """

    picture: bytes
    text: str
    stream: bool
    counts: bool
    max_tokens: int | None
    stops: tuple[str, ...]
    budget: int | None
    deadline_s: float | None
    client: str


def read_chat_request(body: Any, *, model: str, system: str) -> ChatRequest:
    """Read a request's JSON; raises ``Refusal`` 400, or 404 for another model than ``model``."""
    if not isinstance(body, dict):
        raise _bad(f"got {type(body).__name__}, want a JSON object")
    _check_fields(body)
    if body.get("model") not in (None, "", model):
        raise Refusal(404, f"got the model {str(body['model'])[:100]!r}, this server has {model!r}")
    picture, text = _read_messages(body.get("messages"), system)
    options, extra = body.get("stream_options"), body.get("segzero")
    for name, value in (("stream_options", options), ("segzero", extra)):
        if value is not None and not isinstance(value, dict):
            raise _bad(f"got {name} = {type(value).__name__}, want an object")
    options, extra = options or {}, extra or {}
    client = extra.get("client", "")
    return ChatRequest(
        picture,
        text,
        stream=_flag(body, "stream"),
        counts=_flag(options, "include_usage"),
        max_tokens=_whole(body, "max_completion_tokens", 1, MAX_TOKENS) or _whole(body, "max_tokens", 1, MAX_TOKENS),
        stops=_stops(body.get("stop")),
        budget=_whole(extra, "budget", 0, MAX_TOKENS),
        deadline_s=_seconds(extra.get("deadline_s")),
        client=client[:100] if isinstance(client, str) else "",
    )


def _check_fields(body: Mapping[str, Any]) -> None:
    known = (*_FIXED, *_FREE, *_PASSED_OVER)
    for name, value in body.items():
        if name not in known:
            raise _bad(f"got the field {name[:100]!r}{nearest(name, known)}")
        if name in _FIXED and value is not None and value not in _FIXED[name]:
            raise _bad(
                f"got {name} = {str(value)[:100]}, want {_FIXED[name][0]}: answers are greedy and keep the grammar"
            )


def _read_messages(messages: Any, system: str) -> tuple[bytes, str]:
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise _bad("got no messages, want a system message (or none) and a user message")
    roles = [message.get("role") for message in messages]
    if roles not in (["user"], ["system", "user"]):
        raise _bad(f"got messages of {str(roles)[:100]}, want one of the user, at most one of the system before it")
    if len(roles) == 2 and _joined(_parts(messages[0])) != system:
        raise _bad(f"got another system message than this bundle was trained with, which is {system!r}")
    parts = _parts(messages[-1])
    pictures = [part for part in parts if part.get("type") == "image_url"]
    if len(pictures) != 1:
        raise _bad(f"got {len(pictures)} pictures, want one image_url")
    text = clean_text(_joined([part for part in parts if part is not pictures[0]]))
    if not 0 < len(text) <= MAX_QUESTION_CHARS:
        raise _bad(f"got {len(text)} characters of text, want 1..{MAX_QUESTION_CHARS}")
    return _read_picture(pictures[0].get("image_url")), text


def _parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise _bad("got a message without content, want a text or a list of parts")
    return content


def _joined(parts: list[Mapping[str, Any]]) -> str:
    texts = [part.get("text") if part.get("type") == "text" else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise _bad(f"got parts of {str([part.get('type') for part in parts])[:100]}, want text and one image_url")
    return "".join(map(str, texts))


def _read_picture(image: Any) -> bytes:
    """Return the bytes of a data URL; nothing is ever fetched from an address a client names."""
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str) or not url.startswith("data:image/"):
        raise _bad("got an image_url that is no data URL, want data:image/png;base64,... (addresses are not fetched)")
    head, comma, content = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise _bad("got a data URL without base64, want data:image/png;base64,...")
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise _bad("got a data URL whose base64 cannot be decoded") from None


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value or []
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        raise _bad(f"got stop = {str(value)[:100]!r}, want at most {MAX_STOPS} texts")
    if not all(isinstance(stop, str) and 0 < len(stop) <= MAX_STOP_CHARS for stop in stops):
        raise _bad(f"got a stop that is no text of 1..{MAX_STOP_CHARS} characters")
    if any(clean_text(stop) != stop for stop in stops):  # cleaned, it may be empty: found before the first word
        raise _bad("got a stop with control characters or half of one, want text that an answer can hold")
    return tuple(stops)


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value not in (None, True, False) or isinstance(value, float):
        raise _bad(f"got {name} = {str(value)[:100]}, want true or false")
    return bool(value)


def _whole(body: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or not low <= value <= high:
        raise _bad(f"got {name} = {str(value)[:100]}, want a whole number of {low}..{high}")
    return value


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= MAX_DEADLINE_S:  # NaN is not either
        raise _bad(f"got deadline_s = {str(value)[:100]}, want 0..{MAX_DEADLINE_S:g}")
    return float(value)


def _bad(detail: str) -> Refusal:
    return Refusal(400, detail)
