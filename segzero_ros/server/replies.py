"""The reasoner's answer -> OpenAI's JSON: chunks of a stream, a whole completion, errors, models; no I/O.

Beside OpenAI's fields the last chunk has "segzero": confidence, timings and why the answer ended, so that a remote
reasoner returns what a local one would.
"""

from __future__ import annotations

import json
import time
from typing import Any

from segzero_ros.profile import Profile
from segzero_ros.reasoner import Answer
from segzero_ros.server.chat_request import Refusal

OWNER = "segzero"  # by which backends/remote/__init__.py knows that it talks to its own kind
DONE = b"data: [DONE]\n\n"
WAITING = b": waiting\n\n"  # a comment: shows a client in the queue that the server is alive

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class StopText:
    """Hands text on until one of ``stops`` comes up; what may be the beginning of one is held back."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""
        self.stopped = False

    def push(self, piece: str) -> str:
        """Return the text that may go out now; the stop itself never does."""
        if self.stopped:
            return ""
        text = self._held + piece
        found = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((self._beginning(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """Return what was held back in vain."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _beginning(text: str, stop: str) -> int:
        lengths = range(min(len(stop) - 1, len(text)), 0, -1)
        return next((length for length in lengths if text.endswith(stop[:length])), 0)


class Completion:
    """The texts of one request's response: its id, model and time are the same in all of them."""

    def __init__(self, id: str, model: str) -> None:
        self._common = {"id": f"chatcmpl-{id}", "created": int(time.time()), "model": model}

    def chunk(self, delta: dict[str, Any]) -> bytes:
        """Return one event of the stream with new text, or with the role at its beginning."""
        return self._event([{"index": 0, "delta": delta, "finish_reason": None}])

    def last(self, reason: str, answer: Answer, *, counts: bool) -> bytes:
        """Return the last events: why it ended, and the token counts if they were asked for."""
        ended = self._event([{"index": 0, "delta": {}, "finish_reason": reason}], segzero=notes(answer))
        return ended + (self._event([], usage=_usage(answer)) if counts else b"") + DONE

    def whole(self, text: str, reason: str, answer: Answer) -> dict[str, Any]:
        """Return a completion that was not streamed."""
        message = {"role": "assistant", "content": text}
        return {
            **self._common,
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": _usage(answer),
            "segzero": notes(answer),
        }

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return event({**self._common, "object": "chat.completion.chunk", "choices": choices, **more})


def event(content: dict[str, Any]) -> bytes:
    """Return one server-sent event."""
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def failure(refusal: Refusal) -> dict[str, Any]:
    """Return an error as OpenAI writes it."""
    kind = _TYPES.get(refusal.status, "invalid_request_error" if refusal.status < 500 else "server_error")
    return {"error": {"message": refusal.detail, "type": kind, "param": None, "code": refusal.code or refusal.status}}


def models(name: str, profile: Profile) -> dict[str, Any]:
    """Return the list of models: one, with what a client's bundle must have alike."""
    from segzero_ros.backends.remote import profile_notes

    model = {"id": name, "object": "model", "created": 0, "owned_by": OWNER, "segzero": profile_notes(profile)}
    return {"object": "list", "data": [model]}


def why_ended(answer: Answer, *, cut: bool, tags: bool) -> str:
    """Return OpenAI's finish_reason: "length" for an answer that is not complete. ``cut``: by max_tokens."""
    complete = answer.finish == "stop" or (tags and "</answer>" in answer.text[-64:])
    return "stop" if complete and not cut else "length"


def notes(answer: Answer) -> dict[str, Any]:
    """Return what OpenAI's protocol has no field for."""
    timings = {key: round(value, 3) for key, value in answer.timings_ms.items()}
    return {
        "finish": answer.finish,
        "tokens": answer.tokens,
        "steps": answer.steps,
        "confidence": answer.confidence,
        "timings_ms": timings,
    }


def _usage(answer: Answer) -> dict[str, int]:
    return {"prompt_tokens": 0, "completion_tokens": answer.tokens, "total_tokens": answer.tokens}
