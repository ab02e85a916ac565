"""What happens between the steps of a GRPO run: validation, the best kept, the log, the bar, a stop when asked for."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from segzero_ros.errors import Code, RejectedInput
from training.saving import Stop


class Validating(Protocol):
    """What a trainer that validates has (``trainer.GroundingTrainer``)."""

    validation: Any

    def validate(self) -> dict[str, Any]:
        """Ask the held-out questions; return the summary."""
        ...

    def keep_best(self, summary: dict[str, Any]) -> None:
        """Save the model if it is the best so far."""
        ...

    def log(self, figures: dict[str, Any]) -> None:
        """Hand figures to the log."""
        ...


class Stopped(Exception):
    """Somebody asked the run to end while nothing had been learned since the last step: the rest is not waited for."""


class StepGuard(TrainerCallback):
    """Leaves out the update of a step whose loss or gradient is no number, and says so; after ten in a row it ends.

    `sick`: whether a loss of the running step was no number.
    """

    MOST_SKIPPED = 10

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.sick, self.skipped = trainer, False, 0

    def on_pre_optimizer_step(self, _a: TrainingArguments, state: TrainerState, _c: TrainerControl, **_: Any) -> None:
        """Drop the gradients if any of them is no number, on every device alike."""
        parameters = [parameter for parameter in self.trainer.model.parameters() if parameter.grad is not None]
        sick = self.sick or not all(bool(torch.isfinite(parameter.grad).all()) for parameter in parameters)
        self.sick = False
        if not self.trainer.anywhere(sick):
            self.skipped = 0
            return
        for parameter in parameters:
            parameter.grad = None
        self.skipped += 1
        self.trainer.count_skipped()
        if state.is_world_process_zero:
            what = "the loss or a gradient is no number (NaN or infinity)"
            print(f"step {state.global_step + 1}: {what}; the weights stay as they were", file=sys.stderr)
        if self.skipped >= self.MOST_SKIPPED:
            raise RejectedInput(
                Code.CONFIG_VALUE,
                f"got {self.skipped} steps in a row without a usable loss or gradient, up to step "
                f"{state.global_step + 1}; try a smaller --lr or another --model",
            )


class ValidationCallback(TrainerCallback):
    """Validates every so many steps and before the first, keeps the best, and saves and stops when asked to."""

    def __init__(self, trainer: Validating, stop: Stop) -> None:
        self.trainer, self.stop = trainer, stop

    def on_train_begin(self, _a: TrainingArguments, state: TrainerState, _c: TrainerControl, **_: Any) -> None:
        """The score to start from."""
        if self.trainer.validation is not None and state.global_step == 0:
            self._validate()

    def on_step_end(self, _a: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Validate when it is time; save and end when asked to."""
        validation = self.trainer.validation
        if validation is not None and state.global_step % validation.every == 0:
            self._validate()
        if self.stop.is_set():
            control.should_save = control.should_training_stop = True

    def _validate(self) -> None:
        began = time.monotonic()
        summary = self.trainer.validate()
        self.trainer.keep_best(summary)
        flat = {f"held_out/{kind}/{name}": value for kind, row in summary.items() for name, value in row.items()}
        self.trainer.log({**flat, "held_out_seconds": round(time.monotonic() - began, 1)})


class Bar(ProgressCallback):
    """Steps, rate and time to go, and beside them the latest reward and held-out score; the log has the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.latest: dict[str, str] = {}

    def on_log(
        self,
        _a: TrainingArguments,
        state: TrainerState,
        _c: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Renew what stands beside the bar."""
        names = {"reward": "reward", "held_out/all/hit": "hit", "held_out/all/mask": "mask", "held_out/all/iou": "iou"}
        self.latest |= {short: f"{logs[name]:.3f}" for name, short in names.items() if name in (logs or {})}
        if state.is_world_process_zero and self.training_bar is not None:
            self.training_bar.set_postfix(self.latest, refresh=False)


class Log(TrainerCallback):
    """OUT/log.jsonl: a line per log, of steps that a resumed run will not repeat."""

    def __init__(self, out: Path) -> None:
        self.file = out / "log.jsonl"

    def on_train_begin(self, _a: TrainingArguments, state: TrainerState, _c: TrainerControl, **_: Any) -> None:
        """Forget what will be repeated: everything on a fresh start, what came after the checkpoint on resuming."""
        if state.is_world_process_zero and self.file.exists():
            last = state.global_step or -1
            lines = [line for line in self.file.read_text().splitlines() if 0 <= _step_of(line) <= last]
            self.file.write_text("".join(f"{line}\n" for line in lines))

    def on_log(
        self,
        _a: TrainingArguments,
        state: TrainerState,
        _c: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Append a line."""
        if state.is_world_process_zero and logs:
            record: dict[str, Any] = {"step": state.global_step, "time": round(time.time())}
            record |= {name: round(v, 6) if isinstance(v, float) else v for name, v in logs.items() if v == v}  # no NaN
            with self.file.open("a") as file:
                print(json.dumps(record), file=file, flush=True)


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return -1  # half a line of a killed run
