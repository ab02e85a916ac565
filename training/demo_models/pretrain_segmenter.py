"""Pretrain the demo segmenter: a small SAM 2 that learns masks from boxes and points on the tabletop world.

    python -m training.demo_models.pretrain_segmenter --data DIR --val DIR --out DIR --minutes 45
    python -m training.demo_models.pretrain_segmenter --evaluate --segmenter DIR --data DIR --out FILE

First the prompt encoder and the mask decoder learn alone, without any picture, what a box says about a mask: a minute,
where joint training takes many times that to find it out. Then everything learns together. A step encodes a few
pictures once each and decodes several prompts per picture in one batch: a box, true or jittered, with none, one or two
points. Of the three masks the best one learns (cross-entropy and Dice on the upsampled logits), the others a little,
and all three learn to predict their own IoU. Throw-away heads ask the picture's feature maps where any object is. One
step in eight trains the single-mask output instead. The rate warms up, holds and falls to zero with the budget.
Not trained: the object score and the memory, which single pictures cannot teach.

`OUT/checkpoint` is a `Sam2Model` directory, `OUT/state.pt` everything a resumed run needs, `OUT/log.jsonl` the curve.
Ctrl-C saves them.
"""

import argparse
import itertools
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import get_worker_info
from tqdm import tqdm
from transformers import Sam2Config, Sam2Model

from segzero_ros.cli.parser import explain, refuse
from segzero_ros.errors import RejectedInput
from training.demo_models.device.ahead import default_workers, prepared_ahead
from training.demo_models.device.clock import Pace, arithmetic, choose_device
from training.demo_models.evaluate_segmenter import evaluate, score_objects
from training.demo_models.recipes.segmenter import DEFAULT_MINUTES, Recipe, read_arguments
from training.demo_models.segmenter_data import Shards, draw_batch
from training.demo_models.segmenter_model import (
    Batch,
    ForegroundHeads,
    Stacked,
    build_model,
    prompt,
    prompt_blind,
    segmentation_loss,
)
from training.muon import Muon
from training.saving import LossGuard, load_state, save_run

SINGLE_MASK_EVERY = 8  # steps; the tracker uses the single-mask output
FORMAT = 1  # of state.pt
SAVE_EVERY_S = 150.0  # of training

Budget = tuple[float | None, int | None, float | None]  # minutes of CPU time, steps, or seconds on the clock
CPU = torch.device("cpu")


def make_optimizers(model: Sam2Model, heads: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the transformer blocks, AdamW for all else."""
    matrices, rest = [], []
    for name, parameter in model.named_parameters():
        inner = ".blocks." in name or ".transformer." in name
        (matrices if inner and parameter.ndim == 2 else rest).append(parameter)
    return [
        Muon([{"params": matrices}], lr=recipe.muon_rate, weight_decay=0.0),
        torch.optim.AdamW([*rest, *heads.parameters()], lr=recipe.adam_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate_factor(progress: float, recipe: Recipe) -> float:
    """Share of the full learning rate at `progress` 0..1 of the budget: up, level, down to zero."""
    if progress < recipe.warm_up:
        return max(progress / recipe.warm_up, 0.02)
    return min(1.0, max(0.0, (1 - progress) / (1 - recipe.decay_from)))


class Training:
    """One run: model, optimizers and position. `save` and `resume` carry it over an interruption, exactly."""

    def __init__(
        self,
        recipe: Recipe,
        data: Path,
        shards: Sequence[str] | None = None,
        config: Sam2Config | None = None,
        device: torch.device = CPU,
        bfloat16: bool | None = None,
    ) -> None:
        self.recipe, self.device, self.bfloat16 = recipe, device, bfloat16
        self.model = build_model(recipe.seed, config).to(device)
        self.side: int = self.model.config.prompt_encoder_config.image_size
        width = self.model.hidden_dim
        self.heads = ForegroundHeads((width // 8, width // 4, width)).to(device)
        self.optimizers = make_optimizers(self.model, self.heads, recipe)
        self.shards = Shards(data, shards)
        self.guard = LossGuard("segzero train segmenter", self.model)
        self.steps_done = 0
        self.seconds = 0.0
        self.began = time.monotonic()

    @property
    def used(self) -> float:
        """Seconds of the run so far: of this process's CPU time, or on the clock where the budget is."""
        return self.seconds if self.recipe.seconds is None else time.monotonic() - self.began

    @property
    def progress(self) -> float:
        """Share of the budget used, 0..1."""
        if self.recipe.steps is not None:
            return self.steps_done / self.recipe.steps
        if self.recipe.seconds is not None:
            return self.used / self.recipe.seconds
        return self.seconds / (60 * (self.recipe.minutes or 1))

    def prepare(self, step: int) -> Stacked:
        """What `step` learns from; a worker process sees shards that have appeared."""
        recipe = self.recipe
        if get_worker_info() is not None:
            self.shards.rescan()
        samples = draw_batch(
            self.shards, recipe.images_per_step, recipe.prompts_per_image, self.side, (recipe.seed, step)
        )
        return Stacked.of(samples)

    def step(self, prepared: Stacked | None = None) -> dict[str, float]:
        """One optimizer step on the data that belongs to this position, `prepared` or not; returns its losses."""
        started = time.process_time()
        recipe = self.recipe
        batch = Batch.made((self.prepare(self.steps_done) if prepared is None else prepared).to(self.device))
        self.model.train()
        multimask = self.steps_done % SINGLE_MASK_EVERY != SINGLE_MASK_EVERY - 1
        ask = prompt_blind if self.progress < recipe.blind else prompt
        with arithmetic(self.device, self.bfloat16):
            said = ask(self.model, batch, multimask)
        losses = segmentation_loss(said.logits, said.scores, batch.masks)
        losses["foreground"] = self.heads(said.features, batch.foreground)
        total = losses["mask"] + losses["score"]
        total = total + recipe.every_weight * losses["every"] + recipe.foreground_weight * losses["foreground"]
        total.backward()  # type: ignore[no-untyped-call]
        self._update(total, rate_factor(self.progress, recipe))
        self.steps_done += 1
        self.seconds += time.process_time() - started
        return {name: float(value.detach()) for name, value in losses.items()}

    def _update(self, loss: torch.Tensor, factor: float) -> None:
        norm = torch.nn.utils.clip_grad_norm_([*self.model.parameters()], 1.0)
        if not self.guard.usable(loss, norm + self._heads_norm(), self.steps_done + 1):
            self.heads.zero_grad(set_to_none=True)
        for optimizer, rate in zip(self.optimizers, (self.recipe.muon_rate, self.recipe.adam_rate), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def _heads_norm(self) -> torch.Tensor:
        grads = [parameter.grad.abs().sum() for parameter in self.heads.parameters() if parameter.grad is not None]
        return torch.stack(grads).sum() if grads else torch.zeros((), device=self.device)

    def save(self, out: Path) -> None:
        """Write `checkpoint/` and `state.pt`; see ``save_run``."""
        note = {"step": self.steps_done, "seconds": round(self.used, 1)}
        save_run(out, self.model, self._state(), step=self.steps_done, note=note)

    def _state(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "recipe": asdict(self.recipe),
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "shards": self.shards.names,
            "steps_done": self.steps_done,
            "seconds": self.used,
        }

    @classmethod
    def resume(
        cls,
        out: Path,
        data: Path,
        config: Sam2Config | None = None,
        budget: Budget | None = None,
        device: torch.device = CPU,
        bfloat16: bool | None = None,
        sizes: Mapping[str, int] = MappingProxyType({}),
    ) -> "Training":
        """The run as `save` left it, its recipe and shards included; `budget` and `sizes` replace those of its recipe.

        FileNotFoundError when there is none, RejectedInput when it is of another format.
        """
        state = load_state(out, FORMAT)
        recipe = Recipe(**state["recipe"])
        if budget is not None:
            recipe = replace(recipe, minutes=budget[0], steps=budget[1], seconds=budget[2])
        recipe = replace(recipe, **sizes)
        training = cls(recipe, data, state["shards"], config, device, bfloat16)
        training.model.load_state_dict(state["model"])
        training.heads.load_state_dict(state["heads"])
        for optimizer, saved in zip(training.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        training.steps_done, training.seconds = state["steps_done"], state["seconds"]
        training.began = time.monotonic() - training.seconds
        return training


class Stop:
    """Within its `with` block: becomes true when the process is asked to end (Ctrl-C, SIGTERM).

    A second Ctrl-C ends the process at once.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.asked = False
        self._before: list[Any] = []

    def __enter__(self) -> "Stop":
        self._before = [signal.signal(number, self._ask) for number in self.SIGNALS]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in zip(self.SIGNALS, self._before, strict=True):
            signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        os.write(2, b"\nstopping: what is learned so far is saved; once more to end at once\n")

    def __bool__(self) -> bool:
        return self.asked


def report(out: Path, entry: dict[str, Any]) -> None:
    """Append one line to the run's log and show it."""
    rounded = {key: round(value, 5) if isinstance(value, float) else value for key, value in entry.items()}
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(rounded) + "\n")
    tqdm.write(json.dumps(rounded))


def train(training: Training, val: Path | None, out: Path, *, workers: int = 0, held_out_scenes: int = 40) -> None:
    """Run to the end of the budget or until asked to stop; saves every few minutes of training and at the end."""
    saved_at, recent, pace = training.used, [], Pace()
    save_every_s = SAVE_EVERY_S if training.recipe.seconds is None else 60.0
    with Stop() as stop, _prepared(training, workers) as steps, _progress_bar(training) as bar:
        for prepared in pace.timed(steps):
            if training.progress >= 1 or stop:
                break
            before = training.progress
            recent.append(training.step(prepared))
            pace.pictures += training.recipe.images_per_step
            if (line := pace.line()) is not None:
                tqdm.write(
                    "{pictures_per_s:.0f} pictures a second, {waiting:.0%} of the time without data".format(**line)
                )
            bar.set_postfix_str(f"step {training.steps_done}, loss {recent[-1]['mask']:.3f}, {_rate(training)}", False)
            bar.update(min(100 * (training.progress - before), bar.total - bar.n))
            if training.progress >= 1 or stop:
                break
            if training.used - saved_at > save_every_s:
                _checkpoint(training, val, out, recent, held_out_scenes)
                saved_at, recent = training.used, []
        if recent:  # a budget on the clock may end, and a stop come, while the next step is waited for
            _checkpoint(training, val, out, recent, held_out_scenes)
    how = "finished" if training.progress >= 1 else "stopped, go on with --resume,"
    print(f"{how} after {training.steps_done} steps; {out}/checkpoint is a Sam2Model directory")


@contextmanager
def _prepared(training: Training, workers: int) -> Iterator[Iterator[Stacked | None]]:
    """What the steps from here on learn from; None: to be drawn by the step itself."""
    if not workers:
        yield itertools.repeat(None)
        return
    with prepared_ahead(training, training.steps_done, workers, training.device.type == "cuda") as steps:
        yield steps


def _progress_bar(training: Training) -> "tqdm[Any]":
    layout = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
    return tqdm(total=100.0, initial=round(100 * training.progress, 2), unit="%", bar_format=layout)


def _rate(training: Training) -> str:
    images = training.recipe.images_per_step * training.steps_done
    return f"{images / max(training.seconds, 1e-9):.1f} images/s of CPU time"


def _checkpoint(
    training: Training, val: Path | None, out: Path, recent: Sequence[dict[str, float]], held_out_scenes: int
) -> None:
    training.shards.rescan()
    training.save(out)
    entry: dict[str, Any] = {"step": training.steps_done, "cpu_minutes": training.seconds / 60}
    entry |= {"progress": training.progress, "images": len(training.shards)}
    entry |= {name: float(np.mean([losses[name] for losses in recent])) for name in recent[0]}
    if val is not None and (shards := Shards(val)).names:
        scored = score_objects(training.model, shards, jitter=0.0, most=held_out_scenes)
        entry["held_out_iou"] = float(np.mean([item.iou for item in scored]))
    report(out, entry)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train or evaluate; returns the exit status (130 when interrupted, 2 for what is refused, in one line)."""
    args = read_arguments(arguments)
    try:
        return run(args)
    except OSError as error:
        return refuse("segzero train segmenter", explain(error, args.out))
    except RejectedInput as error:
        return refuse("segzero train segmenter", str(error))
    except KeyboardInterrupt:
        return 130


def run(args: argparse.Namespace) -> int:
    """Do what the options ask for."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if args.evaluate:
        text = json.dumps(evaluate(args.segmenter, args.data, args.count), indent=1)
        print(text)
        if args.out:
            args.out.write_text(text + "\n", encoding="utf-8")
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    training = _begin(args)
    if not len(training.shards):
        return refuse("segzero train segmenter", f"no shard-*/ in {args.data}; render some: segzero train data")
    workers = default_workers(training.device) if args.workers is None else args.workers
    train(training, args.val, args.out, workers=workers)
    return 0 if training.progress >= 1 else 130


def _begin(args: argparse.Namespace) -> Training:
    given = (args.minutes, args.steps, args.seconds) if args.minutes or args.steps or args.seconds else None
    device = choose_device(args.device)
    asked = {name: getattr(args, name) for name in ("images_per_step", "prompts_per_image")}
    sizes = {name: value for name, value in asked.items() if value is not None}
    if not args.resume:
        minutes, steps, seconds = given or (DEFAULT_MINUTES, None, None)
        recipe = Recipe(minutes, steps, **sizes, seed=args.seed, seconds=seconds)
        return Training(recipe, args.data, device=device, bfloat16=args.bfloat16)
    if not any((args.out / name).is_file() for name in ("state.pt", "state.pt.old")):
        raise FileNotFoundError(f"got --resume, but there is no {args.out / 'state.pt'}; start without --resume")
    return Training.resume(args.out, args.data, None, given, device, args.bfloat16, sizes)


if __name__ == "__main__":
    raise SystemExit(main())
