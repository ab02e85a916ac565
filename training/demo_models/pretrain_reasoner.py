"""Pretrain the demo reasoner: a small Qwen2.5-VL that sees the tabletop world, thinks briefly and answers with boxes.

    python -m training.demo_models.pretrain_reasoner --data DIR --val DIR --out DIR --steps 4000

Two stages in one run. First the vision tower alone learns from dense heads and word alignment. Then everything learns
together: cross-entropy on thinking and answer, plus dense heads, guided attention and word alignment (`WEIGHTS`), the
learning rate falling to zero over the last part. Only the Qwen2.5-VL weights are kept; the heads stay behind in the
training state. The run is resumable (`--resume`, exact for the same data folder), saves on Ctrl-C, and may be given
more steps when it is resumed before the decay.

This is the supervised start that GRPO needs; it is not Seg-Zero's method, which starts from a pretrained Qwen2.5-VL.
"""

import argparse
import json
import queue
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from transformers import Qwen2_5_VLForConditionalGeneration

from segzero_ros.backends.torch_cuda.weights import read_tokenizer
from segzero_ros.cli.parser import explain, refuse
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.profile import Profile
from segzero_ros.tabletop.things import KINDS
from training.demo_models.colour_augmentation import COLOUR_NAMES, draw
from training.demo_models.grounding_losses import DenseHeads, WordAlignment, cell_cover, dense_targets
from training.demo_models.paraphrase import paraphrased
from training.demo_models.reasoner_model import (
    CELL,
    SIZE,
    begin_from,
    build_model,
    demo_profile,
    learn_tokenizer,
    newest_whole,
    restore,
    save,
)
from training.demo_models.recipes.reasoner import Recipe, read_arguments
from training.demo_models.shards import ShardFolder, choose, flipped, jittered, shifted, things_of
from training.demo_models.spoken.speak import speak
from training.demo_models.supervised_text import SupervisedText, Thing, counted, prefix_text, write_supervised_text
from training.demo_models.word_noise import add_word_noise
from training.evaluation.match_answer import match_answer
from training.muon import Muon
from training.packed import PackedReasoner, Watch, pack_sequences
from training.packed_decoding import sample
from training.rewards.truth import Truth
from training.saving import LossGuard, Stop, stop_on_signals

GUIDED_LAYERS = (1, 2)
MOST_SHIFT = 10  # pixels the training picture is moved at most
WHOLE = 1 / 3  # of the pictures with exchanged colours: the table with the things
WEIGHTS = {"dense": 0.3, "guide": 0.4, "align": 0.3}


@dataclass(slots=True)
class Batch:
    """One step's data; `examples` is empty in the vision stage."""

    rgb: Tensor
    scenes: list[dict[int, Thing]]
    examples: list[SupervisedText]
    images: list[int]
    dense: tuple[Tensor, Tensor, Tensor]


class Batches:
    """Makes the batch of any step from (seed, step) alone, one ahead in a thread."""

    def __init__(self, folder: ShardFolder, tokenizer: Tokenizer, profile: Profile, recipe: Recipe) -> None:
        self.folder, self.tokenizer, self.profile, self.recipe = folder, tokenizer, profile, recipe

    def make(self, step: int) -> Batch:
        """The batch of `step`."""
        rng = np.random.default_rng((self.recipe.seed, step))
        speaking = step >= self.recipe.vision_steps
        pictures, scenes, examples, images = [], [], [], []
        for n in range(self.recipe.images if speaking else self.recipe.vision_images):
            image, things, said = self._picture(rng)
            if not speaking and rng.random() < 0.5:
                image, things = flipped(image, things)
            pictures.append(image)
            scenes.append(things)
            for instruction in choose(said, self.recipe.questions if speaking else 0, rng):
                said_otherwise = self._counted(instruction, things, rng) | {
                    "text": self._text(instruction, things, rng)
                }
                examples.append(write_supervised_text(self.tokenizer, self.profile, said_otherwise, things))
                images.append(n)
        dense = dense_targets(scenes, KINDS, COLOUR_NAMES, SIZE // CELL, CELL)
        return Batch(torch.from_numpy(np.stack(pictures)), scenes, examples, images, dense)

    def _picture(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], dict[int, Thing], list[dict[str, Any]]]:
        """A picture, moved a little and perhaps in other colours, its things and its instructions."""
        image, labels, scene = self.folder.pick(rng)
        swap = draw(scene, rng, WHOLE) if rng.random() < self.recipe.recoloured else None
        if swap is not None:
            image = swap.picture(image, labels, scene)
        shift = tuple(int(v) for v in rng.integers(-MOST_SHIFT, MOST_SHIFT + 1, 2)) if rng.random() < 0.7 else (0, 0)
        image, things = jittered(shifted(image, shift), rng), things_of(scene, SIZE, shift)
        if swap is None:
            return image, things, scene["instructions"]
        return image, swap.things(things), swap.reworded(scene["instructions"])

    def _counted(
        self, instruction: dict[str, Any], things: Mapping[int, Thing], rng: np.random.Generator
    ) -> dict[str, Any]:
        """The instruction; if it means a group, perhaps with a thinking that counts it."""
        if instruction["type"] != "several" or not self.recipe.counted or rng.random() >= self.recipe.counted:
            return instruction
        return instruction | {"thinking": counted(instruction["targets"], things)}

    def _text(self, instruction: Mapping[str, Any], things: Mapping[int, Thing], rng: np.random.Generator) -> str:
        """What is said, perhaps as people speak or in other words, perhaps with word noise."""
        text = str(instruction["text"])
        if self.recipe.spoken and rng.random() < self.recipe.spoken:
            text = speak(text, instruction["type"], instruction["targets"], things, rng)
        elif rng.random() < self.recipe.paraphrased:
            text = paraphrased(text, instruction["type"], rng)
        return add_word_noise(text, rng) if rng.random() < self.recipe.word_noise else text

    def run(self, first: int, last: int) -> Iterator[Batch]:
        """Batches of steps first..last-1, made ahead."""
        ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=2)

        def work() -> None:
            try:
                for step in range(first, last):
                    ready.put(self.make(step))
            except BaseException as error:  # noqa: BLE001 - handed to the consumer
                ready.put(error)

        threading.Thread(target=work, daemon=True).start()
        for _ in range(first, last):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item


class Learner(nn.Module):
    """The reasoner with its throw-away heads; `losses` is one step's forward pass."""

    def __init__(self, model: Qwen2_5_VLForConditionalGeneration, tokenizer: Tokenizer, profile: Profile) -> None:
        super().__init__()

        def encode(text: str) -> list[int]:
            return list(tokenizer.encode(text, add_special_tokens=False).ids)

        before, after = map(encode, prefix_text(profile))
        self.reasoner = PackedReasoner(model, profile.image_size, before, after)
        width = model.config.text_config.hidden_size
        self.heads = DenseHeads(width, len(KINDS), len(COLOUR_NAMES), SIZE, SIZE // CELL)
        self.kind_words = WordAlignment([encode(f" {kind}") for kind in KINDS])
        self.colour_words = WordAlignment([encode(f" {colour}") for colour in COLOUR_NAMES])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses and accuracies of a batch; "total" is what is minimised."""
        visual = self.reasoner.encode_image(batch.rgb)
        result = self._vision_losses(visual, batch)
        if not batch.examples:
            result["total"] = result["dense"] + result["align"]
            return result
        result |= self._text_losses(visual, batch)
        result["total"] = result["speak"] + sum(weight * result[name] for name, weight in WEIGHTS.items())
        return result

    def _vision_losses(self, visual: Tensor, batch: Batch) -> dict[str, Tensor]:
        kind, colour, place = batch.dense
        result = self.heads(visual, kind, colour, place)
        result["dense"] = result["kind"] + result["colour"] + result["place"] + result["own"]
        on = kind < len(KINDS)
        embeddings = self.reasoner.text.embed_tokens.weight
        result["align"] = self.kind_words(visual[on], embeddings, kind[on])
        result["align"] = result["align"] + self.colour_words(visual[on], embeddings, colour[on])
        return result

    def _text_losses(self, visual: Tensor, batch: Batch) -> dict[str, Tensor]:
        sequences = pack_sequences([example.ids[:-1] for example in batch.examples], batch.images)
        target = torch.tensor([i for example in batch.examples for i in example.ids[1:]])
        learned = torch.cat([torch.arange(1, len(example.ids)) >= example.prompt_length for example in batch.examples])
        watch = self._watch(batch)
        hidden = self.reasoner(visual, sequences, watch)[learned]
        logits = functional.linear(hidden, self.reasoner.model.lm_head.weight)
        right = (logits.argmax(-1) == target[learned]).float().mean()
        return {"speak": functional.cross_entropy(logits, target[learned]), "guide": watch.loss(), "token_right": right}

    def _watch(self, batch: Batch) -> Watch:
        grid, at, cover, start = SIZE // CELL, [], [], 0
        covers = [{n: cell_cover(t.box, t.point, grid, CELL) for n, t in scene.items()} for scene in batch.scenes]
        for example, image in zip(batch.examples, batch.images, strict=True):
            for n, thing in enumerate(example.objects[1:]):
                if thing:
                    at.append(start + n)
                    cover.append(covers[image][thing])
            start += len(example.ids) - 1
        return Watch(GUIDED_LAYERS, torch.tensor(at), torch.stack(cover), self.reasoner.visual_from)


class Optimiser:
    """Muon for the matrices of the transformer blocks, AdamW for the rest.

    The vision tower slower once the model speaks.
    """

    def __init__(self, learner: Learner, recipe: Recipe) -> None:
        self.recipe = recipe
        matrices: dict[str, list[nn.Parameter]] = defaultdict(list)
        others: dict[str, list[nn.Parameter]] = defaultdict(list)
        for name, parameter in learner.named_parameters():
            part = "vision" if ".visual." in name else "text"
            hidden = parameter.ndim == 2 and (".blocks." in name or ".layers." in name)
            (matrices if hidden else others)[part].append(parameter)
        self.muon = Muon(
            [{"params": p, "part": part} for part, p in matrices.items()], lr=recipe.muon, weight_decay=0.01
        )
        self.adam = torch.optim.AdamW(
            [{"params": p, "part": part} for part, p in others.items()],
            lr=recipe.adam,
            betas=(0.9, 0.98),
            weight_decay=0.0,
        )

    def step(self, step: int) -> None:
        """One update at the learning rate of `step`, gradients cleared."""
        scale = learning_rate(step, self.recipe)
        slow = self.recipe.vision_rate if step >= self.recipe.vision_steps else 1.0
        for optimiser, rate in ((self.muon, self.recipe.muon), (self.adam, self.recipe.adam)):
            for group in optimiser.param_groups:
                group["lr"] = rate * scale * (slow if group["part"] == "vision" else 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)


def learning_rate(step: int, recipe: Recipe) -> float:
    """Share of the full rate: each stage warms up and stays flat.

    The second falls linearly to zero in its last part.
    """
    if step < recipe.vision_steps:
        return min(1.0, (step + 1) / 50)
    spoken = step - recipe.vision_steps
    total = max(1, recipe.steps - recipe.vision_steps)
    left = (total - spoken) / max(1.0, total * (1 - recipe.decay_from))
    return min(1.0, (spoken + 1) / 100, max(0.0, left))


# Greedy evaluation on held-out scenes: boxes only, the segmenter is scored elsewhere.


def truth_of(example: SupervisedText, things: Mapping[int, Thing], profile: Profile) -> Truth:
    """What an example's answer should have found, in pixels of the model's picture."""
    meant = [things[n] for n in example.targets]
    return Truth(tuple(thing.box for thing in meant), tuple((thing.point,) for thing in meant), profile.image_size)


def evaluate(
    learner: Learner, batches: Batches, folder: ShardFolder, most: int, stop: Stop | None = None
) -> dict[str, Any]:
    """Greedy answers to the first `most` held-out instructions; shares by type. Cut short when asked to stop."""
    learner.eval()
    stop = batches.tokenizer.token_to_id("<|im_end|>")
    rows: list[dict[str, Any]] = []
    pending = iter(folder)
    while len(rows) < most:
        chunk = [item for item, _ in zip(pending, range(32), strict=False)]
        if not chunk or (rows and stop is not None and stop.is_set()):
            break
        with torch.no_grad():
            visual = learner.reasoner.encode_image(torch.from_numpy(np.stack([image for image, _ in chunk])))
        things = [things_of(scene, SIZE) for _, scene in chunk]
        examples = [
            (n, write_supervised_text(batches.tokenizer, batches.profile, instruction, things[n]))
            for n, (_, scene) in enumerate(chunk)
            for instruction in scene["instructions"][:3]
        ]
        prompts = [example.ids[: example.prompt_length] for _, example in examples]
        answers = sample(learner.reasoner, visual, prompts, [n for n, _ in examples], 1, 220, [stop], 0.0).ids
        for (n, example), said in zip(examples, answers, strict=True):
            ids = [token for token in said if token != stop]
            text = batches.tokenizer.decode(ids, skip_special_tokens=False)
            match = match_answer(text, truth_of(example, things[n], batches.profile), batches.profile)
            rows.append(match | {"type": example.type, "tokens": len(ids), "question": example.text, "answer": text})
    learner.train()
    return summarise(rows)


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Shares by type and over all, with the last few wrong answers to look at."""
    kinds = sorted({row["type"] for row in rows})
    by_type = {kind: _mean([row for row in rows if row["type"] == kind]) for kind in kinds}
    single = [row for row in rows if row["type"] not in ("several", "absent")]
    wrong = [f"{row['question']} -> {row['answer']}" for row in rows if not row["hit"]][-4:]
    return {"all": _mean(rows), "single": _mean(single), **by_type, "wrong": wrong}


def _mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    if not rows:
        return {"count": 0}
    return {
        "count": len(rows),
        "hit": round(float(np.mean([row["hit"] for row in rows])), 4),
        "iou": round(float(np.mean([row["iou"] for row in rows])), 4),
        "valid": round(float(np.mean([row["valid"] for row in rows])), 4),
        "tokens": round(float(np.mean([row["tokens"] for row in rows])), 1),
    }


def make_learner(start: Path | None, tokenizer: Tokenizer, profile: Profile, recipe: Recipe) -> Learner:
    """A learner of random weights or of another run's; a tower that the recipe never changes needs no gradients."""
    learner = Learner(build_model(tokenizer), tokenizer, profile)
    if start:
        begin_from(start, learner)
    if recipe.vision_steps == 0 and recipe.vision_rate == 0:
        learner.reasoner.model.model.visual.requires_grad_(False)
    return learner


def train(args: argparse.Namespace, recipe: Recipe) -> int:
    """The whole run; prints a bar, appends a JSON line per 50 steps to `log.jsonl`.

    Returns 128 and the signal's number when it was stopped by one, else 0.
    """
    profile, folder, held_out = demo_profile(), ShardFolder(args.data, SIZE), ShardFolder(args.val, SIZE)
    for name, shards in (("--data", folder), ("--val", held_out)):
        if not shards.shards:
            raise RejectedInput(
                Code.CONFIG_VALUE, f"{name}: no shard-*/ in {shards.path}; render some: segzero train data"
            )
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    resumed = newest_whole(args.out) if args.resume else None
    if args.resume and resumed is None:
        print(f"--resume: there is no checkpoint in {args.out}; the run begins at step 0", file=sys.stderr)
    begun = args.start / "tokenizer.json" if args.start else args.tokenizer
    source = resumed / "tokenizer.json" if resumed else begun
    tokenizer = read_tokenizer(source) if source else learn_tokenizer(folder, profile)
    learner = make_learner(args.start, tokenizer, profile, recipe)
    optimiser = Optimiser(learner, recipe)
    step = restore(resumed, learner, optimiser) if resumed else 0
    batches = Batches(folder, tokenizer, profile, recipe)
    with stop_on_signals() as stop:
        stop.saves = True
        step = learn(args, learner, optimiser, (batches, held_out), step, stop)
        save(args.out, learner, optimiser, tokenizer, recipe, step)
    return 128 + stop.signal if stop.is_set() else 0


def learn(
    args: argparse.Namespace,
    learner: Learner,
    optimiser: Optimiser,
    data: tuple[Batches, ShardFolder],
    step: int,
    stop: Stop,
) -> int:
    """The steps from `step` on, to the end or until asked to stop; returns the next one."""
    batches, held_out = data
    recipe, guard = batches.recipe, LossGuard("segzero train reasoner", learner)
    sums: dict[str, list[float]] = defaultdict(list)
    bar = tqdm(total=recipe.steps, initial=step, mininterval=5, ascii=True)
    log = (args.out / "log.jsonl").open("a")
    for batch in batches.run(step, recipe.steps):
        if stop.is_set():
            break
        losses = learner.losses(batch)
        losses["total"].backward()
        norm = nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        usable = guard.usable(losses["total"], norm, step + 1)
        optimiser.step(step)
        step += 1
        bar.update()
        for name, value in losses.items() if usable else ():
            sums[name].append(value.item())
        if step % 50 == 0:
            record = {"step": step, "time": round(time.time()), "images": batches.folder.refresh(most=1)}
            record |= {name: round(float(np.mean(values)), 4) for name, values in sums.items()}
            sums.clear()
            if step % args.evaluate_every == 0 and step > recipe.vision_steps:
                record["held_out"] = evaluate(learner, batches, held_out, args.evaluate_count, stop)
            print(json.dumps(record), file=log, flush=True)
        if step % args.save_every == 0:
            save(args.out, learner, optimiser, batches.tokenizer, recipe, step)
    bar.close()
    return step


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; what cannot be trained on, or saved, is one line and status 2."""
    args, recipe = read_arguments(argv)
    torch.set_num_threads(args.threads)
    try:
        return train(args, recipe)
    except OSError as error:
        return refuse("segzero train reasoner", explain(error, args.out))
    except RejectedInput as error:
        return refuse("segzero train reasoner", str(error))


if __name__ == "__main__":
    sys.exit(main())
