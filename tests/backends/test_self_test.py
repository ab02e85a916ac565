"""The self-test passes good engines and names what is wrong with the others: the demo bundle's own, the drawn one."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from segzero_ros.backends import EngineOptions, open_pipeline
from segzero_ros.backends.fake import FakeReasoner, FakeSegmenter
from segzero_ros.backends.remote.fallback import FallbackReasoner
from segzero_ros.backends.self_test import check_coordinates, drawn_self_test, fault_named, read_self_test
from segzero_ros.bundle import MANIFEST, Bundle, hash_file, open_bundle, resolve_bundle
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from segzero_ros.reasoner import Answer, Reasoner, Request
from segzero_ros.segmenter import Masks

BUNDLE = open_bundle(resolve_bundle("tabletop"))
GRID = 196


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return open_pipeline(BUNDLE, "onnx")


class Faulty:
    """A reasoner whose numbers, or whose picture, are not what they should be."""

    def __init__(
        self,
        inner: Reasoner,
        numbers: Callable[[list[float]], list[float]] = list,
        picture: Callable[[Frame], Frame] = lambda frame: frame,
    ) -> None:
        self._inner, self._numbers, self._picture = inner, numbers, picture

    def reason(self, request: Request) -> Answer:
        answer = self._inner.reason(replace(request, frame=self._picture(request.frame)))
        return replace(answer, text=re.sub(r"\[\d[\d, ]*\]", self._rewritten, answer.text))

    def _rewritten(self, found: re.Match[str]) -> str:
        numbers = [float(number) for number in found[0].strip("[]").split(",")]
        return json.dumps([round(number) for number in self._numbers(numbers)])


def pairs_swapped(numbers: list[float]) -> list[float]:
    return [numbers[at ^ 1] for at in range(len(numbers))]


def padded(frame: Frame) -> Frame:
    """The picture with its aspect kept, as many processors do."""
    height, width = frame.rgb.shape[:2]
    missing = max(0, width - height)
    rgb = cv2.copyMakeBorder(frame.rgb, missing // 2, missing - missing // 2, 0, 0, cv2.BORDER_CONSTANT)
    return Frame(np.ascontiguousarray(rgb), 0)


def with_reasoner(pipeline: Pipeline, reasoner: Reasoner) -> Pipeline:
    return Pipeline(pipeline.profile, reasoner, pipeline.segmenter)


@pytest.mark.parametrize(
    "options", [{}, {"threads": 1}, {"draft_tokens": 4}, {"constrained": False}, {"encode_ahead": False}]
)
def test_good_engines_pass(options):
    said = check_coordinates(open_pipeline(BUNDLE, "onnx", options=EngineOptions(**options)), BUNDLE)
    assert re.fullmatch(r"self-test passed, 3 questions in \d+\.\d\d s", said)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"numbers": lambda numbers: [n * 1000 / GRID for n in numbers]}, "grid of 0-1000"),
        ({"numbers": pairs_swapped}, "swaps x and y"),
        ({"numbers": lambda numbers: [n / 2 for n in numbers]}, "half its size"),
        (
            {"numbers": lambda numbers: [n * (320, 240)[at % 2] / GRID for at, n in enumerate(numbers)]},
            "camera's pixels",
        ),
        ({"picture": padded}, "keeps the picture's aspect"),
    ],
)
def test_each_fault_is_refused_by_its_name_with_what_was_seen_and_expected(pipeline, fault, words):
    with pytest.raises(RejectedInput, match=words) as refused:
        check_coordinates(with_reasoner(pipeline, Faulty(pipeline.reasoner, **fault)), BUNDLE)
    assert refused.value.code is Code.ENGINE_COORDINATES
    assert re.search(r"asked for 'the \w+', got .*, want \[\d+, \d+, \d+, \d+\]; it looks", refused.value.detail)


def damaged(folder: Path, bits: int) -> Bundle:
    """The demo bundle with the decoder's products in so many bits, one scale per matrix: too coarse at 4."""
    shutil.copytree(BUNDLE.path, folder)
    path = folder / "reasoner" / "decoder.onnx"
    model = onnx.load(path, load_external_data=False)
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype in (np.float16, np.float32) and values.ndim == 2:
            step = np.abs(values.astype(np.float32)).max() / (2 ** (bits - 1) - 1)
            rounded = (np.round(values.astype(np.float32) / step) * step).astype(values.dtype)
            weight.CopyFrom(numpy_helper.from_array(rounded, weight.name))
    onnx.save(model, path)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["reasoner/decoder.onnx"] = {"sha256": hash_file(path), "bytes": path.stat().st_size}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return open_bundle(folder)


def test_weights_damaged_by_four_bits_are_refused_and_eight_bits_pass(tmp_path):
    fine, coarse = damaged(tmp_path / "eight", 8), damaged(tmp_path / "four", 4)
    assert "passed" in check_coordinates(open_pipeline(fine, "onnx"), fine)
    with pytest.raises(RejectedInput, match="self-test"):
        check_coordinates(open_pipeline(coarse, "onnx"), coarse)


class Shifted:
    """A segmenter whose masks lie beside the boxes."""

    def __init__(self, inner: FakeSegmenter) -> None:
        self._inner = inner

    def set_image(self, frame: Frame) -> None:
        self._inner.set_image(frame)

    def predict(self, targets: object) -> Masks:
        masks = self._inner.predict(targets)
        return Masks(np.roll(masks.masks, 80, axis=2), masks.scores)


def test_right_boxes_with_masks_beside_them_are_refused(pipeline):
    shifted = Pipeline(pipeline.profile, pipeline.reasoner, Shifted(pipeline.segmenter))
    with pytest.raises(RejectedInput, match="the segmenter's engine is wrong"):
        check_coordinates(shifted, BUNDLE)


def test_questions_that_are_not_answered_in_time_are_said(pipeline):
    with pytest.raises(RejectedInput, match="TIMEOUT"):
        check_coordinates(with_reasoner(pipeline, FakeReasoner("")), BUNDLE, limit_s=0.0)


def test_a_bundle_of_before_is_not_tested_and_that_is_said(pipeline):
    before = dataclasses.replace(BUNDLE, self_test={}, spelling={})
    assert "no self-test in this bundle" in check_coordinates(pipeline, before)


@pytest.mark.parametrize(
    "noted",
    [
        {"picture": "../x.png", "questions": []},
        {"picture": "self_test/picture.png", "questions": []},
        {"picture": "self_test/picture.png", "questions": [{"text": "x", "boxes": []}]},
        {"picture": "self_test/picture.png", "questions": [{"text": "x", "boxes": [[1, 2, 3]]}]},
        {"picture": "self_test/picture.png", "questions": [{"text": 3, "boxes": [[1, 2, 3, 4]]}]},
        {"picture": "self_test/picture.png"},
    ],
)
def test_a_self_test_that_is_none_is_a_fault_of_the_bundle(noted):
    with pytest.raises(RejectedInput) as refused:
        read_self_test(dataclasses.replace(BUNDLE, self_test=noted))
    assert refused.value.code is Code.BUNDLE_FORMAT


class KnowsShapes(FakeReasoner):
    """A server that finds the drawn shapes, in a grid of its own."""

    is_remote = True

    def __init__(self, grid: tuple[float, float]) -> None:
        super().__init__("")
        self._scale = grid[0] / 640, grid[1] / 480
        self._boxes = {one.text: one.boxes[0] for one in drawn_self_test().questions}

    def reason(self, request: Request) -> Answer:
        box = [round(side * self._scale[at % 2]) for at, side in enumerate(self._boxes[request.command.text])]
        middle = [(box[0] + box[2]) // 2, (box[1] + box[3]) // 2]
        found = json.dumps([{"bbox_2d": box, "point_2d": middle}])
        return Answer(f"<think>There.</think><answer>{found}</answer>", 9, 1.0, {}, "stop")


def test_a_server_whose_bundle_has_no_test_gets_the_drawn_one():
    before, profile = dataclasses.replace(BUNDLE, self_test={}), get_profile("vision_reasoner_v2")
    grid = profile.coordinate_size()
    assert "passed" in check_coordinates(Pipeline(profile, KnowsShapes(grid), FakeSegmenter()), before)
    wrong = Pipeline(profile, KnowsShapes((1000, 1000)), FakeSegmenter())
    with pytest.raises(RejectedInput, match="grid of 0-1000"):
        check_coordinates(wrong, before)


def test_a_server_that_fails_is_not_asked_again_where_the_local_bundle_may_answer(pipeline):
    server = Faulty(pipeline.reasoner, numbers=pairs_swapped)
    reasoner = FallbackReasoner(server, lambda: pipeline.reasoner)
    both = with_reasoner(pipeline, reasoner)
    assert "the server failed its self-test" in check_coordinates(both, BUNDLE)
    assert "swaps x and y" in both.degraded_reason
    assert "passed" in check_coordinates(both, BUNDLE)


def test_an_answer_that_no_known_grid_explains_is_said_to_be_so():
    profile = get_profile("vision_reasoner_v2")
    assert "no known grid" in fault_named("[700, 700, 800, 800]", ((10, 10, 50, 50),), (640, 480), profile)
    assert "no known grid" in fault_named("[1.2.3, 4, 5, 6] and no box", ((10, 10, 50, 50),), (640, 480), profile)
