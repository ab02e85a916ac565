"""Put into a bundle what its engines are checked by when they are opened, and how its reasoner spells its answers.

    python -m export.self_test BUNDLE        (`segzero export` does it for a new one)

The self-test is one picture and a few questions with known boxes that this bundle answers well, chosen so that every
known fault (another grid, swapped axes, another size, a kept aspect) puts at least one box far from where it must be. A
bundle of the demo world gets one of its pictures; any other the drawn shapes, with those of them that it finds. The
spelling is white space and quotes as all of its own answers have them. Weights and graphs stay as they are.
"""

import argparse
import collections
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segzero_ros.backends import open_pipeline
from segzero_ros.backends.decoding.grammar import AnswerGrammar
from segzero_ros.backends.self_test import FAULTS, PICTURE, Question, SelfTest, drawn_self_test
from segzero_ros.bundle import MANIFEST, Bundle, open_bundle, open_named_bundle
from segzero_ros.cli.parser import NOT_OK, OK, Parser, explain, refuse
from segzero_ros.command import read_command
from segzero_ros.errors import RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.matching import Box, box_iou, box_of_mask
from segzero_ros.pipeline import Pipeline, Segmentation
from segzero_ros.reasoner import CLOSE

QUESTIONS = 3
SCENES = 40  # pictures of the demo world to choose from
SIZE = (320, 240)
WELL = 0.8  # IoU of the boxes that are taken: other engines may differ by a few pixels
FAR = 0.35  # IoU that a fault may leave to the box that shows it
SAME = 0.9  # of all answers, that spell a slot alike


class NoSelfTest(Exception):
    """The bundle answers too few questions well; the text says how many."""


def add_self_test(path: Path) -> Bundle:
    """Write self-test and spelling into the bundle in ``path`` and return it; ``NoSelfTest``, ``RejectedInput``."""
    bundle = open_bundle(path)
    pipeline = open_pipeline(bundle, "onnx")
    answers: list[Segmentation] = []
    test = choose(pipeline, bundle, answers)
    spelling = learn_spelling(bundle, answers)
    questions = [{"text": one.text, "boxes": [list(map(float, box)) for box in one.boxes]} for one in test.questions]
    keys = {"self_test": {"picture": PICTURE, "questions": questions}, "spelling": spelling}
    amend(path, keys, {PICTURE: cv2.imencode(".png", test.frame.rgb[:, :, ::-1])[1].tobytes()})
    return open_bundle(path)


def amend(path: Path, keys: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Set ``keys`` of a manifest and put ``files`` into the bundle; all of it is on the disk before any is renamed."""
    manifest = json.loads((path / MANIFEST).read_text("utf-8"))
    listed = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()}
    manifest |= {**keys, "files": dict(sorted({**manifest["files"], **listed}.items()))}
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    contents = {**files, MANIFEST: text.encode("utf-8")}
    partial = {name: path / f".{Path(name).name}.partial" for name in contents}
    try:
        for name, data in contents.items():
            partial[name].write_bytes(data)
        for name, file in partial.items():
            (path / name).parent.mkdir(exist_ok=True)
            file.replace(path / name)
    finally:
        for file in partial.values():
            file.unlink(missing_ok=True)


def choose(pipeline: Pipeline, bundle: Bundle, answers: list[Segmentation]) -> SelfTest:
    """Return the picture whose questions show every fault best; each answer is appended to ``answers``."""
    best: tuple[float, SelfTest] | None = None
    most = 0
    for test in candidates(bundle):
        right = [one for one in test.questions if _is_answered_well(pipeline, test.frame, one, answers)]
        most = max(most, len(right))
        for questions in itertools.combinations(right, QUESTIONS):
            worst = shows_all(questions, test.frame.size, pipeline.profile.coordinate_size())
            if worst <= FAR and (best is None or worst < best[0]):
                best = worst, SelfTest(test.frame, questions)
    if best is None:
        raise NoSelfTest(f"{bundle.name} answers {most} questions well at most, want {QUESTIONS} that show every fault")
    return best[1]


def candidates(bundle: Bundle) -> Iterator[SelfTest]:
    """Return pictures to choose from: of the demo world for its bundles, else the drawn one."""
    if not _is_of_the_demo_world(bundle):
        yield drawn_self_test()
        return
    from segzero_ros.tabletop.language.instructions import instructions
    from segzero_ros.tabletop.render import Renderer
    from segzero_ros.tabletop.sampling import sample_scene

    with Renderer(*SIZE) as renderer:
        for seed in range(SCENES):
            view = renderer.render(sample_scene(seed, "val"))
            asked = instructions(view, seed, "val", types=("attribute", "several"))
            found = [Question(one.text, tuple(box_of_mask(view.labels == id) for id in one.targets)) for one in asked]
            yield SelfTest(Frame(view.rgb, 0), tuple({one.boxes: one for one in found}.values()))


def _is_of_the_demo_world(bundle: Bundle) -> bool:
    """Whether the bundle says so, or its checkpoint has the note of our own trainings, which know nothing else."""
    notes = bundle.provenance
    return "demo world" in str(notes.get("world", {}).get("name", "")) or "recipe" in notes.get("reasoner", {}).get(
        "training", {}
    )


def _is_answered_well(pipeline: Pipeline, frame: Frame, question: Question, answers: list[Segmentation]) -> bool:
    result = pipeline.ground(frame, read_command(question.text, "self-test"))
    answers.append(result)
    is_single = len(result.instances) == len(question.boxes) == 1
    return is_single and box_iou(result.instances[0].box, question.boxes[0]) >= WELL


def shows_all(questions: Sequence[Question], picture: tuple[int, int], grid: tuple[int, int]) -> float:
    """Return the IoU that the fault which shows least leaves to the box that shows it best."""
    scale = (grid[0] / picture[0], grid[1] / picture[1])
    boxes = [tuple(side * scale[at % 2] for at, side in enumerate(box)) for one in questions for box in one.boxes]
    right: list[Box] = [(box[0], box[1], box[2], box[3]) for box in boxes]
    same = [fault(box, grid, picture) for fault in FAULTS.values() for box in right[:1]]
    real = [fault for fault, moved in zip(FAULTS.values(), same, strict=True) if not np.allclose(moved, right[0])]
    return max(min(box_iou(fault(box, grid, picture), box) for box in right) for fault in real)


def learn_spelling(bundle: Bundle, answers: Iterable[Segmentation]) -> dict[str, str]:
    """Return how nearly all of the bundle's answers are spelled, slot by slot; {} for a profile without a grammar."""
    if not bundle.profile.tags:
        return {}
    seen: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for answer in answers:
        grammar = AnswerGrammar(bundle.profile)
        text = answer.text
        grammar.learn(grammar.start, text[text.rfind(CLOSE) :] if CLOSE in text else "")
        for slot, spelled in grammar.spelling.items():
            seen[slot][spelled] += 1
    common = {slot: counts.most_common(1)[0] for slot, counts in seen.items()}
    return {slot: spelled for slot, (spelled, n) in sorted(common.items()) if n >= SAME * seen[slot].total()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Add them from the command line."""
    parser = Parser("python -m export.self_test", __doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("bundle", help="a bundle's directory or name")
    options = parser.parse_args(arguments)
    try:
        bundle = add_self_test(open_named_bundle(options.bundle).path)
    except NoSelfTest as error:
        print(f"{parser.prog}: {error}")
        return NOT_OK
    except OSError as error:
        return refuse(parser.prog, explain(error, f"the bundle {options.bundle}"))
    except RejectedInput as error:
        return refuse(parser.prog, str(error))
    for question in bundle.self_test["questions"]:
        print(f"{question['text']}: {question['boxes']}")
    print(f"spelling: {dict(bundle.spelling)}")
    return OK
