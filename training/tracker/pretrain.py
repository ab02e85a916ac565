"""Train the demo's tracker: SAM 2's memory, on clips of the demo world, around a segmenter that stays as it is.

    python -m training.tracker.pretrain --data DIR --segmenter DIR --out DIR --steps 1500

The picture encoder is the segmenter's and frozen, so each frame is encoded once, before the first step (a cache beside
the clips). A step follows a few objects through each of a few clips, as the robot does: a mask at the first frame,
roughened as a segmenter's is, then frame after frame from what the model itself said before. Where the object is
visible, its masks learn as the segmenter's do; everywhere the model learns to say whether it is there. Clips are also
played backwards, and with frames left out.

`OUT/checkpoint` is a `Sam2VideoModel` directory, `OUT/state.pt` what a resumed run needs, `OUT/log.jsonl` the curve.
Ctrl-C saves them.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm
from transformers import Sam2VideoModel

from export.segmenter_onnx import export_segmenter, load_segmenter
from export.tracker.modules import Decoded
from segzero_ros.backends.sam2_memory import SURE
from segzero_ros.cli.parser import Parser, at_least, number_in, refuse
from segzero_ros.errors import RejectedInput
from training.demo_models.pretrain_segmenter import report
from training.demo_models.segmenter_model import mask_loss, segmentation_loss
from training.muon import Muon
from training.saving import LossGuard, load_state, save_run, stop_on_signals
from training.tracker.features import ClipFeatures, Drawn
from training.tracker.follow import Follower
from training.tracker.model import build_tracker

FORMAT = 2  # of state.pt
READS_EMBEDDING = (
    "memory_encoder.feature_projection.",
    "mask_decoder.transformer.layers.0.cross_attn_token_to_image.k_proj.",
    "mask_decoder.transformer.layers.0.cross_attn_token_to_image.v_proj.",
    "mask_decoder.transformer.layers.0.cross_attn_image_to_token.q_proj.",
)
HEARING = 4.0  # how much the masks weigh in what attention reads, at the start; as much as all else
NEAR = 4.0  # squared: how much more what is near is attended to, at the start
SHARP = 1.2  # squared: how much more what looks the same is attended to, at the start
USUAL_AREA = 40.0  # cells of an object's mask: what a mask of nothing is measured by
RESCAN_EVERY = 5  # steps: a shard that appeared meanwhile is taken in, which takes seconds


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides the result of a run beside its data."""

    steps: int = 2000
    clips_per_step: int = 4
    objects_per_clip: int = 2
    frames: tuple[int, ...] = (4, 8, 12)  # of a step: few at first, which is cheap
    until: tuple[float, ...] = (0.55, 0.85, 1.0)  # up to which share of the steps each is taken
    muon_rate: float = 0.02
    adam_rate: float = 2e-3
    careful_share: float = 0.01  # of the rate, for what reads the embedding
    presence_weight: float = 1.0
    absent_weight: float = 1.0  # of frames without the object; with 3 a fifth of what was there was taken for gone
    nothing_weight: float = 0.5  # of masks there, which should be empty
    every_weight: float = 0.2
    warm_up: float = 0.01  # share of the steps
    decay_from: float = 0.3  # share of the steps
    seed: int = 0


def make_optimizers(model: Sam2VideoModel, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of transformer layers, AdamW for all else; the decoder slower, the encoder not at all."""
    frozen = [*model.vision_encoder.parameters(), *model.prompt_encoder.point_embed.parameters()]
    frozen += [*model.mask_decoder.conv_s0.parameters(), *model.mask_decoder.conv_s1.parameters()]
    frozen += [model.no_memory_embedding]
    for parameter in frozen:
        parameter.requires_grad_(False)
    groups: dict[str, list[Tensor]] = {"matrices": [], "rest": [], "careful": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[_group(name, parameter)].append(parameter)
    return [
        Muon([{"params": groups["matrices"], "lr": recipe.muon_rate}], lr=recipe.muon_rate, weight_decay=0.0),
        torch.optim.AdamW(
            [
                {"params": groups["rest"], "lr": recipe.adam_rate},
                {"params": groups["careful"], "lr": recipe.adam_rate * recipe.careful_share},
            ],
            betas=(0.9, 0.98),
            weight_decay=0.0,
        ),
    ]


def _group(name: str, parameter: Tensor) -> str:
    """Which optimizer has a weight.

    Carefully goes what reads the embedding itself, whose level is far from 1: there a step of the usual size would undo
    all.
    """
    if name.startswith(READS_EMBEDDING):
        return "careful"
    return "matrices" if parameter.ndim == 2 and ".layers." in name else "rest"


def ease_in(model: Sam2VideoModel, mean: float, deviation: float) -> None:
    """Begin where little is left to find out; ``mean`` and ``deviation``: of the embedding, over its channels.

    What is remembered of a cell begins as its own features, beside its mask, and queries and keys as these features:
    attention finds what looks the same at the same place from the first step on. What attention and mask add has the
    embedding's level, which is far from 1: else it would be lost in it; and so has the output, which the decoder knows.
    """
    encoder, attention = model.memory_encoder, model.memory_attention
    width = encoder.projection.weight.shape[0]
    with torch.no_grad():
        attention.layer_norm.weight.fill_(deviation)
        attention.layer_norm.bias.fill_(mean)
        encoder.feature_projection.weight.copy_(torch.eye(width)[:, :, None, None] / deviation)
        encoder.feature_projection.bias.fill_(-mean / deviation)
        encoder.projection.weight.copy_(torch.eye(width)[:, :, None, None])
        encoder.projection.bias.zero_()
        for layer in attention.layers:
            for projection in (layer.cross_attn_image.q_proj, layer.cross_attn_image.k_proj):
                projection.weight.copy_(SHARP * torch.eye(width))
                projection.bias.zero_()
                for axis in (0, width // 2):  # the fastest turning pairs of channels tell places apart
                    projection.bias[axis : axis + 8 : 2] = NEAR
            for inner in (layer.cross_attn_image.v_proj, layer.self_attn.v_proj, layer.linear1):
                inner.weight.mul_(deviation)
        model.prompt_encoder.mask_embed.conv3.weight.mul_(deviation)
        for name, weight in model.mask_decoder.named_parameters():
            if f"mask_decoder.{name}".startswith(READS_EMBEDDING):
                weight.div_(deviation)


def hear_masks(model: Sam2VideoModel, follower: Follower, drawn: Drawn, deviation: float) -> None:
    """Begin with attention that reads the masks above all: what a mask changes in a memory weighs the most."""
    picture, masks = drawn.picture(0), drawn.masks[0].float()
    given = torch.ones(len(masks))
    with torch.no_grad():
        with_mask = follower.encoder(picture.embedding, (2 * masks - 1) * SURE, given, given)
        without = follower.encoder(picture.embedding, torch.full_like(masks, -SURE), given, given)
        cover = F.adaptive_avg_pool2d(masks[:, None], picture.embedding.shape[-1])[:, 0].flatten(1)
        change = (with_mask - without)[cover > 0.5].mean(0)
        change = change / change.norm()
        for layer in model.memory_attention.layers:
            toward = torch.randn(len(change)) / len(change) ** 0.5
            layer.cross_attn_image.v_proj.weight.add_(HEARING * deviation * torch.outer(toward, change))


def rate_factor(progress: float, recipe: Recipe) -> float:
    """Share of the full rate at `progress` 0..1: up, level, down to zero."""
    if progress < recipe.warm_up:
        return max(progress / recipe.warm_up, 0.02)
    return min(1.0, max(0.0, (1 - progress) / (1 - recipe.decay_from)))


def clip_losses(follower: Follower, drawn: Drawn, recipe: Recipe) -> dict[str, Tensor]:
    """Losses of objects followed through their clips: `mask`, `score`, `presence`, and the IoU of what was shown.

    `present_right` and `absent_right`: shares of the frames with and without the object in which it is said so.
    """
    past = follower.start(drawn.picture(0), drawn.start)
    losses: dict[str, list[Tensor]] = {}
    for time_step in range(1, drawn.frames):
        out = follower.step(past, drawn.picture(time_step))
        for name, value in _frame_losses(out, drawn.masks[time_step], drawn.visible[time_step], recipe).items():
            losses.setdefault(name, []).append(value)
    return {name: torch.stack(values).mean() for name, values in losses.items()}


def _frame_losses(out: Decoded, masks: Tensor, visible: Tensor, recipe: Recipe) -> dict[str, Tensor]:
    weights = torch.where(visible, 1.0, recipe.absent_weight)
    losses = {"presence": F.binary_cross_entropy_with_logits(out.scores, visible.float(), weights)}
    said = out.scores > 0
    if not visible.all():
        losses["absent_right"] = (~said)[~visible].float().mean()
        away = out.logits[~visible]
        losses["nothing"] = mask_loss(away, torch.zeros_like(away), away.new_full(away.shape[:2], USUAL_AREA)).mean()
        losses["empty"] = (away.gather(1, _best(out)[~visible]) <= 0).all(-1).all(-1).float().mean()
    if visible.any():
        losses["present_right"] = said[visible].float().mean()
        shown = segmentation_loss(
            out.logits[visible][:, None], out.ious[visible][:, None], masks[visible][:, None].float()
        )
        losses["mask"] = shown["mask"] + recipe.every_weight * shown["every"]
        losses["score"], losses["picked_iou"] = shown["score"], shown["picked_iou"]
    return losses


def _best(out: Decoded) -> Tensor:
    """Indices of the masks shown, to gather with, (N, 1, h, w)."""
    return out.ious.argmax(1)[:, None, None, None].expand(-1, -1, *out.logits.shape[-2:])


class Training:
    """One run: model, optimizers and position; `save` and `resume` carry it over an interruption."""

    def __init__(self, recipe: Recipe, data: Path, segmenter: Path) -> None:
        self.recipe, self.segmenter = recipe, segmenter
        self.model = build_tracker(load_segmenter(segmenter), recipe.seed)
        with tempfile.TemporaryDirectory() as scratch:
            self.clips = ClipFeatures(data, export_segmenter(segmenter, Path(scratch))["encoder"])
        mean, deviation = self.clips.level()
        ease_in(self.model, mean, deviation)
        self.optimizers = make_optimizers(self.model, recipe)
        self.rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.follower = Follower(self.model)
        start = self.clips.draw(np.random.default_rng(recipe.seed), 8, recipe.objects_per_clip, 2)
        hear_masks(self.model, self.follower, start, deviation)
        self.guard = LossGuard("training.tracker.pretrain", self.model)
        self.steps_done, self.seconds = 0, 0.0

    @property
    def progress(self) -> float:
        """Share of the steps done, 0..1."""
        return self.steps_done / self.recipe.steps

    def step(self) -> dict[str, float]:
        """One optimizer step on the clips that belong to this position; returns its losses."""
        started, recipe = time.process_time(), self.recipe
        rng = np.random.default_rng((recipe.seed, self.steps_done))
        drawn = self.clips.draw(rng, recipe.clips_per_step, recipe.objects_per_clip, self._frames())
        losses = clip_losses(self.follower, drawn, recipe)
        total = losses["mask"] + losses["score"] + recipe.presence_weight * losses["presence"]
        if "nothing" in losses:
            total = total + recipe.nothing_weight * losses["nothing"]
        total.backward()  # type: ignore[no-untyped-call]
        self._update(total)
        self.steps_done += 1
        self.seconds += time.process_time() - started
        return {name: float(value.detach()) for name, value in losses.items()}

    def _frames(self) -> int:
        recipe = self.recipe
        return next(frames for frames, until in zip(recipe.frames, recipe.until, strict=True) if self.progress < until)

    def _update(self, loss: Tensor) -> None:
        norm = torch.nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], 1.0)
        self.guard.usable(loss, norm, self.steps_done + 1)
        factor = rate_factor(self.progress, self.recipe)
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def save(self, out: Path) -> None:
        """Write `checkpoint/` and `state.pt`; see ``save_run``."""
        note = {"step": self.steps_done, "recipe": asdict(self.recipe), "clips": len(self.clips)}
        save_run(out, self.model, self._state(), step=self.steps_done, note=note)

    def _state(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "recipe": asdict(self.recipe),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "steps_done": self.steps_done,
            "seconds": self.seconds,
        }

    @classmethod
    def resume(cls, out: Path, data: Path, segmenter: Path, steps: int | None = None) -> "Training":
        """The run as `save` left it; `steps` replaces the recipe's.

        FileNotFoundError when there is none, ValueError when it is of another format.
        """
        state = load_state(out, FORMAT)
        recipe = Recipe(**state["recipe"])
        training = cls(replace(recipe, steps=steps or recipe.steps), data, segmenter)
        training.model.load_state_dict(state["model"])
        for optimizer, saved in zip(training.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        training.steps_done, training.seconds = state["steps_done"], state["seconds"]
        training.clips.rescan()
        return training


def train(training: Training, out: Path, *, save_every: int = 100) -> None:
    """Run to the last step or until asked to stop; saves every so many steps and at the end."""
    recent: list[dict[str, float]] = []
    with stop_on_signals() as stop, tqdm(total=training.recipe.steps, initial=training.steps_done) as bar:
        while training.progress < 1 and not stop.is_set():
            recent.append(training.step())
            stop.saves = True
            bar.update(1)
            if training.steps_done % RESCAN_EVERY == 0:
                training.clips.rescan(1)
            if training.progress >= 1 or stop.is_set() or training.steps_done % save_every == 0:
                training.save(out)
                report(out, _entry(training, recent))
                recent = []
    how = "finished" if training.progress >= 1 else "stopped, go on with --resume,"
    print(f"{how} after {training.steps_done} steps; {out}/checkpoint is a Sam2VideoModel directory")


def _entry(training: Training, recent: Sequence[dict[str, float]]) -> dict[str, Any]:
    entry: dict[str, Any] = {"step": training.steps_done, "cpu_minutes": training.seconds / 60}
    entry["clips"] = len(training.clips)
    names = sorted({name for losses in recent for name in losses})
    return entry | {name: float(np.mean([losses[name] for losses in recent if name in losses])) for name in names}


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; see the module's docstring."""
    parser = Parser("python -m training.tracker.pretrain", __doc__ or "")
    parser.add_argument("--data", type=Path, required=True, help="directory of clips (python -m training.clips.render)")
    parser.add_argument("--segmenter", type=Path, required=True, help="Sam2Model directory whose encoder is shared")
    parser.add_argument("--out", type=Path, required=True, help="where checkpoint, state and log go")
    parser.add_argument("--steps", type=at_least(1), help=f"budget (default {Recipe().steps})")
    parser.add_argument("--clips-per-step", type=at_least(1), default=Recipe().clips_per_step)
    parser.add_argument("--objects-per-clip", type=at_least(1), default=Recipe().objects_per_clip)
    parser.add_argument("--muon", type=number_in(0, above=True), default=Recipe().muon_rate, help="rate of matrices")
    parser.add_argument("--adam", type=number_in(0, above=True), default=Recipe().adam_rate, help="rate of the rest")
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--resume", action="store_true", help="go on with OUT/state.pt and its recipe")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; returns the exit status (130 when interrupted, 2 for what is refused, in one line)."""
    args = read_arguments(arguments)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        training = _begin(args)
        train(training, args.out)
    except (RejectedInput, OSError, ValueError) as error:
        return refuse("python -m training.tracker.pretrain", str(error))
    except KeyboardInterrupt:
        return 130
    return 0 if training.progress >= 1 else 130


def _begin(args: argparse.Namespace) -> Training:
    if args.resume:
        return Training.resume(args.out, args.data, args.segmenter, args.steps)
    recipe = Recipe(
        steps=args.steps or Recipe().steps, clips_per_step=args.clips_per_step, muon_rate=args.muon,
        objects_per_clip=args.objects_per_clip, adam_rate=args.adam, seed=args.seed,
    )  # fmt: skip
    return Training(recipe, args.data, args.segmenter)


if __name__ == "__main__":
    raise SystemExit(main())
