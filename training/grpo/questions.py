"""The questions that GRPO asks, in the profile's frame, and the order in which it asks them.

Two sources: a folder of rendered shards is read directly, its squashed pictures memory-mapped (a 7B run would not
notice, the demo on a CPU does); everything else is `training.data`'s. The order is a function of the seed alone, so a
resumed run asks what the killed one would have asked.
"""

from __future__ import annotations

import bisect
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segzero_ros.backends.decoding.preprocess import resize_to
from segzero_ros.errors import Code, RejectedInput, nearest
from segzero_ros.profile import Profile
from training.data.base import Example, Examples, at_row, fit_profile
from training.data.open import open_examples
from training.demo_models.shards import load_shard, things_of
from training.demo_models.word_noise import add_word_noise
from training.rewards.truth import Truth

_SHARD = 1000  # pictures rendered at a time
HELD_OUT_PER_PICTURE = 3


@dataclass(frozen=True, slots=True, eq=False)
class GrpoSample:
    """A question and what is meant by it.

    `picture`: names the picture; equal names, equal pictures. `rgb`: uint8 (h, w, 3), squashed to the profile's size.
    `truth`: in the profile's frame. `kind`: type of question, "" where the data has none.
    """

    picture: str
    text: str
    rgb: NDArray[np.uint8]
    truth: Truth
    kind: str = ""


class Questions(Protocol):
    """What can be asked, in a fixed order; `kinds` and `pictures` cost no decoding, one entry per question."""

    kinds: Sequence[str]
    pictures: Sequence[str]

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> GrpoSample: ...

    def source(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """The source picture (H, W, 3) of a question and its objects' masks (M, H, W), None where there are none."""
        ...


class ShardQuestions:
    """All questions of a folder of rendered shards (`segzero train data`), or of some of its shards."""

    def __init__(self, folder: Path, profile: Profile, *, pictures: int = 0, seed: int = 0) -> None:
        """`pictures`: open no more shards than hold so many, chosen by `seed`; 0 = all of them.

        Raises ``RejectedInput`` CONFIG_VALUE without a shard and for a profile whose frame is not square.
        """
        self.paths = [path for path in sorted(folder.glob("shard-*")) if (path / "scenes.jsonl").exists()]
        if not self.paths:
            raise RejectedInput(
                Code.CONFIG_VALUE, f"got {folder} without a shard-00000/; render some with `segzero train data`"
            )
        if profile.image_size[0] != profile.image_size[1] or profile.space != "image":
            raise RejectedInput(
                Code.CONFIG_VALUE, f"got shards with the profile {profile.name}, want a square frame in pixels"
            )
        if pictures:
            self.paths = _enough(self.paths, pictures, seed)
        self.size = profile.image_size[0]
        self.shards = [load_shard(path, self.size) for path in self.paths]
        self.scenes = [scene for shard in self.shards for scene in shard.scenes]
        self.ends = list(accumulate(len(scene["instructions"]) for scene in self.scenes))
        self.places = [(s, n) for s, shard in enumerate(self.shards) for n in range(len(shard.scenes))]
        self.kinds = [one["type"] for scene in self.scenes for one in scene["instructions"]]
        self.pictures = [
            f"{s}/{n}" for (s, n), scene in zip(self.places, self.scenes, strict=True) for _ in scene["instructions"]
        ]

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, number: int) -> GrpoSample:
        at, instruction = self._find(number)
        shard, place = self.places[at]
        things = things_of(self.scenes[at], self.size)
        meant = [things[n] for n in instruction["targets"]]
        truth = Truth(
            tuple(tuple(float(value) for value in thing.box) for thing in meant),
            tuple((tuple(float(value) for value in thing.point),) for thing in meant),
            (self.size, self.size),
        )
        rgb = np.asarray(self.shards[shard].images[place])
        return GrpoSample(self.pictures[number], instruction["text"], rgb, truth, instruction["type"])

    def source(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """The rendered picture and the visible pixels of each object meant."""
        at, instruction = self._find(number)
        shard, place = self.places[at]
        images, labels = _source_arrays(self.paths[shard])
        ids = np.array(instruction["targets"], labels.dtype).reshape(-1, 1, 1)
        return np.ascontiguousarray(images[place]), np.asarray(labels[place])[None] == ids

    def _find(self, number: int) -> tuple[int, Mapping[str, Any]]:
        at = bisect.bisect_right(self.ends, number)
        instructions = self.scenes[at]["instructions"]
        return at, instructions[number - self.ends[at]]


def _enough(paths: Sequence[Path], pictures: int, seed: int) -> list[Path]:
    order = np.random.default_rng((seed, 2)).permutation(len(paths)).tolist()
    ends = list(accumulate(len(np.load(paths[n] / "images.npy", mmap_mode="r")) for n in order))
    return [paths[n] for n in order[: bisect.bisect_left(ends, pictures) + 1]]


class ExampleQuestions:
    """Any data set of `training.data.open`; a question's picture is its own, so that a pass asks each question once."""

    def __init__(self, examples: Examples, profile: Profile) -> None:
        self.examples, self.profile = examples, profile
        self.kinds: Sequence[str] = [""] * len(examples)
        self.pictures: Sequence[str] = [str(n) for n in range(len(examples))]
        self.shown = list(self.pictures)  # equal names, equal pictures: known once `check` has seen them

    def __len__(self) -> int:
        return len(self.examples)

    def check(self) -> None:
        """Read every row; refuse the first that does not fit the profile, with its place and the mend."""
        for number in range(len(self)):
            with at_row(self.examples.where(number)):
                example = self.examples[number]
                fit_profile(example, self.profile)
            self.shown[number] = hashlib.blake2b(np.ascontiguousarray(example.rgb), digest_size=8).hexdigest()

    def __getitem__(self, number: int) -> GrpoSample:
        example = self._example(number)
        truth = fit_profile(example, self.profile)
        rgb = resize_to(example.rgb, self.profile.image_size)
        return GrpoSample(self.pictures[number], example.question, rgb, truth, example.kind)

    def source(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """The picture and the masks of its objects; None where they are not known one by one."""
        example = self._example(number)
        height, width = example.rgb.shape[:2]
        if example.boxes and not example.object_masks:
            known = example.mask is not None and len(example.boxes) == 1
            return example.rgb, example.mask[None] if known else None
        masks = np.array(example.object_masks, np.bool_).reshape(-1, height, width)
        return example.rgb, masks

    def _example(self, number: int) -> Example:
        if self._last[0] != number:
            self._last = (number, self.examples[number])
        assert self._last[1] is not None
        return self._last[1]

    _last: tuple[int, Example | None] = (-1, None)


class NoisyQuestions:
    """Questions of which the share `share` has made-up words between its words; which ones and what, `seed` decides."""

    def __init__(self, questions: Questions, share: float, seed: int) -> None:
        self.questions, self.share, self.seed = questions, share, seed
        self.kinds, self.pictures = questions.kinds, questions.pictures

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, number: int) -> GrpoSample:
        question, rng = self.questions[number], np.random.default_rng((self.seed, number))
        return replace(question, text=add_word_noise(question.text, rng)) if rng.random() < self.share else question

    def source(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """The source picture (H, W, 3) and its objects' masks (M, H, W)."""
        return self.questions.source(number)


class SomeQuestions:
    """Some of the questions, in the order of ``numbers``."""

    def __init__(self, questions: Questions, numbers: Sequence[int]) -> None:
        self.questions, self.numbers = questions, numbers
        self.kinds = [questions.kinds[number] for number in numbers]
        self.pictures = [questions.pictures[number] for number in numbers]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, number: int) -> GrpoSample:
        return self.questions[self.numbers[number]]

    def source(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """The source picture (H, W, 3) and its objects' masks (M, H, W)."""
        return self.questions.source(self.numbers[number])


def split_off(questions: Questions, count: int, seed: int) -> tuple[Questions, Questions]:
    """To train on, and held out: `count` questions, of whose pictures none is trained on. CONFIG_VALUE for too few."""
    chosen = held_out(questions, count, seed)
    shown = questions.shown if isinstance(questions, ExampleQuestions) else questions.pictures
    pictures = {shown[number] for number in chosen}
    rest = [number for number in range(len(questions)) if shown[number] not in pictures]
    if not rest:
        raise RejectedInput(
            Code.CONFIG_VALUE,
            f"got {len(questions)} questions of which {count} are held out, and none is left to train on; give more "
            "data, a smaller --evaluate-count, or --val another data set",
        )
    return SomeQuestions(questions, rest), SomeQuestions(questions, chosen)


def open_questions(
    source: str, split: str, profile: Profile, *, seed: int, pictures: int, cache: Path, check: bool = True
) -> Questions:
    """Questions of `source`: "tabletop" is rendered into `cache`, shards are read directly, the rest by training.data.

    `pictures`: as many as the run needs, 0 = all (of "tabletop" 1000). With `check` every row is read once, and the
    first that does not fit the profile's frame is refused with its place and the mend.
    """
    if source == "tabletop":
        folder = render(cache / "tabletop" / f"{split}-{pictures}", split, pictures)
        return ShardQuestions(folder, profile, pictures=pictures, seed=seed)
    if any(Path(source).glob("shard-*/scenes.jsonl")):
        return ShardQuestions(Path(source), profile, pictures=pictures, seed=seed)
    questions = ExampleQuestions(open_examples(source, split=split), profile)
    if check:
        questions.check()
    return questions


def render(folder: Path, split: str, pictures: int) -> Path:
    """Render as many shards of the demo world as hold `pictures`, where they are not there yet; returns `folder`."""
    from training.demo_models.render_tabletop import main as render_shards

    pictures = pictures or _SHARD
    shards, each = -(-pictures // _SHARD), min(_SHARD, pictures)
    render_shards(["--out", str(folder), "--split", split, "--shards", str(shards), "--count", str(each)])
    return folder


@lru_cache(maxsize=64)
def _source_arrays(path: Path) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    return np.load(path / "images.npy", mmap_mode="r"), np.load(path / "labels.npy", mmap_mode="r")


def check_answers(questions: Questions, numbers: Iterable[int], profile: Profile) -> None:
    """Refuse (CONFIG_VALUE) questions whose answer the profile has no words for: none, or several objects."""
    for number in sorted(set(numbers)):
        found, kind = len(questions[number].truth.boxes), questions.kinds[number]
        if found == 0 and not profile.abstains:
            raise _unsayable(f"the question {questions[number].text!r} with no object", profile, kind)
        if found > 1 and profile.grammar == "v1":
            raise _unsayable(f"the question {questions[number].text!r} with {found} objects", profile, kind)


def _unsayable(got: str, profile: Profile, kind: str) -> RejectedInput:
    mend = f"leave them out with --mix {kind}=0, or" if kind else "leave the row out, or"
    return RejectedInput(
        Code.CONFIG_VALUE, f"got {got}, which an answer of {profile.name} cannot say; {mend} take a profile that can"
    )


def parse_mix(text: str) -> dict[str, float]:
    """Read "several=3,absent=2" as weights per kind of question; CONFIG_VALUE for anything else."""
    weights = {}
    for part in filter(None, text.split(",")):
        kind, _, number = part.partition("=")
        try:
            weights[kind.strip()] = float(number)
        except ValueError:
            raise RejectedInput(
                Code.CONFIG_VALUE, f"got the mix {part!r}, want KIND=WEIGHT, e.g. several=3,absent=2"
            ) from None
        if not 0 <= weights[kind.strip()] < 1e6:
            raise RejectedInput(Code.CONFIG_VALUE, f"got the weight {number} for {kind}, want 0 or more")
    return weights


def draw_order(
    questions: Questions, groups: int, mix: Mapping[str, float], per_picture: int, rng: np.random.Generator
) -> list[int]:
    """Numbers of the questions to ask, in order: `per_picture` of each chosen picture follow each other.

    A question is drawn with the weight `mix` gives its kind (1 where it says nothing), pictures uniformly, without a
    repeat until all have been asked. CONFIG_VALUE for a kind that the data does not have.
    """
    unknown = sorted(set(mix) - set(questions.kinds))
    if unknown:
        raise RejectedInput(
            Code.CONFIG_VALUE, f"got the kind {unknown[0]!r} in the mix{nearest(unknown[0], set(questions.kinds))}"
        )
    weight = np.array([mix.get(kind, 1.0) for kind in questions.kinds])
    if not weight.any():
        raise RejectedInput(Code.CONFIG_VALUE, "got a mix that leaves no question, want one kind above 0")
    of_picture: dict[str, list[int]] = {}
    for number, picture in enumerate(questions.pictures):
        if weight[number]:
            of_picture.setdefault(picture, []).append(number)
    order: list[int] = []
    names = list(of_picture)
    left: list[int] = []
    while len(order) < groups:
        left = left or rng.permutation(len(names)).tolist()
        numbers = np.array(of_picture[names[left.pop()]])
        order += _several(numbers, weight[numbers], min(per_picture, groups - len(order)), rng)
    return order


def _several(
    numbers: NDArray[np.int64], weight: NDArray[np.float64], count: int, rng: np.random.Generator
) -> list[int]:
    count = min(count, len(numbers))
    return [int(n) for n in rng.choice(numbers, size=count, replace=False, p=weight / weight.sum())]


def held_out(questions: Questions, count: int, seed: int) -> list[int]:
    """A fixed choice of `count` questions: as even over the kinds as the data allows, a few about each picture."""
    rng = np.random.default_rng(seed)
    of_picture: dict[str, list[int]] = {}
    for number in rng.permutation(len(questions)).tolist():
        of_picture.setdefault(questions.pictures[number], []).append(number)
    asked: Counter[str] = Counter()
    chosen: list[int] = []
    for numbers in of_picture.values():
        for _ in range(min(HELD_OUT_PER_PICTURE, len(numbers), count - len(chosen))):
            rarest = min(numbers, key=lambda number: asked[questions.kinds[number]])
            numbers.remove(rarest)
            asked[questions.kinds[rarest]] += 1
            chosen.append(rarest)
    return sorted(chosen)
