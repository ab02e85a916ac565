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

from export.self_test.main import FAR, shows_all
from segzero_ros.answer import Target
from segzero_ros.backends import EngineOptions, open_pipeline, open_reasoner
from segzero_ros.backends.fake import FakeReasoner, FakeSegmenter, RaisingReasoner
from segzero_ros.backends.remote.fallback import COOL_S, FallbackReasoner
from segzero_ros.backends.remote.http import ServerFault
from segzero_ros.backends.self_test import (
    FilledBoxes,
    check_coordinates,
    check_served,
    drawn_self_test,
    fault_named,
    read_self_test,
)
from segzero_ros.backends.served import as_rendered
from segzero_ros.bundle import MANIFEST, Bundle, hash_file, open_bundle, resolve_bundle
from segzero_ros.command import read_command
from segzero_ros.errors import ANSWERED, Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from segzero_ros.reasoner import Answer, Reasoner, Request
from segzero_ros.segmenter import Masks

BUNDLE = open_bundle(resolve_bundle("tabletop"))
GRID = 196
MUG = read_command("the red mug", "1")
BLANK = Frame(np.full((240, 320, 3), 200, np.uint8), 0)


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
        self._inner, self.numbers, self._picture = inner, numbers, picture
        self.asked = 0
        self.is_down = False

    def probe(self, *, patience_s: float | None = None) -> None:
        if self.is_down:
            raise ServerFault(Code.SERVER_UNREACHABLE, "nobody is there")

    def reason(self, request: Request) -> Answer:
        self.asked += 1
        self.probe()
        answer = self._inner.reason(replace(request, frame=self._picture(request.frame)))
        return replace(answer, text=re.sub(r"\[\d[\d, ]*\]", self._rewritten, answer.text))

    def _rewritten(self, found: re.Match[str]) -> str:
        numbers = [float(number) for number in found[0].strip("[]").split(",")]
        return json.dumps([round(number) for number in self.numbers(numbers)])


def pairs_swapped(numbers: list[float]) -> list[float]:
    return [numbers[at ^ 1] for at in range(len(numbers))]


def padded(frame: Frame, share: float = 0.5) -> Frame:
    """The picture with its aspect kept, as many processors do; ``share``: of the padding, above it."""
    height, width = frame.rgb.shape[:2]
    missing = max(0, width - height)
    above = round(missing * share)
    rgb = cv2.copyMakeBorder(frame.rgb, above, missing - above, 0, 0, cv2.BORDER_CONSTANT)
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
        ({"picture": padded}, "aspect and pads it on both sides"),
        ({"picture": lambda frame: padded(frame, share=0)}, "aspect and pads it on one side"),
    ],
)
def test_each_fault_is_refused_by_its_name_with_what_was_seen_and_expected(pipeline, fault, words):
    with pytest.raises(RejectedInput, match=words) as refused:
        check_coordinates(with_reasoner(pipeline, Faulty(pipeline.reasoner, **fault)), BUNDLE)
    assert refused.value.code is Code.ENGINE_COORDINATES
    assert re.search(r"asked for 'the \w+', got .*, want \[\d+, \d+, \d+, \d+\]; it looks", refused.value.detail)


def damaged(folder: Path, bits: int) -> Bundle:
    """The demo bundle with the decoder's products in so many bits, one scale per matrix: too coarse at 3."""
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


def test_weights_damaged_by_three_bits_are_refused_and_eight_bits_pass(tmp_path):
    fine, coarse = damaged(tmp_path / "eight", 8), damaged(tmp_path / "three", 3)
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
        self._scale = grid[0] / 640, grid[1] / 320
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


class KnowsNothing(FakeReasoner):
    """A server whose model was trained on one world, without such shapes."""

    is_remote = True


def test_drawn_shapes_are_held_against_a_published_model_that_does_not_find_them_and_no_other():
    before, published = dataclasses.replace(BUNDLE, self_test={}), get_profile("abstaining_v2")
    with pytest.raises(RejectedInput, match="no known grid explains it"):
        check_coordinates(Pipeline(published, KnowsNothing(), FakeSegmenter()), before)
    own = replace(published, prompt="Find {question}.")
    assert "0 of 3 drawn shapes found" in check_coordinates(Pipeline(own, KnowsNothing(), FakeSegmenter()), before)
    with pytest.raises(RejectedInput, match="grid of 0-1000"):
        check_coordinates(Pipeline(own, KnowsShapes((1000, 1000)), FakeSegmenter()), before)


def test_a_server_that_fails_is_not_asked_again_where_the_local_bundle_may_answer(pipeline):
    server = Faulty(pipeline.reasoner, numbers=pairs_swapped)
    reasoner = FallbackReasoner(server, lambda: pipeline.reasoner)
    both = with_reasoner(pipeline, reasoner)
    assert "the server is not asked" in check_coordinates(both, BUNDLE)
    assert "swaps x and y" in both.degraded_reason
    assert both.ground(BLANK, MUG).code in ANSWERED
    assert server.asked == 1


def test_a_server_that_was_mended_is_asked_again_once_it_passes(pipeline):
    now = [0]
    server = Faulty(pipeline.reasoner, numbers=pairs_swapped)
    both = with_reasoner(pipeline, FallbackReasoner(server, lambda: pipeline.reasoner, now=lambda: now[0]))
    check_coordinates(both, BUNDLE)
    now[0] += int(COOL_S * 1e9)
    both.ground(BLANK, MUG)
    assert (server.asked, "swaps x and y" in both.degraded_reason) == (2, True)  # the test's question, not the command
    server.numbers = list
    now[0] += int(2 * COOL_S * 1e9)
    both.ground(BLANK, MUG)
    assert (server.asked, both.degraded_reason) == (4, "")
    both.ground(BLANK, MUG)
    assert server.asked == 5


def test_a_server_that_comes_back_in_another_grid_gets_no_command(pipeline):
    now = [0]
    server = Faulty(pipeline.reasoner, numbers=lambda numbers: [n / 2 for n in numbers])
    server.is_down = True
    both = with_reasoner(pipeline, FallbackReasoner(server, lambda: pipeline.reasoner, now=lambda: now[0]))
    assert "nobody is there" in check_coordinates(both, BUNDLE)
    server.is_down = False
    now[0] += int(COOL_S * 1e9)
    found = both.ground(read_self_test(BUNDLE).frame, read_command("the plant", "1"))
    assert "half its size" in both.degraded_reason
    assert found.instances[0].box == pytest.approx((209, 73, 254, 143), abs=8)


def test_a_command_that_is_cancelled_while_a_server_is_judged_leaves_it_unjudged(pipeline):
    now = [0]
    server = Faulty(pipeline.reasoner, numbers=pairs_swapped)
    both = with_reasoner(pipeline, FallbackReasoner(server, lambda: pipeline.reasoner, now=lambda: now[0]))
    check_coordinates(both, BUNDLE)
    now[0] += int(COOL_S * 1e9)
    assert both.ground(BLANK, MUG, cancelled=lambda: server.asked > 1).code is Code.CANCELLED
    assert "swaps x and y" in both.degraded_reason
    both.ground(BLANK, MUG)
    assert (server.asked, "swaps x and y" in both.degraded_reason) == (3, True)


def test_a_right_box_with_its_point_elsewhere_is_refused(pipeline):
    astray = Faulty(pipeline.reasoner, numbers=lambda numbers: numbers if len(numbers) == 4 else [5, 5])
    with pytest.raises(RejectedInput, match=r"the point \(\d+, \d+\) lies in none"):
        check_coordinates(with_reasoner(pipeline, astray), BUNDLE)


class Specks(FilledBoxes):
    """A segmenter that finds four pixels of each object."""

    def predict(self, targets: tuple[Target, ...]) -> Masks:
        found = super().predict(targets)
        for mask, target in zip(found.masks, targets, strict=True):
            x, y = map(int, target.points[0])
            mask[:] = False
            mask[y : y + 2, x : x + 2] = True
        return found


def test_a_mask_of_a_few_pixels_is_refused(pipeline):
    with pytest.raises(RejectedInput, match="fills 0 % of them"):
        check_coordinates(Pipeline(pipeline.profile, pipeline.reasoner, Specks()), BUNDLE)


def test_a_small_thinking_budget_of_commands_is_not_the_self_tests(pipeline):
    hasty = Pipeline(pipeline.profile, pipeline.reasoner, pipeline.segmenter, budget=0)
    assert "passed" in check_coordinates(hasty, BUNDLE)


def test_an_engine_that_fails_keeps_its_own_code(pipeline):
    with pytest.raises(RejectedInput) as refused:
        check_coordinates(with_reasoner(pipeline, RaisingReasoner()), BUNDLE)
    assert refused.value.code is Code.REASONER_FAILED


def test_a_server_is_judged_by_what_its_clients_would_send():
    served = open_reasoner("onnx", as_rendered(BUNDLE), EngineOptions(threads=1))
    assert "passed" in check_served(served, BUNDLE)
    with pytest.raises(RejectedInput, match="swaps x and y"):
        check_served(Faulty(served, numbers=pairs_swapped), BUNDLE)


@pytest.mark.parametrize(
    "profile", ["seg_zero_v1", "vision_reasoner_v2", "qwen25vl_zero_shot", "qwen3vl", "qwen3vl_thinking"]
)
def test_the_drawn_shapes_show_every_fault_to_every_family(profile):
    test, grid = drawn_self_test(), get_profile(profile).coordinate_size()
    assert shows_all(test.questions, test.frame.size, grid) <= FAR


def test_the_demo_bundles_own_picture_shows_every_fault():
    test = read_self_test(BUNDLE)
    assert shows_all(test.questions, test.frame.size, BUNDLE.profile.coordinate_size()) <= FAR


def test_an_answer_that_no_known_grid_explains_is_said_to_be_so():
    profile = get_profile("vision_reasoner_v2")
    assert "no known grid" in fault_named("[700, 700, 800, 800]", ((10, 10, 50, 50),), (640, 480), profile)
    assert "no known grid" in fault_named("[1.2.3, 4, 5, 6] and no box", ((10, 10, 50, 50),), (640, 480), profile)
