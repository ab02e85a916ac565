"""A question for the reasoner's text alone: its turn at the engine, and what is said of it. No sockets here.

Pieces of text gather for TEXT_NS, but for the first one; a stop text or the last piece that is wanted ends the answer
at once. Whatever a reasoner returns or raises ends in one ``Answered`` or ``Refused`` that the other end can read.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput, clean_text
from segzero_ros.frame import Frame
from segzero_ros.host.fair_queue import NotTaken, Ticket
from segzero_ros.host.messages import MAX_TEXT_CHARS, Answered, Ask, Message, ProtocolError, Refused, Stage, Text
from segzero_ros.host.protocol import LENGTH_BYTES, decode, encode
from segzero_ros.pipeline import error_text
from segzero_ros.reasoner import Answer, Reasoner, Request

TEXT_NS = 33_000_000  # thirty a second, as often as a node publishes them: each wakes whoever serves it on


class Say(Protocol):
    """Sends messages, all at once."""

    def __call__(self, *said: Message) -> None:
        """Send them."""
        ...


def make_ticket(ask: Ask, frame: Frame, peer: str, reasoner: Callable[[], Reasoner], say: Say) -> Ticket:
    """Return the ticket of ``ask`` about ``frame``; ``reasoner`` is called when it has its turn."""
    deadline_ns = None if ask.timeout_ms is None else time.monotonic_ns() + int(ask.timeout_ms * 1e6)
    speech = _Speech(ask, say)

    def work(stopped: Callable[[], bool]) -> Answer:
        say(Stage(ask.id, "reasoning"))
        enough = lambda: speech.is_enough or stopped()  # noqa: E731
        command = Command(ask.command_id, ask.text)
        return reasoner().reason(Request(frame, command, ask.budget, deadline_ns, enough, speech.add))

    def end(result: object) -> None:
        say(*speech.rest(), _sayable(ask.id, result))

    return Ticket(ask.client, work, end, peer, deadline_ns)


class _Speech:
    """What an answer says, until it is enough."""

    def __init__(self, ask: Ask, say: Say) -> None:
        self._id, self._say = ask.id, say
        self._most, self._stops = ask.most_pieces, ask.stops
        self._longest = max(map(len, ask.stops), default=0)
        self._tail = ""
        self._pieces: list[str] = []
        self._count, self._said_ns = 0, 0
        self.is_enough = False

    def add(self, piece: str) -> None:
        """Go on with ``piece``."""
        if self.is_enough:
            return
        piece = clean_text(piece)
        self._pieces.append(piece)
        self._count += 1
        self.is_enough = self._count == self._most or self._has_stop(piece)
        if self.is_enough or time.monotonic_ns() - self._said_ns > TEXT_NS:
            self._said_ns = time.monotonic_ns()
            self._say(*self.rest())

    def rest(self) -> list[Message]:
        """Return what has gathered, as one message or none."""
        pieces, self._pieces = self._pieces, []
        return [Text(self._id, "".join(pieces)[:MAX_TEXT_CHARS], len(pieces))] if pieces else []

    def _has_stop(self, piece: str) -> bool:
        if not self._stops:
            return False
        text = self._tail + piece
        self._tail = text[max(0, len(text) - self._longest + 1) :]
        return _any_in(self._stops, text)


def _any_in(stops: Sequence[str], text: str) -> bool:
    return any(stop in text for stop in stops)


def _sayable(id: int, result: object) -> Message:
    """Return the end of the question ``id`` as a message that the other end can read."""
    said = _as_message(id, result)
    try:
        decode(encode(said)[LENGTH_BYTES:])
    except (ProtocolError, ValueError, TypeError) as error:
        return _failed(id, f"the engine's answer cannot be handed on: {error_text(error)}")
    return said


def _as_message(id: int, result: object) -> Message:
    if isinstance(result, Answer):
        return Answered(id, result.tokens, result.confidence, dict(result.timings_ms), result.finish, result.steps)
    if isinstance(result, NotTaken):
        return Refused(id, "queue" if result.why == "all" else result.why, int(Code.BUSY), result.detail)
    if isinstance(result, RejectedInput):
        why = "engine" if result.code in (Code.REASONER_FAILED, Code.LOADING) else "question"
        return Refused(id, why, int(result.code), result.detail)
    found = error_text(result) if isinstance(result, BaseException) else f"got {type(result).__name__}, want Answer"
    return _failed(id, found)


def _failed(id: int, detail: str) -> Refused:
    return Refused(id, "engine", int(Code.REASONER_FAILED), clean_text(detail))
