"""A test that a bundle takes once: what shaped a training cannot judge it, so nobody looks at these answers in between.

    segzero eval --data sealed --bundle tabletop

600 template questions and 400 composed ones about scenes of seeds that nothing else uses, and 100 sentences written by
hand (``sealed.jsonl``), from terse to chatty, before any model had answered them. ``SEAL`` is a hash of all 1,100
questions: a changed generator or sentence is another test, and refused. Figures are printed and written into
``scores.jsonl``, which is part of the repository; a bundle that stands there is not asked again. Samples and pages are
not to be had. The 2,000 test commands of seed 7, the composed ones and the 100 of ``spoken.jsonl`` were looked at for
every checkpoint: they are development sets.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.data.base import Example, Examples, unusable
from training.data.tabletop import open_tabletop
from training.evaluation.record import Record
from training.evaluation.spoken import SpokenExamples
from training.evaluation.summary import scores, summarise

NAME = "sealed"
SEED = 7411
PARTS = {"template": 600, "composed": 400, "spoken": 100}
SEAL = "967255152ca3f8bf"
SENTENCES = Path(__file__).with_name("sealed.jsonl")
SCORES = Path(__file__).with_name("scores.jsonl")


class SealedExamples:
    """The parts one after the other; ``questions_hash`` is of those that were asked for so far, in order."""

    name = "tabletop, the sealed test"

    def __init__(self) -> None:
        self._parts: list[Examples] = [
            open_tabletop("test", SEED, PARTS["template"]),
            open_tabletop("test", SEED + 1, PARTS["composed"], "composed"),
            SpokenExamples(file=SENTENCES),
        ]
        self._hash = hashlib.sha256()

    @property
    def questions_hash(self) -> str:
        """Of scene, sentence and boxes of each example that was read."""
        return self._hash.hexdigest()[:16]

    def __len__(self) -> int:
        return sum(PARTS.values())

    def where(self, n: int) -> str:
        """Part and number."""
        return f"the sealed test's question {n}"

    def __getitem__(self, n: int) -> Example:
        example = self._find(n)
        boxes = [[round(edge) for edge in box] for box in example.boxes]
        self._hash.update(json.dumps([n, example.id, example.question, boxes]).encode())
        return example

    def _find(self, n: int) -> Example:
        for part in self._parts:
            if n < len(part):
                return part[n]
            n -= len(part)
        raise IndexError(n)


def refuse_a_second_time(bundle_sha256: str) -> None:
    """Raise ``RejectedInput`` with the figures that the bundle has already; the fakes ("") may try it again."""
    for row in read_scores():
        if bundle_sha256 and row["bundle_sha256"] == bundle_sha256:
            right = {part: f"{100 * figures['right']['value']:.1f} %" for part, figures in row["parts"].items()}
            said = ", ".join(f"{part} {share}" for part, share in right.items())
            raise unusable(
                f"got a bundle that took the sealed test on {row['date']}: right {said}; it is taken once, "
                f"try changes on --seed 7, --wording composed and --wording spoken ({SCORES.name} has all figures)"
            )


def read_scores() -> list[dict[str, Any]]:
    """Return what bundles have scored, in order."""
    return [json.loads(line) for line in SCORES.read_text(encoding="utf-8").splitlines()] if SCORES.exists() else []


def figures(records: Sequence[Record]) -> dict[str, Any]:
    """Return the figures of all questions and of each part."""
    parts, begin = {}, 0
    for name, count in PARTS.items():
        parts[name] = scores(records[begin : begin + count])
        begin += count
    return summarise(records) | {"parts": parts}


def write_down(about: dict[str, Any], summary: dict[str, Any], questions_hash: str) -> None:
    """Add a bundle's figures to the file; ``RejectedInput`` when the questions were not the sealed ones."""
    if questions_hash != SEAL:
        raise unusable(
            f"got questions whose hash is {questions_hash}, want {SEAL}: the generator or a sentence changed, so this "
            "is another test; draw new seeds and sentences, set SEAL, and say so in docs/evaluation.md"
        )
    if about["bundle_sha256"]:
        kept = {key: about[key] for key in ("bundle", "bundle_sha256", "backend", "date", "machine")}
        groups = {name: {"count": group["count"], "right": group["right"]} for name, group in summary["types"].items()}
        single = summary["types"].get("single object", {})
        row = kept | {"seal": SEAL, "parts": summary["parts"], "types": groups, "seen": summary["seen"]}
        row["single_object_iou_over_half"] = single.get("mask_iou_over_half")
        with SCORES.open("a", encoding="utf-8") as lines:
            print(json.dumps(row), file=lines)
