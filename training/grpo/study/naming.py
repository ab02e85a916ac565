"""The second study's base: it names things, and it answers; what it names is not chosen by what is asked.

A checkpoint, its tower left as it is, learns answers to `orders.questions` and to "the red mug", three in five behind a
thinking that lists the things of one kind or one colour with their places, drawn without a look at the question, the
rest behind an empty one. Where the list happens to hold what is asked about, the answer can use it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from segzero_ros.backends.torch_cuda.weights import load_whole, read_tokenizer
from training.demo_models.device.clock import Schedule
from training.demo_models.pretrain_reasoner import make_learner
from training.demo_models.reasoner.batch import Batch, SceneTensors, Words
from training.demo_models.reasoner.learner import WEIGHTS, Learner, Optimiser
from training.demo_models.reasoner_model import SIZE, demo_profile, save
from training.demo_models.recipes.reasoner import Recipe
from training.demo_models.recipes.shapes import DEMO
from training.demo_models.shards import ShardFolder, draw_jitter, jittered, shifted, things_of
from training.demo_models.supervised_text import Thing, write_supervised_text
from training.grpo.study.orders import groups, questions
from training.grpo.study.skills import Pieces, describe
from training.processor import model_class

THINKS = 0.6  # of the answers
BY_KIND = 0.6  # of the lists; the others are by colour
SHARES = {"name": 0.25, "first": 0.25, "second": 0.3, "next": 0.2}  # of the questions
RECIPE = Recipe(
    vision_steps=0, vision_rate=0.0, steps=1000, images=6, questions=6, muon=0.01, adam=1e-3, decay_from=0.4, seed=7
)


def listed(things: Mapping[int, Thing], rng: np.random.Generator) -> Pieces:
    """All things of the kind, or of the colour, of a thing that is drawn; left to right."""
    drawn = things[sorted(things)[int(rng.integers(len(things)))]]
    noun = drawn.kind if rng.random() < BY_KIND else drawn.colour
    return describe(groups(things)[noun])


def names(things: Mapping[int, Thing]) -> list[dict[str, Any]]:
    """Questions like "the red mug", of the things that share their name with no other."""
    said = [f"{thing.colour} {thing.kind}" for thing in things.values()]
    return [
        {"type": "name", "text": f"the {name}", "targets": [thing.id], "thinking": [], "ood": False}
        for thing, name in zip(things.values(), said, strict=True)
        if said.count(name) == 1
    ]


def lesson(things: Mapping[int, Thing], count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """`count` questions about a picture, none out of distribution, some behind a thinking; fewer if need be."""
    asked = names(things) + [one for one in questions(things) if not one["ood"]]
    pools = {kind: [one for one in asked if one["type"] == kind] for kind in SHARES}
    made: list[dict[str, Any]] = []
    while len(made) < count and (left := {kind: SHARES[kind] for kind, pool in pools.items() if pool}):
        chances = np.array(list(left.values()))
        pool = pools[str(rng.choice(list(left), p=chances / chances.sum()))]
        one = pool.pop(int(rng.integers(len(pool))))
        made.append(one | {"thinking": listed(things, rng) if rng.random() < THINKS else []})
    return made


class NamingBatches:
    """Makes the batch of any step from (seed, step) alone."""

    def __init__(self, folder: ShardFolder, tokenizer: Tokenizer, recipe: Recipe) -> None:
        self.folder, self.tokenizer, self.profile, self.recipe = folder, tokenizer, demo_profile(), recipe

    def make(self, step: int) -> Batch:
        """The batch of `step`."""
        rng = np.random.default_rng((self.recipe.seed, step))
        pictures, scenes, examples, images = [], [], [], []
        while len(pictures) < self.recipe.images:
            picked = self.folder.pick(rng)
            shift = (int(rng.integers(-10, 11)), int(rng.integers(-10, 11)))
            things = things_of(picked.scene, SIZE, shift)
            made = lesson(things, self.recipe.questions, rng)
            if not made:
                continue
            pictures.append(jittered(shifted(self.folder.image(picked), shift), *draw_jitter(rng)))
            examples += [write_supervised_text(self.tokenizer, self.profile, one, things) for one in made]
            images += [len(scenes)] * len(made)
            scenes.append(things)
        return Batch(torch.from_numpy(np.stack(pictures)), SceneTensors.of(scenes), Words.of(examples, images, scenes))


def new_learner(start: Path, tokenizer: Tokenizer, recipe: Recipe) -> Learner:
    """A learner whose layers of language are random; tower and word vectors are those of `start`."""
    learner = make_learner(None, tokenizer, DEMO, recipe, torch.device("cpu"))
    kept = {
        name: value
        for name, value in load_whole(model_class(start), start, dtype="float32").state_dict().items()
        if ".visual." in name or "embed_tokens" in name or name == "lm_head.weight"
    }
    learner.reasoner.model.load_state_dict(kept, strict=False)
    return learner


def _of_checkpoint(start: Path, tokenizer: Tokenizer, recipe: Recipe) -> Learner:
    return make_learner(start, tokenizer, DEMO, recipe, torch.device("cpu"))


def train_base(
    start: Path, data: Path, out: Path, recipe: Recipe = RECIPE, *, seconds: int | None = None, fresh: bool = False
) -> None:
    """Teach a checkpoint, or with `fresh` new layers of language over its tower; OUT/checkpoint and OUT/log.jsonl.

    With `seconds` the clock passes through the recipe's steps, however many are made.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    tokenizer = read_tokenizer(start / "tokenizer.json")
    begin = new_learner if fresh else _of_checkpoint
    learner = begin(start, tokenizer, recipe)
    optimiser = Optimiser(learner, recipe)
    batches = NamingBatches(ShardFolder(data, SIZE, "simple"), tokenizer, recipe)
    schedule, step = Schedule(recipe.steps, seconds, time.monotonic()), 0
    with (out / "log.jsonl").open("w", encoding="utf-8") as log:
        while not schedule.over(step):
            losses = learner.losses(batches.make(step))
            (losses["speak"] + WEIGHTS["guide"] * losses["guide"]).backward()  # the tower has nothing to learn
            nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
            optimiser.step(schedule.at(step))
            if step % 20 == 0:
                said = {name: round(losses[name].item(), 4) for name in ("speak", "guide", "token_right")}
                print(json.dumps({"step": step, "time": round(time.time())} | said), file=log, flush=True)
            step += 1
            if step % 200 == 0:
                save(out, learner, optimiser, tokenizer, recipe, step)
    save(out, learner, optimiser, tokenizer, recipe, step)
