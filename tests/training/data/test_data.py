"""Examples: the plain folder, what is refused and how it is said, and the profile's coordinates."""

import json
import math
import re

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.profile import get_profile
from tests.training.made_data import (
    BLUE,
    BLUE_MASK,
    HEIGHT,
    RED,
    RED_MASK,
    SIZE,
    WIDTH,
    picture,
    png,
    row,
    write_plain,
)
from training.data.base import BadRow, Example, fit_profile, profile_faults
from training.data.open import open_examples

V1, V2, ABSTAINING = (get_profile(name) for name in ("seg_zero_v1", "vision_reasoner_v2", "abstaining_v2"))


def only(folder):
    (example,) = open_examples(str(folder))
    return example


def refusal(folder, *rows):
    """What is said about the last row."""
    examples = open_examples(str(write_plain(folder, *rows)))
    with pytest.raises(BadRow) as refused:
        examples[len(examples) - 1]
    return str(refused.value)


# ---- a folder of one's own ----


def test_a_row_is_a_picture_a_question_and_boxes(tmp_path):
    example = only(write_plain(tmp_path, row("the red one", [RED, BLUE])))
    assert (example.id, example.question, example.boxes) == ("1", "the red one", (RED, BLUE))
    assert np.array_equal(example.rgb, picture())
    assert example.mask is None and example.object_masks == ()
    assert example.points == (((15, 20), (15, 25)), ((60, 45), (65, 45)))


def test_no_boxes_mean_no_such_object_and_its_mask_is_known(tmp_path):
    example = only(write_plain(tmp_path, row("the green one", [])))
    assert example.boxes == example.points == ()
    assert example.mask is not None and not example.mask.any()


def test_a_black_and_white_mask_is_one_object_and_gives_its_box_and_points(tmp_path):
    (tmp_path / "m.png").write_bytes(png((RED_MASK * 255).astype(np.uint8)))
    example = only(write_plain(tmp_path, {"image": "a.png", "question": "the red one", "mask": "m.png"}))
    assert example.boxes == (RED,)
    assert np.array_equal(example.mask, RED_MASK)
    assert all(RED_MASK[int(y), int(x)] for x, y in example.points[0])


def test_a_coloured_mask_is_one_object_per_colour_in_the_order_of_the_boxes(tmp_path):
    (tmp_path / "m.png").write_bytes(png((RED_MASK + 2 * BLUE_MASK).astype(np.uint8)))
    example = only(write_plain(tmp_path, row("both", [BLUE, RED], mask="m.png")))
    assert [mask.sum() for mask in example.object_masks] == [BLUE_MASK.sum(), RED_MASK.sum()]
    assert np.array_equal(example.object_masks[0], BLUE_MASK)
    assert np.array_equal(example.mask, RED_MASK | BLUE_MASK)


def test_one_mask_for_two_boxes_is_known_as_a_whole_only(tmp_path):
    (tmp_path / "m.png").write_bytes(png(((RED_MASK | BLUE_MASK) * 255).astype(np.uint8)))
    example = only(write_plain(tmp_path, row("both", [RED, BLUE], mask="m.png")))
    assert example.object_masks == ()
    assert np.array_equal(example.mask, RED_MASK | BLUE_MASK)


def test_points_are_one_or_two_per_box(tmp_path):
    rows = row("both", [RED, BLUE], points=[[12, 13], [60, 45]]), row(points=[[[12, 13], [18, 25]]], id="b")
    first, second = open_examples(str(write_plain(tmp_path, *rows)))
    assert first.points == (((12, 13),), ((60, 45),))
    assert second.points == (((12, 13), (18, 25)),)


def test_an_exif_orientation_is_followed(tmp_path):
    """A JPEG stored lying with the tag "turn me by 90 degrees": coordinates are those of the upright picture."""
    stored = cv2.imencode(".jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = stored[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + stored[2:]
    folder = write_plain(tmp_path, {"image": "turned.jpg", "question": "it", "boxes": [[0, 70, 60, 80]]})
    (folder / "turned.jpg").write_bytes(turned)
    assert only(folder).size == (HEIGHT, WIDTH)


def test_blank_lines_and_a_byte_order_mark_do_not_matter(tmp_path):
    write_plain(tmp_path, "\ufeff" + json.dumps(row()), "", "  ", row("another", id="x"))
    assert [example.id for example in open_examples(str(tmp_path))] == ["1", "x"]


def test_a_split_is_a_file_of_its_name(tmp_path):
    for split in ("train", "val"):
        write_plain(tmp_path, row(f"in {split}"), name=f"{split}.jsonl")
    assert open_examples(str(tmp_path), split="val")[0].question == "in val"
    assert open_examples(str(tmp_path / "train.jsonl"))[0].question == "in train"
    with pytest.raises(RejectedInput, match=r"without test.jsonl, want one of train.jsonl, val.jsonl"):
        open_examples(str(tmp_path), split="test")


def test_pictures_are_decoded_when_they_are_asked_for(tmp_path):
    examples = open_examples(str(write_plain(tmp_path, row())))
    (tmp_path / "a.png").unlink()
    with pytest.raises(BadRow, match=r"data.jsonl line 1: got the file 'a.png', which is not in"):
        examples[0]


def test_a_count_draws_rows_by_the_seed_and_keeps_their_order(tmp_path):
    write_plain(tmp_path, *(row(f"question {n}") for n in range(20)))
    drawn = [[e.question for e in open_examples(str(tmp_path), seed=s, count=6)] for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 6
    assert [int(q.split()[1]) for q in drawn[0]] == sorted(int(q.split()[1]) for q in drawn[0])
    assert len(open_examples(str(tmp_path), count=100)) == 20


# ---- what is refused, and how it is said ----


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (row("the cup", [[1, 2, 3]]), "four plain numbers"),
        (row("the cup", [[1, 2, 3, "4"]]), "four plain numbers"),
        (row("the cup", [[1, 2, True, 4]]), "four plain numbers"),
        (row("the cup", [[1, 2, 10**400, 4]]), "four plain numbers"),
        (row("the cup", points=[[10**400, 15]]), "one or two"),
        (row("the cup", [[10, 10, 10, 30]]), "without area"),
        (row("the cup", [[30, 10, 20, 30]]), "corners, not width and height"),
        (row("the cup", [[10, 10, 81, 30]]), "outside the picture of 80 x 60"),
        (row("the cup", [[-1, 10, 20, 30]]), "outside the picture"),
        (row("the cup") | {"boxes": {}}, r"want a list of \[x0, y0, x1, y1\]"),
        (row("the cup", [RED] * 65), "at most 64"),
        (row("the cup", points=[[5, 5]]), "outside its box"),
        (row("the cup", points=[[15, 15], [15, 15]]), "got 2 points for 1 boxes"),
        (row("the cup", points=[[[15, 15]] * 3]), "one or two"),
        (row("  "), "empty command"),
        (row("x" * 501), "at most 500"),
        (row(7), "want text"),
        (row() | {"image": "b.png"}, "correct the name"),
        (row() | {"image": "../a.png"}, "put a copy of it into the folder"),
        (row() | {"image": "/etc/hostname"}, "put a copy of it into the folder"),
        (row() | {"image": ""}, "want a path inside"),
        (row() | {"image": "a\0.png"}, "want a path inside"),
        (row() | {"image": "a" * 5000}, "refuses|not in"),
        (row() | {"image": "data.jsonl"}, "want JPEG or PNG"),
        ({"image": "a.png", "question": "it", "box": []}, "did you mean 'boxes'"),
        ({"image": "a.png", "question": "it"}, "got no boxes"),
        ({"question": "it", "boxes": []}, "got no image"),
        ([1, 2], "want a JSON object"),
        ("{", "no JSON at character 2"),
        ("[" * 100_000, "nobody wrote by hand|no JSON"),
        ('{"image": "a.png", "question": "it", "boxes": [[0, 0, NaN, 9]]}', "four plain numbers"),
        ('{"image": "a.png", "question": "it", "boxes": [[0, 0, 1e999, 9]]}', "four plain numbers"),
    ],
)
def test_a_bad_row_is_named_with_its_line_and_the_mend(tmp_path, bad, said):
    message = refusal(tmp_path, row(), bad)
    assert "data.jsonl line 2: " in message
    assert re.search(said, message), message
    assert "\n" not in message and len(message) < 500 + len(str(tmp_path)) * 2


def test_all_bad_boxes_of_a_row_are_named_at_once(tmp_path):
    message = refusal(tmp_path, row("it", [[1, 1, 1, 2], [0, 0, 99, 99]]))
    assert "without area" in message and "outside the picture" in message


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "secret.png").write_bytes(png(picture()))
    folder = write_plain(tmp_path / "data", row() | {"image": "link.png"})
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    assert "outside" in refusal(folder, row() | {"image": "link.png"})


@pytest.mark.parametrize(
    ("mask", "more", "said"),
    [
        (png(np.zeros((60, 79), np.uint8)), {}, "of 79 x 60 pixels, want the picture's 80 x 60"),
        (png(np.zeros((60, 80), np.uint8)), {}, "0 mask pixels"),
        (png((BLUE_MASK * 255).astype(np.uint8)), {}, r"the box \[10, 10, 20, 30\] where its mask spans"),
        (png(((RED_MASK | BLUE_MASK) * 255).astype(np.uint8)), {}, "spans|outside every box"),
        (png((RED_MASK * 255).astype(np.uint8)), {"boxes": []}, "empty both"),
        (png(RED_MASK.astype(np.uint16)), {}, "16 bits"),
        (cv2.imencode(".jpg", (RED_MASK * 255).astype(np.uint8))[1].tobytes(), {}, "want a PNG"),
        (png(np.arange(4800, dtype=np.uint32).view(np.uint8).reshape(60, 80, 4)[..., :3]), {}, "one per object"),
        (png((RED_MASK * 255).astype(np.uint8))[:60], {}, "cut short|cannot be decoded"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(tmp_path, mask, more, said):
    (tmp_path / "m.png").write_bytes(mask)
    message = refusal(tmp_path, row(mask="m.png") | more)
    assert re.search(said, message), message


def test_a_point_beside_its_mask_is_refused(tmp_path):
    triangle = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(triangle, [np.array([[10, 10], [19, 10], [10, 29]], np.int32)], 255)
    (tmp_path / "m.png").write_bytes(png(triangle))
    assert "beside its mask" in refusal(tmp_path, row(mask="m.png", points=[[18, 28]]))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-99, 999) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=8,
)
NUMBERS = st.integers(-3, 90) | st.just(10**400) | st.floats(-3, 90) | st.floats()
ROWS = st.fixed_dictionaries(
    {"image": st.just("a.png"), "question": st.just("it") | JSON},
    optional={
        "boxes": st.lists(st.lists(NUMBERS, min_size=3, max_size=5), max_size=3) | JSON,
        "points": st.lists(st.lists(NUMBERS, min_size=2, max_size=2), max_size=3) | JSON,
        "mask": st.just("m.png") | JSON,
        "id": JSON,
    },
)


def keeps_its_promise(example):
    width, height = example.size
    assert isinstance(example, Example) and example.question.strip()
    assert len(example.boxes) == len(example.points) and len(example.object_masks) in (0, len(example.boxes))
    for (x0, y0, x1, y1), points in zip(example.boxes, example.points, strict=True):
        assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
        assert 1 <= len(points) <= 2
        assert all(x0 <= x <= x1 and y0 <= y <= y1 for x, y in points)
    if example.mask is not None:
        assert example.mask.shape == (height, width) and example.mask.any() == bool(example.boxes)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(ROWS)
def test_any_row_is_an_example_or_a_bad_row(tmp_path, fields):
    (tmp_path / "m.png").write_bytes(png((RED_MASK * 255).astype(np.uint8)))
    examples = open_examples(str(write_plain(tmp_path, fields)))
    try:
        keeps_its_promise(examples[0])
    except BadRow:
        pass


@pytest.mark.parametrize("source", ["tabletopp", "no/such/folder", ""])
def test_what_is_no_data_is_refused(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RejectedInput) as refused:
        open_examples(source)
    assert refused.value.code is Code.CONFIG_VALUE


def test_a_folder_of_something_else_hears_what_is_read(tmp_path):
    (tmp_path / "holiday.txt").write_text("sun")
    with pytest.raises(RejectedInput, match=r"none of: tabletop; a folder with data.jsonl; .*ReasonSeg.*COCO"):
        open_examples(str(tmp_path))


# ---- the coordinates that the model speaks in ----


def example_of(*boxes, size=SIZE, points=None):
    given = points or tuple((((x0 + x1) / 2, (y0 + y1) / 2),) for x0, y0, x1, y1 in boxes)
    return Example("e", "it", np.zeros((size[1], size[0], 3), np.uint8), boxes, given, None)


def test_coordinates_are_scaled_to_the_profiles_frame():
    truth = fit_profile(example_of(RED), ABSTAINING)
    assert truth.size == (840, 840)
    assert truth.boxes == ((105.0, 140.0, 210.0, 420.0),)  # x * 840 / 80, y * 840 / 60
    assert truth.points == (((157.5, 280.0),),)


def test_a_relative_profile_gets_thousandths():
    truth = fit_profile(example_of(RED), get_profile("qwen3vl"))
    assert truth.size == (1000, 1000)
    assert truth.boxes[0] == pytest.approx((125.0, 1000 / 6, 250.0, 500.0))


def test_v1_gets_two_points_and_v2_one():
    one, two = ((15.0, 20.0),), ((15.0, 20.0), (16.0, 25.0))
    assert [len(fit_profile(example_of(RED, points=(one,)), profile).points[0]) for profile in (V1, V2)] == [2, 1]
    assert [len(fit_profile(example_of(RED, points=(two,)), profile).points[0]) for profile in (V1, V2)] == [2, 1]


@pytest.mark.parametrize(
    ("example", "profile", "said"),
    [
        (example_of(), V2, "vision_reasoner_v2 cannot say"),
        (example_of(), V1, "seg_zero_v1 cannot say"),
        (example_of(RED, BLUE), V1, "names one"),
        (example_of((0.0, 0.0, 3.0, 40.0), size=(800, 600)), ABSTAINING, "3.2 x 56.0 pixels once the picture is 840"),
        (example_of((0.0, 0.0, 20.0, 20.0), size=(27, 60)), ABSTAINING, "a picture of 27 x 60"),
    ],
)
def test_what_the_profile_cannot_say_or_see_is_refused(example, profile, said):
    with pytest.raises(RejectedInput, match=said):
        fit_profile(example, profile)


def test_what_the_profile_can_say_has_no_fault():
    assert profile_faults(example_of(), ABSTAINING) == profile_faults(example_of(RED, BLUE), V2) == []


def test_four_pixels_are_the_least_that_survives_rounding():
    """The docstring's bound: each corner moved by half a pixel the worst way, in both axes."""
    assert ((4 - 1) / 4) ** 2 > 0.5 > ((3.4 - 1) / 3.4) ** 2
    assert math.isclose(((4 - 1) / 4) ** 2, 0.5625)
