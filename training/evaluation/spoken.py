"""100 commands about rendered scenes as a person would say them, none of which a template of the demo world can make.

Written by hand from pictures and lists of things, before any model had answered them, and for evaluation only: no
training reads ``spoken.jsonl`` (a test holds that). A line has the scene's seed in the test split's generator, the
sentence, the ids of the things meant and the kind of question.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segzero_ros.errors import Code, RejectedInput
from training.data.base import Example

if TYPE_CHECKING:
    from segzero_ros.tabletop.render import Renderer

FILE = Path(__file__).with_name("spoken.jsonl")
SIZE = (640, 480)


@dataclass(frozen=True, slots=True)
class Spoken:
    """One sentence: ``targets`` are the ids, left to right, in the scene ``seed`` of the test split."""

    seed: int
    kind: str
    text: str
    targets: tuple[int, ...]


def read_spoken(file: Path = FILE) -> list[Spoken]:
    """Return the sentences of the file, in order."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [Spoken(row["seed"], row["kind"], row["text"], tuple(row["targets"])) for row in rows]


class SpokenExamples:
    """The first ``count`` sentences of a file with their rendered pictures (all of them: None)."""

    def __init__(self, count: int | None = None, file: Path = FILE) -> None:
        self._spoken = read_spoken(file)[:count]
        self.name = f"tabletop, {len(self._spoken)} spoken commands"
        self._renderer: Renderer | None = None

    def where(self, n: int) -> str:
        """Which sentence."""
        return f"the sentence about scene {self._spoken[n].seed}"

    def __len__(self) -> int:
        return len(self._spoken)

    def __getitem__(self, n: int) -> Example:
        from segzero_ros.tabletop.render import Renderer
        from segzero_ros.tabletop.sampling import sample_scene
        from segzero_ros.tabletop.things import HELD_OUT

        spoken = self._spoken[n]
        self._renderer = self._renderer or Renderer(*SIZE)
        view = self._renderer.render(sample_scene(spoken.seed, "test"))
        seen = {thing.id: thing for thing in view.things}
        if not seen.keys() >= set(spoken.targets):
            raise RejectedInput(Code.CONFIG_VALUE, f"got the targets {spoken.targets}, want ids of {sorted(seen)}")
        things = [seen[target] for target in spoken.targets]
        return Example(
            id=f"spoken-{spoken.seed}",
            question=spoken.text,
            rgb=view.rgb,
            boxes=tuple(thing.box for thing in things),
            points=tuple((thing.point,) for thing in things),
            mask=np.isin(view.labels, spoken.targets),
            object_masks=tuple(view.mask(target) for target in spoken.targets),
            kind=spoken.kind,
            unseen_pair=any((thing.colour, thing.kind) in HELD_OUT for thing in things),
            unseen_wording=True,
        )
