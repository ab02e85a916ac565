"""The HTTP side of `segzero serve`: /health, /v1/models and /v1/chat/completions around one engine.

Covered: limits on bodies, on what they cost and the time they take, by peer (segzero_ros/server/peers.py), an API key
compared in constant time, a client that goes away (its request stops at the next token), errors in OpenAI's form
without tracebacks. Not covered: floods from many addresses; on a network one does not trust a proxy belongs before it
(docs/remote.md).
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from segzero_ros.frame import Frame
from segzero_ros.profile import Profile
from segzero_ros.server.chat_request import ChatRequest, Refusal, read_chat_request
from segzero_ros.server.chat_response import ChatResponse, refused
from segzero_ros.server.peers import BodyRoom
from segzero_ros.server.pictures import Pictures
from segzero_ros.server.replies import models
from segzero_ros.server.turns import Turns

MAX_BODY_BYTES = 12 << 20  # a picture of the most pixels, as PNG in base64
BODY_S = 30.0  # for a body to arrive
MAX_JSON_PARTS = 10_000  # values of a body; a request has about twenty, and a million take seconds to read
_log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Served:
    """What is served: the model's name, the bundle's profile, and the key clients must have ("" = none)."""

    name: str
    profile: Profile
    key: str


def make_app(served: Served, queue: Turns) -> Starlette:
    """Return the ASGI application; ``queue`` belongs to the caller."""
    pictures, room = Pictures(), BodyRoom()

    def read(data: bytearray) -> tuple[ChatRequest, Frame]:
        try:
            chat = read_chat_request(_parsed(data), model=served.name, system=served.profile.system)
        except RecursionError:
            raise Refusal(400, "got JSON that is nested too deeply") from None
        return replace(chat, picture=b""), pictures.frame(chat.picture)

    async def health(_request: Request) -> Response:
        content = _health(queue)
        return JSONResponse({**content, "model": served.name}, status_code=200 if content["status"] == "ok" else 503)

    async def list_models(_request: Request) -> Response:
        return JSONResponse(models(served.name, served.profile))

    def answer(data: bytearray, peer: str, loop: asyncio.AbstractEventLoop) -> ChatResponse:
        chat, frame = read(data)
        id = uuid.uuid4().hex[:12]
        return ChatResponse(queue, chat, frame, loop, peer=peer, id=id, model=served.name, tags=served.profile.tags)

    async def complete(request: Request) -> Response:
        peer = request.client.host if request.client else ""
        async with room.hold(peer, _declared_bytes(request)):
            # In a thread: a megabyte of base64 must not hold up the texts of other robots.
            return await asyncio.to_thread(answer, await _body(request), peer, asyncio.get_running_loop())

    async def elsewhere(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        wanted = "GET /v1/models, POST /v1/chat/completions or GET /health"
        return refused(Refusal(status, f"got {request.method[:20]} {request.url.path[:100]}, want {wanted}"))

    return Starlette(
        exception_handlers={HTTPException: elsewhere},
        routes=[
            Route("/health", _guarded(health, "")),
            Route("/v1/models", _guarded(list_models, served.key)),
            Route("/v1/chat/completions", _guarded(complete, served.key), methods=["POST"]),
        ],
    )


def _health(queue: Turns) -> dict[str, Any]:
    """Return where the engines are: "ok" only where they are open and no question is over its time.

    ``seconds``: for how long it has been so, or of being late.
    """
    state, late_s = queue.state(), queue.late_s
    status: str = "ok" if state.phase == "ready" else state.phase
    seconds = state.seconds
    if state.phase == "ready" and late_s:
        status, seconds = "hung", late_s
    return {
        "status": status,
        "seconds": round(seconds, 1),
        "detail": "" if status == "ok" else state.detail,
        "restarts": state.restarts,
        "waiting": queue.waiting,
        "answered": queue.answered,
        "running_s": round(queue.running_s, 1),
        "late_s": round(late_s, 1),
    }


def _guarded(handler: Handler, key: str) -> Handler:
    """Return ``handler`` behind the key, its refusals and defects as OpenAI's errors."""

    async def guarded(request: Request) -> Response:
        try:
            _check_key(request, key)
            return await handler(request)
        except Refusal as refusal:
            return refused(refusal)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody will read it
        except Exception:  # noqa: BLE001 - a defect of ours; the client gets one sentence, the log the rest
            _log.exception("defect in a request")
            return refused(Refusal(500, "a defect of the server; see its log"))

    return guarded


def _check_key(request: Request, key: str) -> None:
    given = request.headers.get("authorization", "")
    if key and not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
        raise Refusal(401, "got no valid API key, want the one this server was started with")


def _declared_bytes(request: Request) -> int:
    """Return how long the body will be, at most; raises ``Refusal`` 413 for one that is too long."""
    declared = request.headers.get("content-length", str(MAX_BODY_BYTES))
    if not declared.isdecimal() or len(declared) > 20 or int(declared) > MAX_BODY_BYTES:
        raise _too_long()
    return int(declared)


async def _body(request: Request) -> bytearray:
    try:
        return await asyncio.wait_for(_limited(request), BODY_S)
    except asyncio.TimeoutError:  # another class than TimeoutError in Python 3.10
        raise Refusal(408, f"the body took more than {BODY_S:g} s") from None


async def _limited(request: Request) -> bytearray:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise _too_long()
    return body


def _too_long() -> Refusal:
    return Refusal(413, f"got a body of more than {MAX_BODY_BYTES} bytes; send the picture in the model's own size")


def _parsed(data: bytearray) -> Any:
    if sum(map(data.count, b"{[,:")) > MAX_JSON_PARTS:
        raise Refusal(400, f"got JSON of more than {MAX_JSON_PARTS} parts, want one picture and one message")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Refusal(400, "got a body that is no JSON") from None
