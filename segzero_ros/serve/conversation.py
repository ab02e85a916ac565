"""One request from its turn in the queue to its last byte: streamed or whole, ended by either side at any moment."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from segzero_ros.command import Command
from segzero_ros.frame import Frame
from segzero_ros.pipeline import DEFAULT_BUDGET
from segzero_ros.reasoner import Answer
from segzero_ros.serve.question import Question, Refusal
from segzero_ros.serve.replies import WAITING, Completion, StopText, event, failure, why_ended
from segzero_ros.serve.turns import Turn, Turns

WAITING_S = 1.0  # a client that has heard nothing for so long gets a sign of life

_Item = str | Answer | Refusal | None  # None: the client is gone


class Conversation(Response):
    """A response that takes its turn when it is made (raises ``Refusal``) and gives it back when the client goes."""

    def __init__(
        self, turns: Turns, question: Question, frame: Frame, *, client: str, id: str, model: str, tags: bool
    ) -> None:
        super().__init__()
        self._turns, self._question, self._tags = turns, question, tags
        self._completion = Completion(id, model)
        self._items: asyncio.Queue[_Item] = asyncio.Queue()
        self._stop = StopText(question.stops)
        self._tokens = 0
        loop = asyncio.get_running_loop()

        def hand_over(item: _Item) -> None:
            loop.call_soon_threadsafe(self._items.put_nowait, item)

        budget = DEFAULT_BUDGET if question.budget is None else question.budget
        seconds = question.deadline_s
        deadline_ns = None if seconds is None else time.monotonic_ns() + int(seconds * 1e9)
        command = Command(id, question.text)
        self._turn = Turn(client, frame, command, budget, deadline_ns, hand_over, hand_over)
        turns.take(self._turn)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; see ASGI."""
        watch = asyncio.create_task(self._watch(receive))
        try:
            if self._question.stream:
                await self._stream(scope, receive, send)
            else:
                await self._whole(scope, receive, send)
        finally:
            watch.cancel()
            self._turns.withdraw(self._turn)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._turns.withdraw(self._turn)
        self._items.put_nowait(None)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        item = await self._next()
        if isinstance(item, Refusal):  # before the first byte it can still be a status
            await refused(item)(scope, receive, send)
            return
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _send(send, self._completion.chunk({"role": "assistant", "content": ""}))
        while isinstance(item, str):
            text = self._heard(item)
            if text or not item:
                await _send(send, self._completion.chunk({"content": text}) if text else WAITING)
            item = await self._next()
        if item is not None:
            await _send(send, self._ended(item))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        texts: list[str] = []
        while isinstance(item := await self._next(), str):
            texts.append(self._heard(item))
        if isinstance(item, Refusal):
            await refused(item)(scope, receive, send)
        elif item is not None:
            answer = self._settled(item)
            if isinstance(answer, Refusal):
                await refused(answer)(scope, receive, send)
                return
            text = "".join(texts) + self._stop.rest()
            content = self._completion.whole(text, self._reason(answer), answer)
            await JSONResponse(content)(scope, receive, send)

    async def _next(self) -> _Item:
        """Return what comes next, "" when nothing has come for a while."""
        try:
            return await asyncio.wait_for(self._items.get(), WAITING_S)
        except asyncio.TimeoutError:
            return ""

    def _heard(self, piece: str) -> str:
        """Return what of a piece goes out; ends the turn at a stop text and at max_tokens."""
        if self._cut:
            return ""
        self._tokens += bool(piece)
        text = self._stop.push(piece)
        if self._stop.stopped or self._cut:
            self._turn.withdrawn.set()
        return text

    @property
    def _cut(self) -> bool:
        most = self._question.max_tokens
        return most is not None and self._tokens >= most

    def _settled(self, item: Answer | Refusal) -> Answer | Refusal:
        """Return how it ended: stopped by us is an answer, stopped from outside a refusal."""
        if isinstance(item, Answer) and item.finish == "cancelled":
            if self._stop.stopped or self._cut:
                return replace(item, finish="budget" if self._cut else "stop")
            return Refusal(503, "the server stops", wait_s=1)
        return item

    def _reason(self, answer: Answer) -> str:
        return "stop" if self._stop.stopped else why_ended(answer, cut=self._cut, tags=self._tags)

    def _ended(self, item: Answer | Refusal) -> bytes:
        ended = self._settled(item)
        if isinstance(ended, Refusal):
            return event(failure(ended))
        rest = self._stop.rest()
        last = self._completion.last(self._reason(ended), ended, counts=self._question.counts)
        return (self._completion.chunk({"content": rest}) if rest else b"") + last


async def _send(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


def refused(refusal: Refusal) -> JSONResponse:
    """Return the response of a refusal."""
    headers = {} if refusal.wait_s is None else {"Retry-After": str(refusal.wait_s)}
    return JSONResponse(failure(refusal), status_code=refusal.status, headers=headers)
