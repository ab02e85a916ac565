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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from tqdm import tqdm

from segzero_ros.backends.torch_cuda.weights import read_tokenizer
from segzero_ros.cli.parser import explain, refuse
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.profile import Profile
from segzero_ros.tabletop.scene import World
from training.demo_models.colour_augmentation import ColourSwap, draw
from training.demo_models.device.ahead import default_workers, prepared_ahead
from training.demo_models.device.clock import Pace, Schedule, choose_device
from training.demo_models.device.store import AnnouncedFolder, PictureStore
from training.demo_models.paraphrase import paraphrased
from training.demo_models.reasoner.batch import Batch, Looks, Prepared, SceneTensors, Words, to_device
from training.demo_models.reasoner.evaluation import evaluate
from training.demo_models.reasoner.learner import Learner, Optimiser
from training.demo_models.reasoner.pieces import Pieces
from training.demo_models.reasoner_model import (
    begin_from,
    build_model,
    demo_profile,
    learn_tokenizer,
    newest_whole,
    restore,
    save,
    world_trained,
)
from training.demo_models.recipes.reasoner import Recipe, read_arguments
from training.demo_models.recipes.shapes import SHAPES, Shape
from training.demo_models.shards import (
    Picked,
    ShardFolder,
    choose,
    draw_jitter,
    flipped,
    jittered,
    shifted,
    things_of,
    world_of,
)
from training.demo_models.spoken.general import rephrased, speak_generally
from training.demo_models.spoken.speak import speak
from training.demo_models.supervised_text import SupervisedText, Thing, counted, listed, write_supervised_text
from training.demo_models.word_noise import add_word_noise
from training.saving import LossGuard, Stop, stop_on_signals

MOST_SHIFT = 10  # pixels the training picture is moved at most
WHOLE = 1 / 3  # of the pictures with exchanged colours: the table with the things
SAVE_EVERY_S = 60.0  # of a run by the clock


@dataclass(frozen=True, slots=True)
class Look:
    """How one picture is changed: other colours, moved by `shift` x y pixels, other levels, perhaps mirrored."""

    swap: ColourSwap | None
    shift: tuple[int, int]
    gain: NDArray[np.float64]
    offset: float
    mirrored: bool


@dataclass(slots=True)
class Drawn:
    """What was drawn for a step: pictures with their looks and things, and the questions with their picture's number.

    No `examples` in the vision stage.
    """

    pictures: list[tuple[Picked, Look]]
    scenes: list[dict[int, Thing]]
    examples: list[SupervisedText]
    images: list[int]

    @property
    def words(self) -> Words | None:
        """The questions packed."""
        return Words.of(self.examples, self.images, self.scenes) if self.examples else None

    def shared_out(self, count: int) -> "list[Drawn]":
        """The same in `count` pieces of neighbouring pictures, or in fewer where there are not as many."""
        edges = np.linspace(0, len(self.pictures), min(count, len(self.pictures)) + 1).astype(int)
        return [self._piece(int(first), int(end)) for first, end in pairwise(edges)]

    def _piece(self, first: int, end: int) -> "Drawn":
        asked = [n for n, image in enumerate(self.images) if first <= image < end]
        questions = [self.examples[n] for n in asked], [self.images[n] - first for n in asked]
        return Drawn(self.pictures[first:end], self.scenes[first:end], *questions)

    def looks(self) -> Looks:
        """The looks as tensors."""
        looks = [look for _, look in self.pictures]
        swapped = [n for n, look in enumerate(looks) if look.swap is not None]
        found = [look.swap.matrices(picked.scene) for picked, look in self.pictures if look.swap is not None]
        colours = np.tile(np.eye(3, dtype=np.float32), (len(found), max(map(len, found), default=1), 1, 1))
        for n, matrices in enumerate(found):
            colours[n, : len(matrices)] = matrices
            colours[n, len(matrices) :] = matrices[0]
        return Looks(
            torch.tensor(swapped, dtype=torch.int64),
            torch.from_numpy(colours),
            torch.tensor([look.shift for look in looks]),
            torch.from_numpy(np.stack([look.gain for look in looks]).astype(np.float32)),
            torch.tensor([look.offset for look in looks], dtype=torch.float32),
            torch.tensor([look.mirrored for look in looks]),
        )


class Batches:
    """Makes the batch of any step from (seed, step) alone: whole, or without its pixels for a `PictureStore`."""

    def __init__(
        self, folder: ShardFolder, tokenizer: Tokenizer, profile: Profile, recipe: Recipe, schedule: Schedule
    ) -> None:
        self.folder, self.tokenizer, self.profile, self.recipe = folder, tokenizer, profile, recipe
        self.schedule, self.size = schedule, profile.image_size[0]

    def of(self, folder: ShardFolder) -> "Batches":
        """The same of another folder."""
        return Batches(folder, self.tokenizer, self.profile, self.recipe, self.schedule)

    def draw(self, step: int) -> Drawn:
        """What `step` learns from."""
        rng = np.random.default_rng((self.recipe.seed, step))
        speaking = self.schedule.at(step) >= self.recipe.vision_steps
        drawn = Drawn([], [], [], [])
        for n in range(self.recipe.images if speaking else self.recipe.vision_images):
            picked, look, things, said = self._picture(rng, may_mirror=not speaking)
            drawn.pictures.append((picked, look))
            drawn.scenes.append(things)
            for instruction in choose(said, self.recipe.questions if speaking else 0, rng):
                said_otherwise = self._counted(instruction, things, rng) | {
                    "text": self._text(instruction, things, world_of(picked.scene), rng)
                }
                drawn.examples.append(write_supervised_text(self.tokenizer, self.profile, said_otherwise, things))
                drawn.images.append(n)
        return drawn

    def _picture(
        self, rng: np.random.Generator, may_mirror: bool
    ) -> tuple[Picked, Look, dict[int, Thing], list[dict[str, Any]]]:
        """A picture, what is done to it, its things afterwards, and its instructions."""
        picked = self.folder.pick(rng)
        scene = picked.scene
        swap = draw(scene, rng, WHOLE) if rng.random() < self.recipe.recoloured else None
        x, y = (int(v) for v in rng.integers(-MOST_SHIFT, MOST_SHIFT + 1, 2)) if rng.random() < 0.7 else (0, 0)
        gain, offset = draw_jitter(rng)
        look = Look(swap, (x, y), gain, offset, mirrored=may_mirror and rng.random() < 0.5)
        things, said = things_of(scene, self.size, look.shift), scene["instructions"]
        if swap is not None:
            things, said = swap.things(things), swap.reworded(said)
        return picked, look, flipped(things, self.size) if look.mirrored else things, said

    def _counted(
        self, instruction: dict[str, Any], things: Mapping[int, Thing], rng: np.random.Generator
    ) -> dict[str, Any]:
        """The instruction; if it means a group, perhaps with a thinking that counts it or only lists it."""
        recipe = self.recipe
        if instruction["type"] != "several" or not (recipe.counted or recipe.listed):
            return instruction
        share = rng.random()
        if share < recipe.counted:
            return instruction | {"thinking": counted(instruction["targets"], things)}
        if share < recipe.counted + recipe.listed:
            return instruction | {"thinking": listed(instruction["targets"], things)}
        return instruction

    def _text(
        self, instruction: Mapping[str, Any], things: Mapping[int, Thing], world: World, rng: np.random.Generator
    ) -> str:
        """What is said, perhaps as people speak or in other words, perhaps with word noise."""
        text, kind = str(instruction["text"]), instruction["type"]
        if self.recipe.spoken and rng.random() < self.recipe.spoken:
            rich = world == "rich"
            text = speak_generally(text, kind, rng) if rich else speak(text, kind, instruction["targets"], things, rng)
        elif rng.random() < self.recipe.paraphrased:
            text = (rephrased if world == "rich" else paraphrased)(text, kind, rng)
        return add_word_noise(text, rng) if rng.random() < self.recipe.word_noise else text

    def make(self, step: int) -> Batch:
        """The batch of `step`."""
        return self._batch(self.draw(step))

    def pieces(self, step: int, count: int) -> list[Batch]:
        """The batch of `step` in `count` pieces."""
        return [self._batch(piece) for piece in self.draw(step).shared_out(count)]

    def _batch(self, drawn: Drawn) -> Batch:
        rgb = torch.from_numpy(np.stack([self._pixels(picked, look) for picked, look in drawn.pictures]))
        return Batch(rgb, SceneTensors.of(drawn.scenes), drawn.words)

    def _pixels(self, picked: Picked, look: Look) -> NDArray[np.uint8]:
        image = self.folder.image(picked)
        if look.swap is not None:
            image = look.swap.picture(image, self.folder.labels(picked), picked.scene)
        image = jittered(shifted(image, look.shift), look.gain, look.offset)
        return image[:, ::-1] if look.mirrored else image

    def prepare(self, step: int) -> Prepared:
        """The batch of `step` without its pixels; from an `AnnouncedFolder`, once something is in it."""
        folder = self.folder
        assert isinstance(folder, AnnouncedFolder)
        while not folder.refresh():
            time.sleep(0.05)
        drawn = self.draw(step)
        slot = torch.tensor([folder.slot(picked) for picked, _ in drawn.pictures])
        return Prepared(slot, drawn.looks(), SceneTensors.of(drawn.scenes), drawn.words)

    def run(self, first: int, count: int) -> Iterator[list[Batch]]:
        """The `count` pieces of each step from `first` to the end of the schedule; a thread is two steps ahead."""
        ready: queue.Queue[list[Batch] | BaseException | None] = queue.Queue(maxsize=2)
        ended = threading.Event()

        def work() -> None:
            try:
                step = first
                while not ended.is_set() and not self.schedule.over(step):
                    ready.put(self.pieces(step, count))
                    step += 1
                ready.put(None)
            except BaseException as error:  # noqa: BLE001 - handed to the consumer
                ready.put(error)

        threading.Thread(target=work, daemon=True).start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            ended.set()
            while not ready.empty():  # the thread may wait for room
                ready.get()


# The pieces of each step, and what looks for new pictures and says how many there are.
Feed = tuple[Iterator[list[Batch]], Callable[[], int]]


@contextmanager
def feed(args: argparse.Namespace, batches: Batches, first: int, device: torch.device) -> Iterator[Feed]:
    """Batches on `device` from step `first` on: made here in a piece per thread, or with workers from a store.

    The store's pictures are on the device and its batches are whole.
    """
    workers = default_workers(device) if args.workers is None else args.workers
    if not workers:
        made = batches.run(first, args.threads if device.type == "cpu" else 1)
        with closing(made):
            yield (
                ([to_device(piece, device) for piece in pieces] for pieces in made),
                lambda: batches.folder.refresh(most=1),
            )
        return
    store = PictureStore(args.data, batches.size, args.pictures_on_device, device, batches.folder.world).open()
    asked = batches.of(AnnouncedFolder(args.data, batches.size, store.announced))
    with prepared_ahead(asked, first, workers, device.type == "cuda") as steps, store.watching():
        yield ([_filled(to_device(step, device), store)] for step in steps), lambda: store.count


def _filled(step: Prepared, store: PictureStore) -> Batch:
    return Batch(store.pictures(step), step.things, step.words)


def make_learner(
    start: Path | None,
    tokenizer: Tokenizer,
    shape: Shape,
    recipe: Recipe,
    device: torch.device,
    world: World = "simple",
) -> Learner:
    """A learner of random weights or of another run's; a tower that the recipe never changes needs no gradients."""
    learner = Learner(build_model(tokenizer, shape).to(device), tokenizer, demo_profile(shape), world)
    if start:
        begin_from(start, learner)
    if recipe.vision_steps == 0 and recipe.vision_rate == 0:
        learner.reasoner.model.model.visual.requires_grad_(False)
    return learner


def train(args: argparse.Namespace, recipe: Recipe) -> int:
    """The whole run; prints a bar, appends a JSON line per 50 steps to `log.jsonl`.

    Returns 128 and the signal's number when it was stopped by one, else 0.
    """
    shape = SHAPES[args.shape]
    resumed = newest_whole(args.out) if args.resume else None
    folder = ShardFolder(args.data, shape.size, world_trained(resumed) if resumed else None)
    profile, held_out = demo_profile(shape), ShardFolder(args.val, shape.size)
    for name, shards in (("--data", folder), ("--val", held_out)):
        if not shards.shards:
            raise RejectedInput(
                Code.CONFIG_VALUE, f"{name}: no shard-*/ in {shards.path}; render some: segzero train data"
            )
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    if args.resume and resumed is None:
        print(f"--resume: there is no checkpoint in {args.out}; the run begins at step 0", file=sys.stderr)
    begun = args.start / "tokenizer.json" if args.start else args.tokenizer
    source = resumed / "tokenizer.json" if resumed else begun
    tokenizer = read_tokenizer(source) if source else learn_tokenizer(folder, profile)
    learner = make_learner(args.start, tokenizer, shape, recipe, choose_device(args.device), folder.world or "simple")
    optimiser = Optimiser(learner, recipe)
    step, used = restore(resumed, learner, optimiser) if resumed else (0, 0.0)
    schedule = Schedule(recipe.steps, args.seconds, time.monotonic() - used)
    run = Run(args, learner, optimiser, Batches(folder, tokenizer, profile, recipe, schedule), held_out)
    with stop_on_signals() as stop:
        stop.saves = True
        step = run.learn(step, stop)
        run.save(step)
        if args.seconds and not stop.is_set():
            run.log({"step": step, **run.said, "held_out": run.evaluate(stop)})
    return 128 + stop.signal if stop.is_set() else 0


class Run:
    """The steps of a run, its log and its checkpoints."""

    def __init__(
        self,
        args: argparse.Namespace,
        learner: Learner,
        optimiser: Optimiser,
        batches: Batches,
        held_out: ShardFolder,
    ) -> None:
        self.args, self.learner, self.optimiser, self.batches, self.held_out = (
            args,
            learner,
            optimiser,
            batches,
            held_out,
        )
        self.sums: dict[str, list[Tensor]] = defaultdict(list)
        self.pace = Pace()
        self.said: dict[str, Any] = {}  # of the pace, for the next line of the log
        self.saved = time.monotonic()

    def learn(self, step: int, stop: Stop) -> int:
        """The steps from `step` on, to the end or until asked to stop; returns the next one."""
        schedule, guard = self.batches.schedule, LossGuard("segzero train reasoner", self.learner)
        total = schedule.steps if schedule.seconds is None else None
        device = self.learner.device
        shared = Pieces(self.learner, self.args.threads if device.type == "cpu" else 1, self.args.bfloat16)
        with (
            closing(shared),
            feed(self.args, self.batches, step, device) as (made, images),
            _bar(total, step) as bar,
        ):
            for pieces in self.pace.timed(made):
                if stop.is_set() or schedule.over(step):
                    break
                losses = shared.backward(pieces)
                norm = nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
                usable = guard.usable(losses["total"], norm, step + 1)
                self.optimiser.step(schedule.at(step))
                step += 1
                bar.update()
                self.pace.pictures += sum(len(piece.rgb) for piece in pieces)
                for name, value in losses.items() if usable else ():
                    self.sums[name].append(value.detach())
                self._look_after(step, images, stop)
        return step

    def _look_after(self, step: int, images: Callable[[], int], stop: Stop) -> None:
        """What is due after a step: a line of the log, an evaluation, a checkpoint."""
        args, schedule = self.args, self.batches.schedule
        if (pace := self.pace.line()) is not None:
            self.said = pace
            tqdm.write(
                f"{pace['pictures_per_s']:.0f} pictures a second, {pace['waiting']:.0%} of the time without data"
            )
        if step % 50 == 0:
            record = {"step": step, "time": round(time.time()), "images": images()}
            record |= {name: round(float(torch.stack(values).mean()), 4) for name, values in self.sums.items()}
            record |= self.said
            self.sums.clear()
            if step % args.evaluate_every == 0 and schedule.at(step) > self.batches.recipe.vision_steps:
                record["held_out"] = self.evaluate(stop)
            self.log(record)
        due = step % args.save_every == 0 if schedule.seconds is None else time.monotonic() - self.saved > SAVE_EVERY_S
        if due:
            self.save(step)

    def evaluate(self, stop: Stop) -> dict[str, Any]:
        """Greedy answers to held-out questions."""
        batches = self.batches
        most = self.args.evaluate_count
        return evaluate(self.learner, batches.tokenizer, batches.profile, self.held_out, most, stop)

    def log(self, record: Mapping[str, Any]) -> None:
        """A line of `log.jsonl`."""
        with (self.args.out / "log.jsonl").open("a") as log:
            print(json.dumps(record), file=log)

    def save(self, step: int) -> None:
        """The checkpoint, whole or not at all."""
        batches = self.batches
        seconds = batches.schedule.used if batches.schedule.seconds else 0.0
        saved = self.args.out, self.learner, self.optimiser, batches.tokenizer, batches.recipe
        save(*saved, step, seconds, self.args.shape)
        self.saved = time.monotonic()


def _bar(total: int | None, step: int) -> "tqdm[Any]":
    return tqdm(total=total, initial=step, mininterval=5, ascii=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; what cannot be trained on, or saved, is one line and status 2."""
    args, recipe = read_arguments(argv)
    torch.set_num_threads(args.threads)  # of this thread: those that share a step's pictures have one each
    try:
        return train(args, recipe)
    except OSError as error:
        return refuse("segzero train reasoner", explain(error, args.out))
    except RejectedInput as error:
        return refuse("segzero train reasoner", str(error))
    except torch.OutOfMemoryError as error:
        said = str(error).partition(". ")[0]
        return refuse("segzero train reasoner", f"{said}; go on with --resume and a smaller --images-per-step")


if __name__ == "__main__":
    sys.exit(main())
