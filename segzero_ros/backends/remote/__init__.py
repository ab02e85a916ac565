"""The reasoner on another machine: any server of the OpenAI protocol, with the local bundle for when it is gone.

Covered: trtllm-serve, TensorRT Edge-LLM's server, vLLM, SGLang and `segzero serve` (docs/remote.md has their commands
and what was run); streaming; cancelling; budget and deadline, which close the thinking and still ask for the answer
where the server can go on with a message begun for it; guided answers; a server that is dead, slow, wrong or rude.
Not covered: sending a frame before anybody asks. Plain http is for networks one trusts: pictures cross it readable.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from segzero_ros.backends import EngineOptions
from segzero_ros.backends.decoding.decode_state import MAX_ANSWER_TOKENS
from segzero_ros.backends.decoding.preprocess import resize_to
from segzero_ros.backends.remote.client import Interrupted, Model, Server, Stop, choose_model
from segzero_ros.backends.remote.dialect import (
    DIALECTS,
    END,
    OTHER,
    Dialect,
    Fields,
    answer_pattern,
    chat_messages,
    encode_picture,
    plain_question,
)
from segzero_ros.backends.remote.fallback import FallbackReasoner
from segzero_ros.backends.remote.http import ServerFault, read_endpoint, read_key
from segzero_ros.backends.remote.stream_state import StreamState
from segzero_ros.bundle import Bundle
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.profile import Profile
from segzero_ros.reasoner import Answer, Reasoner, Request

PROBE_S = 1.0  # for a server that was down to answer again
_FULL, _UNGUIDED, _BARE = range(3)  # requests: all that the server is known to take; no grammar; the least
_NO_LIST = (404, 405, 500, 501)  # of servers without /v1/models
_log = logging.getLogger(__name__)


class RemoteReasoner:
    """``Reasoner`` over a server; raises ``ServerFault`` when the server does not do its part."""

    is_remote = True

    def __init__(
        self, profile: Profile, server: Server, *, model: str = "", constrained: bool = True, spare: bool = False
    ) -> None:
        """``model``: the name the server knows it by, may be empty if it has one only. ``constrained``: guided.

        ``spare``: another reasoner answers when this one raises, so some of the time is left to it.
        """
        self._profile, self._server = profile, server
        self._wanted, self._constrained, self._spare = model, constrained, spare
        self._model: Model | None = None
        self._request = _FULL
        self._encoded: tuple[Frame, str] | None = None

    def reason(self, request: Request) -> Answer:
        """Answer over the server; see ``Reasoner``."""
        state = StreamState(request, thinks=self._profile.tags, spare=self._spare)
        try:
            dialect = self._dialect(lambda: state.over() is not None)
            state.native = dialect.native
            self._ask(state, dialect, request)
        except Interrupted:
            state.interrupted()
        except ServerFault as fault:
            self._model = None if fault.status in (0, 404) else self._model  # it may come back as another one
            raise
        return state.answer(state.finish)

    def prefill_image(self, frame: Frame) -> None:
        """Encode the picture before anybody asks; it is not sent: a server's cache is for those who do ask."""
        self._picture(frame)

    def probe(self, *, patience_s: float | None = None, stop: Stop = lambda: False) -> Model:
        """Return the model that will be asked; ``ServerFault`` when the server is not there or has another one."""
        model = self._choose(stop, patience_s)
        self._check_bundle(model)
        self._model, self._request = model, _FULL
        _log.info("%s: %s by %s", self._server.endpoint.url, model.name, _dialect_of(model).name)
        return model

    def _choose(self, stop: Stop, patience_s: float | None) -> Model:
        """Return the model that was asked for; a server that lists none (transformers' own) is taken at its word."""
        try:
            models = self._server.models(stop, patience_s=patience_s)
        except ServerFault as fault:
            if not self._wanted or fault.status not in _NO_LIST:
                raise
            models = []
        if self._wanted and not models:
            return Model(self._wanted, "")
        return choose_model(models, self._wanted, self._server.endpoint.url)

    def _dialect(self, stop: Stop) -> Dialect:
        return _dialect_of(self._model or self.probe(stop=stop))

    def _check_bundle(self, model: Model) -> None:
        """Refuse a `segzero serve` whose bundle was trained with another prompt or picture than ours."""
        for key, ours in profile_notes(self._profile).items():
            theirs = model.notes.get(key, ours)
            if theirs != ours:
                shown = self._server.shown(str(theirs), 100)
                raise ServerFault(
                    Code.SERVER_REFUSED,
                    f"{self._server.endpoint.url} serves {model.name} with {key} {shown!r}, the bundle "
                    f"here has {str(ours)[:100]!r}; use the same bundle on both",
                )

    def _ask(self, state: StreamState, dialect: Dialect, request: Request) -> None:
        """Send the request; when the thinking runs out of budget or time, send another for the answer."""
        text = self._profile.render(request.command.text)
        picture, question = self._picture(request.frame), text if dialect.native else plain_question(text)

        def fields(kind: int, begun: str) -> Fields:
            messages = chat_messages(self._profile.system, picture, question, begun)
            return self._fields(kind, dialect, messages, state, request.budget, begun=bool(begun))

        try:
            self._stream(state, lambda kind: fields(kind, ""))
        except Interrupted:
            state.interrupted()
            if state.finish not in ("budget", "deadline") or not state.thinking or not dialect.resume:
                return
            state.close_thinking()
            self._stream(state, lambda kind: fields(kind, state.text))

    def _stream(self, state: StreamState, fields: Callable[[int], Fields]) -> None:
        """Read one response to its end; a request that is refused as such is tried again with less in it."""
        before = len(state.text)
        for kind in range(self._request, _BARE + 1):
            try:
                for delta in self._server.chat(fields(kind), lambda: state.over() is not None):
                    state.append(delta)
                break
            except ServerFault as fault:
                if state.complete:
                    _log.info("behind its answer: %s", fault.detail)
                    break
                plainer = fault.status in (400, 422) and kind < _BARE and not state.native
                if not plainer or len(state.text) > before:
                    raise
                _log.warning("%s; asking again with fewer options", fault.detail)
        self._request = kind

    def _fields(
        self, kind: int, dialect: Dialect, messages: list[Fields], state: StreamState, budget: int, *, begun: bool
    ) -> Fields:
        """Return the request's body, ``kind``: how much of what not every server takes is in it."""
        body: dict[str, Any] = {
            "model": self._model.name if self._model else self._wanted,
            "messages": messages,
            "stream": True,
            "temperature": 0,
            "max_tokens": MAX_ANSWER_TOKENS + (0 if begun else budget),
        }
        if dialect.native:
            body["segzero"] = {"budget": budget, "deadline_s": state.left_s, "client": _client()}
            return body
        if begun:
            body |= dialect.resume
        if kind < _BARE:
            body |= {"stop": [END], **dialect.stop} if self._profile.tags else {}
            body |= {"stream_options": {"include_usage": True}, "logprobs": True, "top_logprobs": 2}
        if kind < _UNGUIDED and self._constrained and dialect.guide:
            thinking = None if dialect.resume else budget
            pattern = answer_pattern(self._profile, thinking=thinking, begun=begun)
            body |= dialect.guide(pattern) if pattern else {}
        return body

    def _picture(self, frame: Frame) -> str:
        """Return the frame as a data URL; the last one is kept for another question on it."""
        if self._encoded is None or self._encoded[0] is not frame:
            self._encoded = frame, encode_picture(resize_to(frame.rgb, self._profile.image_size))
        return self._encoded[1]


def profile_notes(profile: Profile) -> Fields:
    """Return what a server and its clients must have alike, as /v1/models of `segzero serve` has it."""
    return {
        "profile": profile.name,
        "prompt": profile.prompt,
        "system": profile.system,
        "image_size": list(profile.image_size),
    }


def _dialect_of(model: Model) -> Dialect:
    return DIALECTS.get(model.owner, OTHER)


def _client() -> str:
    """Return a name by which a server tells robots apart, to be fair to each."""
    return f"{socket.gethostname()}:{os.getpid()}"


# ---- opening one ----


def why_unavailable(bundle: Bundle | None, options: EngineOptions) -> str:
    """Return why no server can be asked, "" when one may; nothing is sent."""
    if bundle is None:
        return "it needs a bundle: for the prompt, the segmenter and the fall-back"
    if not options.server:
        return "no server is named; set server to http://HOST:PORT/v1, and start one there (segzero serve --help)"
    try:
        read_key(read_endpoint(options.server))
    except RejectedInput as error:
        return error.detail
    return ""


def open_reasoner(bundle: Bundle, options: EngineOptions, local: Callable[[], Reasoner] | None = None) -> Reasoner:
    """Return the reasoner of the server in ``options``; ``local`` opens the one to fall back to, None = none.

    A server that has another model, key or bundle is refused now (``RejectedInput`` BUNDLE_BACKEND); one that is down
    only without a fall-back.
    """
    reason = why_unavailable(bundle, options)
    if reason:
        raise RejectedInput(Code.BUNDLE_BACKEND, reason)
    endpoint = read_endpoint(options.server)
    if not (endpoint.secure or endpoint.here):
        _log.warning("%s: pictures cross the network readable; use https or a tunnel if that matters", endpoint.url)
    server = Server(endpoint, read_key(endpoint), stall_s=options.server_timeout_s)
    falls_back = local is not None and options.fallback
    remote = RemoteReasoner(
        bundle.profile, server, model=options.model, constrained=options.constrained, spare=falls_back
    )
    spare = FallbackReasoner(remote, local, probe_s=PROBE_S) if local is not None and falls_back else None
    try:
        remote.probe()
    except ServerFault as fault:
        if spare is None or fault.code is Code.SERVER_REFUSED:
            raise RejectedInput(Code.BUNDLE_BACKEND, fault.detail) from fault
        spare.begin_without(fault)
    return spare or remote
