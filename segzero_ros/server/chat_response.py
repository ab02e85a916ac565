"""One request from its place in the queue to its last byte: streamed or whole, ended by either side at any moment."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from segzero_ros.frame import Frame
from segzero_ros.pipeline import DEFAULT_BUDGET
from segzero_ros.reasoner import Answer
from segzero_ros.server.chat_request import ChatRequest, Refusal
from segzero_ros.server.replies import WAITING, Completion, StopText, event, failure, why_ended
from segzero_ros.server.stream_buffer import StreamBuffer
from segzero_ros.server.turns import Question, Turns

WAITING_S = 1.0  # a client that got nothing for so long gets a comment, to know that the server is alive
BATCH_S = 0.01  # tokens that come closer together than this go out together: an event costs as much as a small token


class ChatResponse(Response):
    """A response that joins the queue when it is made (raises ``Refusal``) and leaves it when the client goes."""

    def __init__(
        self,
        queue: Turns,
        chat: ChatRequest,
        frame: Frame,
        loop: asyncio.AbstractEventLoop,
        *,
        peer: str,
        id: str,
        model: str,
        tags: bool,
    ) -> None:
        """``loop``: in which it will be sent; it may be made in another thread."""
        super().__init__()
        self._queue, self._chat, self._tags = queue, chat, tags
        self._completion = Completion(id, model)
        self._stop = StopText(chat.stops)
        self._buffer = StreamBuffer(loop)
        self._pieces = 0
        seconds = chat.deadline_s
        self._question = Question(
            frame,
            chat.text,
            DEFAULT_BUDGET if chat.budget is None else chat.budget,
            self._buffer.put_end,
            self._on_text,
            id=id,
            client=chat.client,
            peer=peer,
            deadline_ns=None if seconds is None else time.monotonic_ns() + int(seconds * 1e9),
            most_pieces=chat.max_tokens,
            stops=chat.stops,
        )
        queue.submit(self._question)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; see ASGI."""
        watch = asyncio.create_task(self._watch(receive))
        try:
            if self._chat.stream:
                await self._stream(scope, receive, send)
            else:
                await self._whole(scope, receive, send)
        finally:
            watch.cancel()
            self._queue.withdraw(self._question)

    def _on_text(self, text: str, pieces: int) -> None:
        """Hand text on, in another thread; the host ends the answer at a stop text or at max_tokens."""
        if not self._enough():
            self._pieces += pieces
            self._buffer.put_text(self._stop.push(text))

    def _enough(self) -> bool:
        return self._cut or self._stop.stopped

    @property
    def _cut(self) -> bool:
        most = self._chat.max_tokens
        return most is not None and self._pieces >= most

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._queue.withdraw(self._question)
        self._buffer.put_gone()

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        text, end = await self._buffer.take(WAITING_S)
        if isinstance(end, Refusal) and not text:  # before the first byte it can still be a status
            await refused(end)(scope, receive, send)
            return
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        opening = self._completion.chunk({"role": "assistant", "content": ""})
        while not self._buffer.gone:
            new = self._completion.chunk({"content": text}) if text else b""
            last = self._ended(end) if end is not None else b""
            body = (opening + new + last) or WAITING
            await send({"type": "http.response.body", "body": body, "more_body": end is None})
            if end is not None:
                return
            opening = b""
            await self._buffer.pause(BATCH_S)
            text, end = await self._buffer.take(WAITING_S)

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        texts, end = [], None
        while end is None and not self._buffer.gone:
            text, end = await self._buffer.take(WAITING_S)
            texts.append(text)
        if end is None:
            return
        answer = self._settled(end)
        if isinstance(answer, Refusal):
            await refused(answer)(scope, receive, send)
            return
        content = self._completion.whole("".join(texts) + self._stop.rest(), self._reason(answer), answer)
        await JSONResponse(content)(scope, receive, send)

    def _settled(self, end: Answer | Refusal) -> Answer | Refusal:
        """Return how it ended: stopped by us is an answer, stopped from outside a refusal."""
        if isinstance(end, Answer) and end.finish == "cancelled":
            if self._stop.stopped or self._cut:
                return replace(end, finish="stop" if self._stop.stopped else "budget")
            return Refusal(503, "the server stops", wait_s=1)
        return end

    def _reason(self, answer: Answer) -> str:
        return "stop" if self._stop.stopped else why_ended(answer, cut=self._cut, tags=self._tags)

    def _ended(self, end: Answer | Refusal) -> bytes:
        ended = self._settled(end)
        if isinstance(ended, Refusal):
            return event(failure(ended))
        rest = self._stop.rest()
        last = self._completion.last(self._reason(ended), ended, counts=self._chat.counts)
        return (self._completion.chunk({"content": rest}) if rest else b"") + last


def refused(refusal: Refusal) -> JSONResponse:
    """Return the response of a refusal."""
    headers = {} if refusal.wait_s is None else {"Retry-After": str(refusal.wait_s)}
    return JSONResponse(failure(refusal), status_code=refusal.status, headers=headers)
