"""A server of the OpenAI protocol as values: which models it has, and a chat as deltas while they come.

Covered: retries with growing, random pauses as long as no text came; every HTTP status explained in one line; being
stopped between two bytes and during a pause. Not covered: which fields a server takes (dialect.py).
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from segzero_ros.backends.remote.events import Delta, EventStream, error_code, error_text, read_delta, read_rest
from segzero_ros.backends.remote.http import CONNECT_S, Endpoint, Head, HttpExchange, ServerFault
from segzero_ros.backends.remote.secret import KEY_VARIABLE, MAX_SHOWN, KeyFilter, note_taken, without
from segzero_ros.errors import Code, RejectedInput, nearest

POLL_S = 0.02  # how soon a cancel is noticed while nothing comes; what comes is read at once
RETRIES = 3
BACK_OFF_S = 0.2  # the first pause is a random part of it, each further one of twice as much
MAX_PAUSE_S = 5.0  # a robot does not wait longer for a server, whatever Retry-After says
MAX_CHAT_S = 660.0  # longer than any command (LONGEST_S in stream_state.py), whose deadline ends it before
MAX_READ_FOR_SHOWN = 4096  # bytes that are searched for the key before a detail quotes the first of them
MAX_MODELS_BYTES = 1 << 20
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})

Stop = Callable[[], bool]


class Interrupted(Exception):
    """``stop`` said so; the connection is closed."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model as /v1/models names it; ``notes``: what `segzero serve` adds about its bundle."""

    name: str
    owner: str
    notes: Mapping[str, Any] = field(default_factory=dict)


class Server:
    """A server's address, key and patience."""

    def __init__(
        self, endpoint: Endpoint, key: str, *, stall_s: float, retries: int = RETRIES, back_off_s: float = BACK_OFF_S
    ) -> None:
        """``stall_s``: no byte for that long is a fault. ``back_off_s``: see BACK_OFF_S."""
        self.endpoint = endpoint
        self._key, self._stall_s = key, stall_s
        self._retries, self._back_off_s = retries, back_off_s
        self._random = random.Random()  # noqa: S311 - spreads retries, guards nothing

    def models(self, stop: Stop, *, patience_s: float | None = None) -> list[Model]:
        """Ask for the models; one try.

        ``patience_s``: for all of it, instead of the usual ``stall_s``, to probe a server that was down.
        """
        patience_s = patience_s or self._stall_s
        exchange = self._exchange("/models", None, patience_s, total_s=patience_s)
        try:
            content = self._whole(exchange, stop)
        finally:
            exchange.close()
        try:
            models = [_model(entry, self._key) for entry in json.loads(content)["data"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ServerFault(
                Code.SERVER_REFUSED,
                f"{self.endpoint.url}/models gave {self.shown(content)!r}, want a list of models; check the address",
            ) from None
        note_taken(self._key, self.endpoint.host, self.endpoint.port)
        return models

    def shown(self, said: bytes | str, limit: int = 80) -> str:
        """Return what the server said as a detail may quote it: the beginning, without the key."""
        text = said if isinstance(said, str) else said[:MAX_READ_FOR_SHOWN].decode("utf-8", "replace")
        return without(self._key, text, limit)

    def chat(self, body: Mapping[str, Any], stop: Stop) -> Iterator[Delta]:
        """Ask and yield what comes; closing the iterator closes the connection.

        Raises ``ServerFault``, after retries where they may help and no text came; ``Interrupted`` when ``stop()``.
        """
        data = json.dumps(body).encode()
        for attempt in itertools.count():
            has_text = False
            try:
                for delta in self._without_key(self._attempt(data, stop)):
                    has_text |= bool(delta.text or delta.thinking)
                    yield delta
                return
            except ServerFault as fault:
                if has_text or not fault.retry or attempt >= self._retries:
                    raise
                self._pause(fault, attempt, stop)

    def _exchange(self, path: str, body: bytes | None, stall_s: float, *, total_s: float) -> HttpExchange:
        connect_s = min(CONNECT_S, stall_s)
        return HttpExchange(self.endpoint, path, body, self._key, connect_s=connect_s, stall_s=stall_s, total_s=total_s)

    def _attempt(self, data: bytes, stop: Stop) -> Iterator[Delta]:
        exchange = self._exchange("/chat/completions", data, self._stall_s, total_s=MAX_CHAT_S)
        try:
            stream, ended = EventStream(), False
            for event, whole in self._events(exchange, stop, stream):
                delta = read_delta(event, self._key) if whole else read_rest(event, self._key)
                ended |= bool(delta.finish)
                yield delta
            ended |= stream.done
            if not ended:
                raise ServerFault(
                    Code.SERVER_UNREACHABLE, f"{self.endpoint.url} was cut off in the middle of its answer", retry=True
                )
        finally:
            exchange.close()

    def _without_key(self, deltas: Iterator[Delta]) -> Iterator[Delta]:
        """Take the key out of what a server's model says, too."""
        text, thinking = KeyFilter(self._key), KeyFilter(self._key)
        for delta in deltas:
            shown = replace(delta, text=text.push(delta.text), thinking=thinking.push(delta.thinking))
            if delta.finish:
                shown = replace(shown, text=shown.text + text.rest(), thinking=shown.thinking + thinking.rest())
            yield shown
        yield Delta(text=text.rest(), thinking=thinking.rest())

    def _events(self, exchange: HttpExchange, stop: Stop, stream: EventStream) -> Iterator[tuple[bytes, bool]]:
        """Yield each event and whether it came whole; what was there when the stream ended or broke comes, too."""
        lost: ServerFault | None = None
        try:
            for piece in self._pieces(exchange, stop):
                yield from ((event, True) for event in stream.push(piece))
                if stream.done:
                    return
        except ServerFault as fault:
            lost = fault
        yield from ((event, False) for event in stream.rest())
        if lost is not None:
            raise lost

    def _pieces(self, exchange: HttpExchange, stop: Stop) -> Iterator[bytes]:
        """Yield the bytes of an event stream; raises ``ServerFault`` for any other response."""
        while (piece := self._wait(exchange, stop)) and exchange.head:
            if exchange.head.status != 200:
                raise self._refusal(exchange.head, piece + self._whole_rest(exchange, stop))
            kind = exchange.head.headers.get("content-type", "")
            if not kind.lower().startswith("text/event-stream"):
                raise ServerFault(
                    Code.SERVER_REFUSED,
                    f"{self.endpoint.url} sent {self.shown(kind) or 'something'} ({self.shown(piece)!r}), "
                    "want text/event-stream; check the address",
                )
            yield piece
        if exchange.head and exchange.head.status != 200:
            raise self._refusal(exchange.head, b"")

    def _whole(self, exchange: HttpExchange, stop: Stop) -> bytes:
        content = self._whole_rest(exchange, stop)
        if exchange.head and exchange.head.status != 200:
            raise self._refusal(exchange.head, content)
        return content

    def _whole_rest(self, exchange: HttpExchange, stop: Stop) -> bytes:
        content = bytearray()
        while piece := self._wait(exchange, stop):
            content += piece
            if len(content) > MAX_MODELS_BYTES:
                raise ServerFault(Code.SERVER_REFUSED, f"{self.endpoint.url} sent more than {MAX_MODELS_BYTES} bytes")
        return bytes(content)

    def _wait(self, exchange: HttpExchange, stop: Stop) -> bytes:
        while True:
            if stop():
                raise Interrupted
            piece = exchange.receive(POLL_S)
            if piece is not None:
                return piece

    def _pause(self, fault: ServerFault, attempt: int, stop: Stop) -> None:
        chosen = self._random.uniform(0, self._back_off_s * 2**attempt)
        until = time.monotonic() + min(MAX_PAUSE_S, chosen + (fault.wait_s or 0.0))
        while (left := until - time.monotonic()) > 0:
            if stop():
                raise Interrupted
            time.sleep(min(POLL_S, left))

    def _refusal(self, head: Head, content: bytes) -> RejectedInput:
        """Return what a status other than 200 means here, with the server's own words."""
        code = ""
        try:
            parsed = json.loads(content)
            reason, code = error_text(parsed, self._key), error_code(parsed)
            if code == Code.COMMAND_TOO_LONG.name:  # `segzero serve` has a model as small as ours
                return RejectedInput(Code.COMMAND_TOO_LONG, reason)
            if code == Code.TIMEOUT.name:  # got no turn in time there, or an engine that hung
                return ServerFault(Code.TIMEOUT, f"{self.endpoint.url}: {reason}", status=head.status)
        except (ValueError, RecursionError):
            reason = self.shown(content, MAX_SHOWN)
        detail = f"{self.endpoint.url} answered {head.status} ({reason or 'no reason given'}){self._advice(head)}"
        retry = head.status in _RETRIED and code != Code.REASONER_DIED.name  # it would crash there again
        return ServerFault(Code.SERVER_REFUSED, detail, retry=retry, status=head.status, wait_s=_retry_after(head))

    def _advice(self, head: Head) -> str:
        if head.status in (401, 403):
            return f"; set {KEY_VARIABLE} to a key it takes"
        if head.status == 404:
            return "; check the model's name and the address, which usually ends in /v1"
        if 300 <= head.status < 400:
            final = without(self._key, head.headers.get("location", "unknown"))
            return f"; redirects are not followed, give the final address ({final})"
        if head.status in (429, 503):
            return "; it is busy, ask later or give it fewer robots"
        return "; see its log"


def choose_model(models: list[Model], wanted: str, url: str) -> Model:
    """Return the model called ``wanted``, the only one if it is empty; ``ServerFault`` SERVER_REFUSED otherwise."""
    named = {model.name: model for model in models}
    if wanted in named:
        return named[wanted]
    if not wanted and len(models) == 1:
        return models[0]
    names = ", ".join(sorted(named)[:20])[:MAX_SHOWN] or "none"
    if not wanted:
        raise ServerFault(Code.SERVER_REFUSED, f"{url} has the models {names}; say which one (model)")
    raise ServerFault(
        Code.SERVER_REFUSED, f"{url} has no model {wanted!r}{nearest(wanted, named)[:MAX_SHOWN]}", status=404
    )


def _model(entry: Any, key: str) -> Model:
    if not isinstance(entry, dict):
        raise TypeError(f"got a model that is {type(entry).__name__}")
    notes = entry.get("segzero")
    name, owner = without(key, str(entry["id"]), 300), without(key, str(entry.get("owned_by", "")), 100)
    return Model(name, owner, notes if isinstance(notes, dict) else {})


def _retry_after(head: Head) -> float | None:
    """Seconds of a Retry-After header; its other form, a date, is passed over."""
    text = head.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 6 else None
