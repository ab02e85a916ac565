"""The reasoner on ONNX Runtime: Qwen2.5-VL's three graphs, greedy, with a static KV cache that never moves.

The cache's buffers are bound once as past and as present, so a token costs no allocation and no copy. The picture comes
before the question in the prompt: its part of the cache is kept, and another question on the same frame starts there.
Covered: budget and deadline close the thinking and still ask for the answer; cancelling between tokens; text in whole
characters. Not covered: sampling, several pictures, several commands at once (one thread owns a reasoner).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from segzero_ros.backends.image import normalise, squash
from segzero_ros.backends.onnx_session import device, open_session
from segzero_ros.backends.prompt import ChatPrompt, Rotary, TextStream
from segzero_ros.bundle import Bundle
from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.profile import Profile
from segzero_ros.reasoner import Answer, Finish

MAX_ANSWER_TOKENS = 1024  # 64 objects of the parser's limit need about as many; upstream's limit for everything
LATE_TOKENS = 256  # of an answer still allowed once the deadline has passed: about six objects
ANSWER_RESERVE_TOKENS = 192  # of the cache kept from the thinking: about five objects
LEAST_REPLY_TOKENS = 64  # a prompt must leave room in the cache for an answer of one object
_THINK, _CLOSE = "<think>", "</think><answer>"


@dataclass(frozen=True, slots=True)
class ReasonerShape:
    """``config.json`` of an exported reasoner; ``token_grid`` is (rows, columns) of visual tokens."""

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


def read_shape(path: Path) -> ReasonerShape:
    """Read ``config.json``; ``RejectedInput`` BUNDLE_FORMAT when a field is missing or unknown."""
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    names = {field.name for field in fields(ReasonerShape)}
    if set(content) != names:
        raise RejectedInput(
            Code.BUNDLE_FORMAT, f"{path}: got {sorted(content)}, want the keys {sorted(names)}; export the bundle again"
        )
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
    return ReasonerShape(**values)


class Decoder:
    """The decoder graph and its cache: rows in at a place, logits of the last one out."""

    def __init__(self, session: onnxruntime.InferenceSession, shape: ReasonerShape) -> None:
        self._session = session
        self._binding = session.io_binding()
        # Zeroed: what lies beyond the rows written so far is masked, but a stray NaN would survive the mask.
        empty = np.zeros((1, shape.key_value_heads, shape.max_length, shape.head_dim), np.float32)
        self._caches = []
        for layer in range(shape.layers):
            for kind in ("key", "value"):
                cache = onnxruntime.OrtValue.ortvalue_from_numpy(empty.copy(), device(session), 0)
                self._binding.bind_ortvalue_input(f"past_{kind}_{layer}", cache)
                self._binding.bind_ortvalue_output(f"present_{kind}_{layer}", cache)
                self._caches.append(cache)
        self._logits = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((1, shape.vocabulary), np.float32))
        self._binding.bind_ortvalue_output("logits", self._logits)

    def append(
        self, embeds: NDArray[np.float32], cos: NDArray[np.float32], sin: NDArray[np.float32], place: int
    ) -> NDArray[np.float32]:
        """Write rows (S, hidden) at ``place`` of the cache; return the last row's logits (vocabulary,)."""
        rows = {"embeds": embeds, "cos": cos, "sin": sin, "write_index": np.array([place], np.int64)}
        kept = {name: np.ascontiguousarray(value) for name, value in rows.items()}
        for name, value in kept.items():
            self._binding.bind_cpu_input(name, value)
        self._session.run_with_iobinding(self._binding)
        logits: NDArray[np.float32] = self._logits.numpy()[0]
        return logits


class OnnxReasoner:
    """``Reasoner`` on ONNX Runtime; ``open`` makes one from a bundle."""

    def __init__(self, files: dict[str, Path], profile: Profile, *, threads: int = 0) -> None:
        """Open ``files`` ("vision", "embeddings", "decoder", "tokenizer", "config") or raise ``RejectedInput``."""
        shape = read_shape(files["config"])
        if shape.image_size != profile.image_size:
            raise RejectedInput(
                Code.BUNDLE_PROFILE,
                f"got a vision graph for {shape.image_size}, want the profile's {profile.image_size}; export it again",
            )
        tokenizer = files["tokenizer"].read_text("utf-8")
        self._profile, self._shape = profile, shape
        self._prompt = ChatPrompt(tokenizer, token_grid=shape.token_grid, system=profile.system)
        self._rotary = Rotary(shape.head_dim, shape.rope_theta, shape.mrope_section)
        self._vision = open_session(files["vision"], threads=threads)
        self._embeddings = open_session(files["embeddings"], threads=threads)
        self._decoder = Decoder(open_session(files["decoder"], threads=threads), shape)
        self._text_rows = self._rotate_text()
        self._seen: Frame | None = None

    @classmethod
    def open(cls, bundle: Bundle, *, threads: int = 0) -> OnnxReasoner:
        """Open a bundle's reasoner; ``threads`` per operator, 0 = one per core."""
        return cls(dict(bundle.reasoner.files), bundle.profile, threads=threads)

    def look(self, frame: Frame) -> tuple[float, float]:
        """Bring the picture into the cache unless it is there; return the ms of vision and of prefill.

        ``reason`` does this itself; doing it before anybody has asked takes it off the answer's latency.
        """
        if frame is self._seen:
            return 0.0, 0.0
        self._seen = None
        start = time.perf_counter()
        pixels = normalise(squash(frame.rgb, self._shape.image_size))
        tokens = self._vision.run(["tokens"], {"pixels": pixels[None]})[0]
        looked = time.perf_counter()
        prefix = self._prompt.prefix
        embeds = self._embed(prefix.ids)
        embeds[prefix.image] = tokens
        self._decoder.append(embeds, *self._rotary.rows(prefix.positions), 0)
        self._seen = frame
        return _ms(start, looked), _ms(looked, time.perf_counter())

    def reason(
        self,
        frame: Frame,
        command: Command,
        *,
        budget: int,
        deadline_ns: int | None,
        cancelled: Callable[[], bool],
        on_text: Callable[[str], None],
    ) -> Answer:
        """Answer ``command`` on ``frame``; see ``Reasoner``. COMMAND_TOO_LONG when the cache cannot hold it."""
        question = self._question(command)
        place = len(self._prompt.prefix.ids) + len(question)
        room = max(0, self._shape.max_length - place - ANSWER_RESERVE_TOKENS)
        reply = _Reply(self._prompt.stream(on_text), min(budget, room), deadline_ns, thinks=self._profile.tags)
        if cancelled():
            return reply.answer("cancelled", vision=0.0, prefill=0.0)
        vision_ms, prefill_ms = self.look(frame)
        begun = time.perf_counter()
        logits = self._append(question, len(self._prompt.prefix.ids))
        prefill_ms += _ms(begun, time.perf_counter())
        reply.prompt_ended()
        finish = self._speak(reply, logits, place, cancelled)
        return reply.answer(finish, vision=vision_ms, prefill=prefill_ms)

    def score(self, frame: Frame, command: Command, reply: list[int]) -> NDArray[np.float32]:
        """Logits (len(reply) + 1, vocabulary) after the prompt and after each token of a given reply."""
        question = self._question(command)
        self.look(frame)
        place = len(self._prompt.prefix.ids)
        logits = [self._append(question, place).copy()]
        for at, id in enumerate(reply, start=place + len(question)):
            logits.append(self._append([id], at).copy())
        return np.stack(logits)

    def _speak(self, reply: _Reply, logits: NDArray[np.float32], place: int, cancelled: Callable[[], bool]) -> Finish:
        """Generate until the answer is complete or something ends it; return why it ended."""
        finish: Finish = "stop"
        while not cancelled():
            if reply.complete():
                return finish
            over = reply.over()
            if over and reply.thinking:
                finish, ids = over, self._closing(reply)
                reply.force(ids)
            elif over:
                return over
            else:
                ids = [reply.choose(logits[: self._prompt.vocabulary])]
                if ids[0] in self._prompt.stops:
                    return finish
                reply.say(ids[0])
            if place + len(ids) > self._shape.max_length:
                return "budget" if finish == "stop" else finish
            logits = self._append(ids, place)
            place += len(ids)
        return "cancelled"

    def _closing(self, reply: _Reply) -> list[int]:
        opening = "" if reply.stream.text else _THINK
        return self._prompt.forced(opening + _CLOSE)

    def _question(self, command: Command) -> list[int]:
        ids = self._prompt.question(self._profile.render(command.text))
        room = self._shape.max_length - len(self._prompt.prefix.ids) - LEAST_REPLY_TOKENS
        if len(ids) > room:
            raise RejectedInput(
                Code.COMMAND_TOO_LONG,
                f"got a question of {len(ids)} tokens, want at most {room}; say it in fewer words",
            )
        return ids

    def _append(self, ids: list[int], place: int) -> NDArray[np.float32]:
        """Append text tokens at ``place``, which is also where their rotary rows begin."""
        cos, sin = self._text_rows
        rows = slice(place, place + len(ids))
        return self._decoder.append(self._embed(np.array(ids, np.int64)), cos[rows], sin[rows], place)

    def _embed(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = self._embeddings.run(["embeds"], {"ids": ids})[0]
        return rows

    def _rotate_text(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Rotary rows by place in the cache: after an image the positions run behind the places."""
        prefix = self._prompt.prefix
        positions = np.arange(self._shape.max_length, dtype=np.int64) - len(prefix.ids) + prefix.resume
        return self._rotary.rows(np.broadcast_to(positions, (3, len(positions))))


class _Reply:
    """The reply as it grows: where it is (thinking or answering), how sure, how long, and when its time is over."""

    def __init__(self, stream: TextStream, budget: int, deadline_ns: int | None, *, thinks: bool) -> None:
        self.stream = stream
        self.thinking = thinks
        self._budget, self._deadline_ns = budget, deadline_ns
        self._tokens = self._answer_tokens = self._late_tokens = 0
        self._gaps: list[float] = []
        self._start = self._prompt_end = time.perf_counter()
        self._first: float | None = None

    def prompt_ended(self) -> None:
        """Note that prefill is over."""
        self._prompt_end = time.perf_counter()

    def choose(self, logits: NDArray[np.float32]) -> int:
        """Return the most likely id and note how far it is ahead of the second."""
        second, first = np.partition(logits, -2)[-2:]
        self._gaps.append(float((1.0 - np.exp(second - first)) / np.exp(logits - first).sum()))
        return int(logits.argmax())

    def say(self, id: int) -> None:
        """Add a token that the model chose."""
        self._count(1)
        self.stream.push([id])
        self._noted()

    def force(self, ids: list[int]) -> None:
        """Add tokens that end the thinking."""
        self._count(len(ids))
        self.stream.push(ids)
        self._noted()
        self.thinking = False

    def complete(self) -> bool:
        """Whether the answer's end has been said."""
        return not self.thinking and self.stream.recent("</answer>")

    def over(self) -> Finish | None:
        """Return what has run out: while thinking the budget or the deadline, while answering their last reserve."""
        late = self._deadline_ns is not None and time.monotonic_ns() >= self._deadline_ns
        if self.thinking:
            if self.stream.inside("</think>"):
                return None  # it is closing by itself
            return "deadline" if late else "budget" if self._tokens >= self._budget else None
        self._late_tokens += late
        if self._late_tokens > LATE_TOKENS:
            return "deadline"
        return "budget" if self._answer_tokens >= MAX_ANSWER_TOKENS else None

    def answer(self, finish: Finish, *, vision: float, prefill: float) -> Answer:
        """Return what was said."""
        now = time.perf_counter()
        timings = {
            "vision": vision,
            "prefill": prefill,
            "first_token": _ms(self._start, self._first or now),
            "decode": _ms(self._prompt_end, now),
        }
        confidence = float(np.mean(self._gaps)) if self._gaps else 0.0
        return Answer(self.stream.text, self._tokens, confidence, timings, finish)

    def _count(self, tokens: int) -> None:
        self._tokens += tokens
        self._answer_tokens += 0 if self.thinking else tokens

    def _noted(self) -> None:
        if self._first is None:
            self._first = time.perf_counter()
        if self.thinking and (self.stream.recent("</think>") or self._answers_at_once()):
            self.thinking = False

    def _answers_at_once(self) -> bool:
        return self.stream.recent("<answer>") and not self.stream.text.lstrip().startswith(_THINK)


def _ms(start: float, end: float) -> float:
    return (end - start) * 1e3
