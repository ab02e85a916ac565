"""Ours as a contestant: the robot's own pipeline, watched from outside, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bench.interleave import Measured
from export.queries import EvalQuery
from segzero_ros.answer import Target
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Pipeline, Segmentation
from segzero_ros.reasoner import Answer, Request
from segzero_ros.segmenter import Masks

THINKING_ENDS = "</"  # how the closing tag begins


class WatchedReasoner:
    """A reasoner whose last answer is kept, for its own timings and steps."""

    def __init__(self, reasoner: Any) -> None:
        self._reasoner = reasoner
        self.last: Answer | None = None

    def reason(self, request: Request) -> Answer:
        """Ask the reasoner; see ``Reasoner``."""
        self.last = self._reasoner.reason(request)
        return self.last

    def prefill_image(self, frame: Frame) -> Any:
        """Encode a frame before anybody asks; see ``EarlyReasoner``."""
        return self._reasoner.prefill_image(frame)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reasoner, name)


class WatchedSegmenter:
    """A segmenter whose two halves are timed: ``encode_ms`` and ``decode_ms`` of the last command."""

    def __init__(self, segmenter: Any) -> None:
        self._segmenter = segmenter
        self.encode_ms = self.decode_ms = 0.0

    def set_image(self, frame: Frame) -> None:
        """Encode; see ``Segmenter``."""
        start = time.perf_counter()
        self._segmenter.set_image(frame)
        self.encode_ms = (time.perf_counter() - start) * 1e3

    def predict(self, targets: tuple[Target, ...]) -> Masks:
        """Decode; see ``Segmenter``."""
        start = time.perf_counter()
        masks: Masks = self._segmenter.predict(targets)
        self.decode_ms = (time.perf_counter() - start) * 1e3
        return masks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._segmenter, name)


class Ours:
    """``Contestant``: one command through ``Pipeline.ground``; ``before`` may encode the frame first, untimed."""

    def __init__(self, pipeline: Pipeline, before: Callable[[Pipeline, Frame], None] | None = None) -> None:
        self.pipeline = pipeline
        self._reasoner = WatchedReasoner(pipeline.reasoner)
        self._segmenter = WatchedSegmenter(pipeline.segmenter)
        pipeline.reasoner, pipeline.segmenter = self._reasoner, self._segmenter
        self._before = before

    def __call__(self, question: EvalQuery) -> Measured:
        """Ask and measure."""
        if self._before is not None:
            self._before(self.pipeline, question.frame)
        pieces: list[str] = []
        start, busy = time.perf_counter(), time.process_time()
        result = self.pipeline.ground(question.frame, question.command, on_text=pieces.append)
        total, cpu = (time.perf_counter() - start) * 1e3, (time.process_time() - busy) * 1e3
        measured = self.measured(result, total)
        answering = {"answer_steps": max(0.0, measured.counts["steps"] - thinking_pieces(pieces))}
        return replace(measured, ms={**measured.ms, "cpu": cpu}, counts={**measured.counts, **answering})

    def measured(self, result: Segmentation, total_ms: float) -> Measured:
        """Return the stages of the command that has just ended."""
        answer = self._reasoner.last
        said = dict(answer.timings_ms) if answer else {}
        steps = answer.steps if answer and answer.steps else result.timing.tokens
        decode = said.get("decode", 0.0)
        ms = {
            "queue": result.timing.queue_ms,
            "vision": said.get("vision", 0.0),
            "prefill": said.get("prefill", 0.0),
            "first_token": result.timing.first_token_ms,
            "per_token": decode / max(1, result.timing.tokens),
            "decode": decode,
            "reasoning": result.timing.reasoning_ms,
        }
        if result.instances:
            ms |= {"encode": self._segmenter.encode_ms, "mask_decode": self._segmenter.decode_ms}
        counts = {"tokens": result.timing.tokens, "steps": steps, "objects": len(result.instances)}
        return Measured(ms | {"total": total_ms}, counts, result.text, result.code.name)


def thinking_pieces(pieces: Sequence[str]) -> int:
    """Return how many pieces, one per token, were said until the closing of the thinking began."""
    said = ""
    for count, piece in enumerate(pieces, start=1):
        said += piece
        if THINKING_ENDS in said:
            return count
    return 0
