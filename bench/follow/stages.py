"""Our tracker with a clock at every stage: CPU time of this process, which other work stretches least."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segzero_ros.backends import EngineOptions
from segzero_ros.backends.guarded_memory import GuardedMemoryTracker
from segzero_ros.backends.onnx.segmenter import OnnxSegmenterEngine
from segzero_ros.backends.onnx.tracker import OnnxMemoryEngine
from segzero_ros.backends.sam2 import Sam2Segmenter
from segzero_ros.backends.sam2_memory import Sam2MemoryTracker
from segzero_ros.frame import Frame
from segzero_ros.segmenter import Tracks

STAGES = ("preprocess", "encoder", "memory attention", "decoder", "prompts", "memory encoder", "rest")


class Clocked:
    """An object whose named methods add the CPU seconds they take to ``spent``, under the name of their stage."""

    def __init__(self, inner: Any, stages: Mapping[str, str], spent: dict[str, float]) -> None:
        self._inner, self._stages, self._spent = inner, stages, spent

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        stage = self._stages.get(name)
        if stage is None:
            return method

        def timed(*arguments: Any) -> Any:
            before = time.process_time()
            try:
                return method(*arguments)
            finally:
                self._spent[stage] = self._spent.get(stage, 0.0) + time.process_time() - before

        return timed


class StagedTracker:
    """The bundle's memory tracker on ONNX Runtime; after each step ``spent`` has its milliseconds by stage.

    "cpu" is the sum of the stages, "total" what the clock on the wall says.
    """

    def __init__(
        self, files: Mapping[str, Path], image_size: tuple[int, int], options: EngineOptions, *, guarded: bool
    ) -> None:
        self._seconds: dict[str, float] = {}
        self.spent: dict[str, float] = {}
        engine = OnnxSegmenterEngine(files, image_size, options)
        memory: Any = OnnxMemoryEngine(files, image_size, lambda: engine.features, options)
        names = {"attend": "memory attention", "decode": "decoder", "remember": "memory encoder"}
        segmenter: Any = Sam2Segmenter(Clocked(engine, {"encode": "encoder"}, self._seconds), image_size)
        outer: Any = Clocked(segmenter, {"set_image": "set_image", "predict": "prompts"}, self._seconds)
        kind = GuardedMemoryTracker if guarded else Sam2MemoryTracker
        self.tracker = kind(outer, Clocked(memory, names, self._seconds), image_size)

    def step(self, frame: Frame) -> Tracks:
        """One step, its times in ``spent``."""
        self._seconds.clear()
        before, cpu = time.perf_counter(), time.process_time()
        tracks = self.tracker.step(frame)
        total, used = time.perf_counter() - before, time.process_time() - cpu
        seconds = {**dict.fromkeys(STAGES, 0.0), **self._seconds}
        seconds["preprocess"] = seconds.pop("set_image", 0.0) - seconds["encoder"]
        seconds["rest"] = used - sum(seconds[name] for name in STAGES if name != "rest")
        self.spent = {name: 1e3 * value for name, value in {**seconds, "total": total, "cpu": used}.items()}
        return tracks
