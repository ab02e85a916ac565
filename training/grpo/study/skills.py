"""The study's base: a model that has the skills and answers without thinking, taught by supervision alone.

Skills are captions ("what is there?"), yes or no about two things, and direct answers behind an empty thinking. A fifth
of the direct answers stands behind a thinking that is drawn without a look at the question, so that samples vary and
reinforcement has something to choose from. Nothing reasons towards an answer (tests/training/grpo/test_study.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from segzero_ros.backends.torch_cuda.weights import read_tokenizer
from segzero_ros.profile import Profile
from training.demo_models.pretrain_reasoner import make_learner
from training.demo_models.reasoner.batch import Batch, SceneTensors, Words
from training.demo_models.reasoner.learner import Optimiser
from training.demo_models.reasoner_model import SIZE, demo_profile, save
from training.demo_models.recipes.reasoner import Recipe
from training.demo_models.recipes.shapes import DEMO
from training.demo_models.shards import ShardFolder, choose, draw_jitter, jittered, shifted, things_of
from training.demo_models.supervised_text import SupervisedText, Thing, write_supervised_text
from training.grpo.study.splits import held_out_part

SHARES = {"direct": 0.85, "caption": 0.05, "yes_no": 0.1}
UNRELATED = 0.2  # of the direct answers
MOST_NAMED = 3  # things in a thinking that has nothing to do with the question
MARGIN = 0.12  # of the picture's side between two things of which one is left of, or in front of, the other
CAPTION = "what is there?"
RECIPE = Recipe(
    vision_steps=0, vision_rate=0.0, steps=70, images=8, questions=6, muon=0.02, adam=2e-3, decay_from=0.6, seed=5
)

Pieces = list[Any]


def describe(things: Sequence[Thing]) -> Pieces:
    """Pieces of a text that names things and says where they are: "red mug (34,56), blue box (80,90)."."""
    pieces: Pieces = []
    for n, thing in enumerate(things):
        pieces += [", " if n else "", {"say": f"{thing.colour} {thing.kind}", "id": thing.id}, " ", {"at": thing.id}]
    return [*pieces, "."]


def unrelated_thinking(things: Mapping[int, Thing], rng: np.random.Generator) -> Pieces:
    """One to three things of the picture in any order; what is asked has no part in the draw."""
    count = int(rng.integers(1, min(MOST_NAMED, len(things)) + 1))
    numbers = sorted(things)
    return describe([things[numbers[int(n)]] for n in rng.permutation(len(numbers))[:count]])


def direct(instruction: Mapping[str, Any], things: Mapping[int, Thing], rng: np.random.Generator) -> dict[str, Any]:
    """The instruction with its answer behind an empty thinking, or (`UNRELATED`) behind one about anything."""
    thinking = unrelated_thinking(things, rng) if rng.random() < UNRELATED else []
    return dict(instruction) | {"thinking": thinking}


def caption(things: Mapping[int, Thing]) -> dict[str, Any]:
    """A question about the whole picture; its answer names all things left to right."""
    ordered = sorted(things.values(), key=lambda thing: thing.box[0])
    return {"type": "caption", "text": CAPTION, "targets": [], "thinking": [], "answer": describe(ordered)}


def yes_no(things: Mapping[int, Thing], rng: np.random.Generator) -> dict[str, Any] | None:
    """A question like "is the red mug left of the blue box?", and its "yes" or "no".

    None where no two things have names of their own, where the relation holds only barely, or where it is held out.
    """
    names = [f"{thing.colour} {thing.kind}" for thing in things.values()]
    unique = [thing for thing in things.values() if names.count(f"{thing.colour} {thing.kind}") == 1]
    if len(unique) < 2:
        return None
    one, other = (unique[int(n)] for n in rng.permutation(len(unique))[:2])
    words, axis, sign = [("left of", 0, -1), ("right of", 0, 1), ("in front of", 1, 1), ("behind", 1, -1)][
        int(rng.integers(4))
    ]
    apart = sign * (_place(one, axis) - _place(other, axis))
    text = f"is the {one.colour} {one.kind} {words} the {other.colour} {other.kind}?"
    made = {"type": "yes_no", "text": text, "targets": [], "thinking": [], "answer": ["yes" if apart > 0 else "no"]}
    return None if abs(apart) < MARGIN * SIZE or held_out_part(made) else made


def _place(thing: Thing, axis: int) -> float:
    """Middle from the left, or foot from above, in pixels: the nearer a thing, the lower its foot."""
    return (thing.box[0] + thing.box[2]) / 2 if axis == 0 else thing.box[3]


def skills(
    said: Sequence[Mapping[str, Any]], things: Mapping[int, Thing], count: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """`count` instructions about one picture, skills mixed as `SHARES`; fewer where the picture allows no more."""
    kinds = rng.choice(list(SHARES), size=count, p=list(SHARES.values())).tolist()
    allowed = [dict(one) for one in said if not held_out_part(one)]
    made = [direct(one, things, rng) for one in choose(allowed, kinds.count("direct"), rng)]
    made += [caption(things)] if "caption" in kinds else []
    asked = [yes_no(things, rng) for kind in kinds if kind == "yes_no"]
    return made + [one for one in asked if one is not None]


class SkillBatches:
    """Makes the batch of any step: skills in place of thought-out answers."""

    def __init__(self, folder: ShardFolder, tokenizer: Tokenizer, profile: Profile, recipe: Recipe) -> None:
        self.folder, self.tokenizer, self.profile, self.recipe = folder, tokenizer, profile, recipe

    def make(self, step: int) -> Batch:
        """The batch of `step`, from (seed, step) alone."""
        rng = np.random.default_rng((self.recipe.seed, step))
        pictures, scenes, examples, images = [], [], [], []
        for n in range(self.recipe.images):
            shard, number, scene = self.folder.pick(rng)
            shift = tuple(int(v) for v in rng.integers(-10, 11, 2))
            things = things_of(scene, SIZE, shift)
            pictures.append(jittered(shifted(self.folder.shards[shard].images[number], shift), *draw_jitter(rng)))
            scenes.append(things)
            for one in skills(scene["instructions"], things, self.recipe.questions, rng):
                examples.append(self.example(one, things))
                images.append(n)
        words = Words.of(examples, images, scenes)
        return Batch(torch.from_numpy(np.stack(pictures)), SceneTensors.of(scenes), words)

    def example(self, one: Mapping[str, Any], things: Mapping[int, Thing]) -> SupervisedText:
        """Tokens of a skill; an answer in words stands where the list of boxes would."""
        if "answer" not in one:
            return write_supervised_text(self.tokenizer, self.profile, one, things)
        text = "".join(piece if isinstance(piece, str) else _written(piece, things) for piece in one["answer"])
        prompt = self.profile.render(one["text"]) + "<|im_end|>\n<|im_start|>assistant\n"
        given = self.tokenizer.encode(prompt, add_special_tokens=False).ids
        spoken = f"<think></think><answer>{text}</answer><|im_end|>"
        ids = given + self.tokenizer.encode(spoken, add_special_tokens=False).ids
        return SupervisedText(ids, len(given), [0] * len(ids), one["type"], one["text"])


def _written(piece: Mapping[str, Any], things: Mapping[int, Thing]) -> str:
    if "say" in piece:
        return str(piece["say"])
    x, y = (round(min(max(value, 0), SIZE - 1)) for value in things[piece["at"]].point)
    return f"({x},{y})"


def train_base(start: Path, data: Path, out: Path, recipe: Recipe = RECIPE) -> None:
    """Teach the skills to the weights of `start`, the vision tower left as it is; OUT/checkpoint and OUT/log.jsonl."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    profile, tokenizer = demo_profile(), read_tokenizer(start / "tokenizer.json")
    learner = make_learner(start, tokenizer, DEMO, recipe, torch.device("cpu"))
    optimiser = Optimiser(learner, recipe)
    batches = SkillBatches(ShardFolder(data, SIZE, "simple"), tokenizer, profile, recipe)
    with (out / "log.jsonl").open("w", encoding="utf-8") as log:
        for step in range(recipe.steps):
            losses = learner.losses(batches.make(step))
            losses["total"].backward()
            nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
            optimiser.step(step)
            if step % 10 == 0:
                record = {"step": step} | {name: round(value.item(), 4) for name, value in losses.items()}
                print(json.dumps(record), file=log, flush=True)
    save(out, learner, optimiser, tokenizer, recipe, recipe.steps)
