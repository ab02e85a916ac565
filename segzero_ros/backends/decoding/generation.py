"""A reasoner on this machine: everything but the engine, which only sees a picture and appends rows to a cache.

The picture comes before the question in the prompt: its part of the cache is kept, so that another question on the
same frame, or one on a frame encoded before anybody asked (``prefill_image``), starts there.
Covered: budget and deadline close the thinking and still ask for the answer, for LATE_S at most; answers that follow
the profile's grammar, what it forces going in one pass; drafting from the prompt; cancelling between tokens; text in
whole characters.
Not covered: sampling, several pictures, several commands at once (one thread owns a reasoner).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segzero_ros.backends import DEFAULTS, EngineOptions
from segzero_ros.backends.decoding.chat_prompt import ChatPrompt, Rotary
from segzero_ros.backends.decoding.constraint import ConstrainedDecoder, TokenIndex
from segzero_ros.backends.decoding.cursor import CacheCursor, CacheFull
from segzero_ros.backends.decoding.decode_state import CLOSING_TOKENS, DecodeState, elapsed_ms
from segzero_ros.backends.decoding.families import family_named
from segzero_ros.backends.decoding.grammar import CLOSE_THINKING, OPEN_ANSWER, OPEN_THINKING, AnswerGrammar
from segzero_ros.backends.decoding.preprocess import normalise, resize_to
from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.profile import Profile
from segzero_ros.reasoner import Answer, Finish, Request

ANSWER_RESERVE_TOKENS = 192  # of the cache kept from the thinking: about five objects
MIN_ANSWER_TOKENS = 64  # a prompt must leave room in the cache for an answer of one object
MOST_OVERRULED = 2  # choices per answer; a model that knows its format needs none

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReasonerShape:
    """``config.json`` of an exported reasoner; ``token_grid`` is (rows, columns) of visual tokens.

    ``hidden_size``: of the rows the decoder takes, with what a deepstack adds behind each. ``logit_rows``: of how many
    of the last rows appended the engine returns logits.
    """

    architecture: str
    image_size: tuple[int, int]
    token_grid: tuple[int, int]
    hidden_size: int
    layers: int
    key_value_heads: int
    head_dim: int
    rope_theta: float
    mrope_section: tuple[int, int, int]
    vocabulary: int
    max_length: int
    logit_rows: int = 1


def read_shape(path: Path) -> ReasonerShape:
    """Read ``config.json``; ``RejectedInput`` BUNDLE_FORMAT when a field is missing or unknown."""
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    names = {field.name for field in fields(ReasonerShape)}
    needed = {field.name for field in fields(ReasonerShape) if field.default is MISSING}
    if not needed <= set(content) <= names:
        raise RejectedInput(
            Code.BUNDLE_FORMAT, f"{path}: got {sorted(content)}, want the keys {sorted(names)}; export the bundle again"
        )
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
    return ReasonerShape(**values)


class ReasonerEngine(Protocol):
    """A vision tower and a decoder with one static KV cache of ``shape.max_length`` places; one thread owns it."""

    shape: ReasonerShape

    def encode_image(self, pixels: NDArray[np.float32]) -> Any:
        """Visual tokens (M, hidden) of a normalised picture (3, H, W), in whatever form ``append`` takes them."""
        ...

    def append(
        self,
        ids: NDArray[np.int64],
        cos: NDArray[np.float32],
        sin: NDArray[np.float32],
        place: int,
        picture: tuple[slice, Any] | None = None,
    ) -> NDArray[np.float32]:
        """Write rows ``ids`` (S,) at ``place`` of the cache; return the last rows' logits (L, vocabulary).

        ``cos``, ``sin``: (S, head_dim / 2). ``picture``: the rows that are visual tokens, and these.
        L = min(S, shape.logit_rows). The array may be the engine's own, overwritten by the next call.
        """
        ...


class LocalReasoner:
    """``Reasoner`` over an engine on this machine."""

    def __init__(
        self,
        engine: ReasonerEngine,
        tokenizer_json: str,
        profile: Profile,
        options: EngineOptions = DEFAULTS,
        spelling: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Of ``options``, ``constrained`` (for a profile that has a grammar) and ``draft_tokens`` count here.

        ``spelling``: the bundle's.

        Raises ``RejectedInput`` BUNDLE_PROFILE for an engine made for another picture size than the profile's.
        """
        shape = engine.shape
        if shape.image_size != profile.image_size:
            raise RejectedInput(
                Code.BUNDLE_PROFILE,
                f"got a vision graph for {shape.image_size}, want the profile's {profile.image_size}; export it again",
            )
        self._engine, self._profile, self._shape = engine, profile, shape
        self._prompt = ChatPrompt(tokenizer_json, token_grid=shape.token_grid, system=profile.system)
        self._family = family_named(shape.architecture)
        self._rotary = Rotary(shape.head_dim, shape.rope_theta, shape.mrope_section, self._family.interleaved)
        self._text_rows = self._rotate_text()
        self._grammar = AnswerGrammar(profile, spelling) if options.constrained and profile.tags else None
        self._tokens = TokenIndex(self._prompt) if self._grammar else None
        self._draft_tokens = max(0, min(options.draft_tokens, shape.logit_rows - 1))
        self._frame: Frame | None = None
        self._warned = False

    def prefill_image(self, frame: Frame) -> tuple[float, float]:
        """Bring the picture into the cache unless it is there; return the ms of vision and of prefill.

        ``reason`` does this itself; doing it before anybody has asked takes it off the answer's latency.
        """
        if frame is self._frame:
            return 0.0, 0.0
        self._frame = None
        start = time.perf_counter()
        squashed = resize_to(frame.rgb, self._shape.image_size)
        tokens = self._engine.encode_image(normalise(squashed, self._family.mean, self._family.std))
        encoded = time.perf_counter()
        prefix = self._prompt.prefix
        self._engine.append(prefix.ids, *self._rotary.rows(prefix.positions), 0, (prefix.image, tokens))
        self._frame = frame
        return elapsed_ms(start, encoded), elapsed_ms(encoded, time.perf_counter())

    def reason(self, request: Request) -> Answer:
        """Answer; see ``Reasoner``. COMMAND_TOO_LONG when the cache cannot hold the command."""
        question = self._question(request.command)
        place = len(self._prompt.prefix.ids) + len(question)
        room = max(0, self._shape.max_length - place - ANSWER_RESERVE_TOKENS)
        stream = self._prompt.stream(request.on_text)
        decoded = DecodeState(stream, min(request.budget, room), request.deadline_ns, thinks=self._profile.tags)
        if request.cancelled():
            return decoded.answer("cancelled", vision=0.0, prefill=0.0)
        vision_ms, prefill_ms = self.prefill_image(request.frame)
        if decoded.too_late():
            return decoded.answer("deadline", vision=vision_ms, prefill=prefill_ms)
        begun = time.perf_counter()
        logits = self._append(question, len(self._prompt.prefix.ids))
        prefill_ms += elapsed_ms(begun, time.perf_counter())
        decoded.prompt_ended()
        cursor = CacheCursor(self._append, logits, question, place, self._shape.max_length, self._draft_tokens)
        constraint = None
        if self._grammar and self._tokens:
            constraint = ConstrainedDecoder(self._grammar.for_answer(), self._tokens, self._prompt)
        try:
            finish = self._generate(decoded, cursor, constraint, request.cancelled)
        except CacheFull:
            finish = "budget"
        decoded.steps = cursor.steps
        if constraint is not None:
            self._warn_overruled(constraint.overruled)
        return decoded.answer(finish, vision=vision_ms, prefill=prefill_ms)

    def score(self, frame: Frame, command: Command, answer: list[int]) -> NDArray[np.float32]:
        """Logits (len(answer) + 1, vocabulary) after the prompt and after each token of a given answer."""
        question = self._question(command)
        self.prefill_image(frame)
        place = len(self._prompt.prefix.ids)
        logits = [self._append(question, place)[-1].copy()]
        for at, id in enumerate(answer, start=place + len(question)):
            logits.append(self._append([id], at)[-1].copy())
        return np.stack(logits)

    def _generate(
        self,
        decoded: DecodeState,
        cursor: CacheCursor,
        constraint: ConstrainedDecoder | None,
        cancelled: Callable[[], bool],
    ) -> Finish:
        """Generate until the answer is complete or something ends it; return why it ended."""
        finish: Finish = "stop"
        while not cancelled():
            if decoded.complete() or decoded.too_late():
                return finish if decoded.complete() else "deadline"
            over = decoded.over() or cursor.over(CLOSING_TOKENS if constraint else 0)
            if over and decoded.thinking:
                finish = over
                self._close_thinking(decoded, cursor, constraint)
            elif over and constraint is None:
                return over
            elif over and constraint is not None:
                finish = over
                constraint.close()
            if constraint is not None and constraint.jump(decoded, cursor.take):
                return finish
            id = self._choose(decoded, cursor, constraint)
            if id not in self._prompt.stops:
                decoded.append(id)
                cursor.take([id])
                if constraint is not None:
                    constraint.on_token(decoded, id)
            elif decoded.thinking and constraint is not None:
                self._close_thinking(decoded, cursor, constraint)
            else:
                return finish
        return "cancelled"

    def _choose(self, decoded: DecodeState, cursor: CacheCursor, constraint: ConstrainedDecoder | None) -> int:
        logits = cursor.logits()[: self._prompt.vocabulary]
        id = decoded.choose(logits)
        return id if constraint is None else constraint.best(id, logits)

    def _warn_overruled(self, overruled: list[str]) -> None:
        """Warn once that this model spells its answers otherwise than the grammar; its numbers suffer from it."""
        if len(overruled) > MOST_OVERRULED and not self._warned:
            self._warned = True
            _log.warning(
                "the model wanted to write %r where the answer's grammar has something else; "
                "if its answers are spelled otherwise, open it with constrained off",
                overruled[:3],
            )

    def _close_thinking(self, decoded: DecodeState, cursor: CacheCursor, constraint: ConstrainedDecoder | None) -> None:
        """End the thinking and ask for the answer."""
        quoted = CLOSE_THINKING * (decoded.stream.tags.depth - 1)  # of tags spelled in the thinking
        opening, close = quoted if decoded.stream.text else OPEN_THINKING, CLOSE_THINKING + OPEN_ANSWER
        ids = self._prompt.forced(opening + close) if constraint is None else constraint.open(opening)
        decoded.force(ids)
        cursor.take(ids)
        decoded.close_thinking()

    def _question(self, command: Command) -> list[int]:
        ids = self._prompt.question(self._profile.render(command.text))
        room = self._shape.max_length - len(self._prompt.prefix.ids) - MIN_ANSWER_TOKENS
        if len(ids) > room:
            raise RejectedInput(
                Code.COMMAND_TOO_LONG,
                f"got a question of {len(ids)} tokens, want at most {room}; say it in fewer words",
            )
        return ids

    def _append(self, ids: Sequence[int], place: int) -> NDArray[np.float32]:
        """Append text tokens at ``place``, which is also where their rotary rows begin."""
        cos, sin = self._text_rows
        rows = slice(place, place + len(ids))
        return self._engine.append(np.array(ids, np.int64), cos[rows], sin[rows], place)

    def _rotate_text(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Rotary rows by place in the cache: after an image the positions run behind the places."""
        prefix = self._prompt.prefix
        positions = np.arange(self._shape.max_length, dtype=np.int64) - len(prefix.ids) + prefix.resume
        return self._rotary.rows(np.broadcast_to(positions, (3, len(positions))))
