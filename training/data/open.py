"""Pictures, questions and what they mean, whatever format they are kept in: the door of training and evaluation.

    examples = open_examples("photos")          # a folder of one's own, docs/own-objects.md
    examples = open_examples("ReasonSeg", split="val")
    truth = fit_profile(examples[0], profile)   # the same in the coordinates that the model speaks in

Formats, recognised by what lies in the folder (``FORMATS``): each has a module here with its rules. Pictures
are decoded when an example is asked for, never before. An EXIF orientation is followed, as the robot's decoder does:
coordinates are those of the picture as a viewer shows it. A row that cannot be used raises ``BadRow``, which names the
file, the row and the mend; `segzero data check` names them all beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segzero_ros.errors import nearest
from training.data import coco, huggingface, plain, reasonseg, tabletop
from training.data.base import Example, Examples, unusable

FORMATS = (
    "tabletop",
    "a folder with data.jsonl",
    "a folder of rendered shards (shard-00000/...)",
    "a Hugging Face dataset saved to disk or as parquet (columns id, problem, solution, image or image, text, mask)",
    "ReasonSeg in LISA's files, or LabelMe's own (one .json per .jpg)",
    "COCO annotations (.json), with refs .json for RefCOCO-style sets",
)


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Some examples of a data set, in the order of ``indices``."""

    examples: Examples
    indices: Sequence[int]

    @property
    def name(self) -> str:
        """The name of the whole, and how many of it."""
        return f"{self.examples.name}, {len(self.indices)} of {len(self.examples)}"

    def where(self, n: int) -> str:
        """File and row of example ``n`` of the selection."""
        return self.examples.where(self.indices[n])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, n: int) -> Example:
        return self.examples[self.indices[n]]


def open_examples(source: str, *, split: str = "", seed: int = 0, count: int | None = None) -> Examples:
    """Open a data set: ``"tabletop"`` (rendered here) or the path of a file or folder in one of ``FORMATS``.

    ``split``: train, val, test, as the data has them; empty = all of it (of the demo world: train). ``seed``: of the
    demo world's scenes. ``count``: at most so many, drawn without repeats by ``seed`` from data on disk; None = all.
    Raises ``RejectedInput`` CONFIG_VALUE for what is no data set, or has no example in it.
    """
    if source == "tabletop":
        return tabletop.open_tabletop(split, seed, count)
    examples = _open_path(source, split)
    if not len(examples):
        raise unusable(
            f"got {source[:200]!r} without a single example ({examples.name}); annotate at least one picture"
        )
    if count is None or count >= len(examples):
        return examples
    chosen = np.random.default_rng(seed).permutation(len(examples))[:count]
    return Selection(examples, sorted(int(n) for n in chosen))


def _open_path(source: str, split: str) -> Examples:
    place, _, level = source.partition("::")
    try:
        path = Path(place).expanduser()
        there = bool(place) and path.exists()
    except (OSError, RuntimeError, ValueError):  # a name no system takes, the home of nobody
        there = False
    if not there:
        hint = nearest(source, ["tabletop"]) if "/" not in source and "." not in source else ""
        raise unusable(f"got the data {source[:200]!r}, and there is no such file or folder{hint}")

    rows = plain.rows_file(path, split)
    if rows is not None:
        return plain.open_plain(rows)
    if tabletop.is_shards(path):
        return tabletop.open_shards(path)
    if huggingface.is_huggingface(path):
        return huggingface.open_huggingface(path, split)
    if path.is_dir() and reasonseg.is_reasonseg(path):
        return reasonseg.open_reasonseg(path, split)
    if coco.annotation_file(path, split) is not None:
        return coco.open_coco(path, split, level)
    raise unusable(f"got {str(path)!r}, which is none of: {'; '.join(FORMATS)}")
