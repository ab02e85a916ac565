"""Masks: boxes around them, points inside them, and COCO's ways of writing them down."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segzero_ros.cli.main import main
from segzero_ros.errors import RejectedInput
from segzero_ros.matching import box_of_mask
from tests.training.made_data import RED, RED_MASK, SIZE, polygon, runs
from training.data.masks import (
    decode_runs,
    decode_segmentation,
    fill_polygon,
    inscribed_points,
    pieces_of_mask,
    points_in_box,
)

MASKS = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(lambda shape: arrays(bool, shape))


def mask_of(*lines):
    return np.array([[character == "#" for character in line] for line in lines])


# ---- boxes and points ----


def test_a_box_ends_just_beyond_the_last_pixel():
    assert box_of_mask(RED_MASK) == RED
    with pytest.raises(ValueError, match="empty"):
        box_of_mask(np.zeros((3, 3), bool))


def test_the_first_point_of_a_bar_is_in_its_middle_and_the_second_towards_an_end():
    bar = np.zeros((9, 40), bool)
    bar[2:7, 5:36] = True  # columns 5..35, rows 2..6: the middle of pixel (20, 4) is (20.5, 4.5)
    (x, y), (other_x, other_y) = inscribed_points(bar)
    assert (x, y) == (20.5, 4.5)
    assert abs(other_x - 20.5) > 7 and other_y == 4.5


def test_the_points_of_a_ring_are_on_the_ring():
    rows, columns = np.mgrid[:41, :41] - 20
    ring = (np.hypot(rows, columns) < 19) & (np.hypot(rows, columns) > 9)
    assert all(ring[int(y), int(x)] for x, y in inscribed_points(ring))


def test_a_single_pixel_has_its_middle_twice():
    assert inscribed_points(mask_of("...", "..#")) == ((2.5, 1.5), (2.5, 1.5))


def test_the_border_of_the_picture_is_an_edge():
    half = np.zeros((20, 20), bool)
    half[:, :7] = True  # cut off at the left: the largest circle still has to fit into what can be seen
    assert inscribed_points(half)[0][0] == 3.5


@given(MASKS.filter(np.any))
def test_points_are_pixels_of_the_mask_and_inside_its_box(mask):
    x0, y0, x1, y1 = box_of_mask(mask)
    assert mask[int(y0) : int(y1), int(x0) : int(x1)].sum() == mask.sum()
    assert mask[int(y0)].any() and mask[int(y1) - 1].any() and mask[:, int(x0)].any() and mask[:, int(x1) - 1].any()
    for x, y in inscribed_points(mask):
        assert x % 1 == y % 1 == 0.5
        assert mask[int(y), int(x)]
        assert x0 < x < x1 and y0 < y < y1


@given(MASKS.filter(np.any))
def test_no_circle_inside_the_mask_is_larger_than_the_first_points(mask):
    """Slow reference: the distance of every pixel of the mask to the nearest pixel that is none of it."""
    padded = np.pad(mask, 1)
    outside = np.argwhere(~padded)
    radius = {(r, c): np.hypot(*(outside - (r, c)).T).min() for r, c in np.argwhere(padded)}
    (x, y), _ = inscribed_points(mask)
    assert radius[int(y) + 1, int(x) + 1] == pytest.approx(max(radius.values()), abs=1e-3)


def test_a_box_alone_gives_its_middle_and_a_point_along_its_longer_side():
    assert points_in_box((0, 0, 40, 10)) == ((20, 5), (30, 5))
    assert points_in_box((0, 0, 10, 40)) == ((5, 20), (5, 30))


def test_pieces_are_connected_over_corners_ordered_from_the_left_and_specks_are_none():
    mask = np.zeros((30, 60), bool)
    mask[5:15, 40:50] = mask[5:15, 10:20] = mask[15:20, 20:25] = True  # the last two touch at a corner
    mask[0, 59] = True  # 1 of 226 pixels
    assert [box_of_mask(piece) for piece in pieces_of_mask(mask)] == [(10, 5, 25, 20), (40, 5, 50, 15)]


# ---- run lengths ----


def test_run_lengths_go_down_the_columns_and_start_outside():
    # columns of 3: .##  #..  ...
    for counts in ([1, 3, 5], "135", b"135"):
        assert decode_runs(counts, (3, 3)).tolist() == mask_of(".#.", "#..", "#..").tolist()
    assert decode_runs([0, 3, 6], (3, 3)).tolist() == mask_of("#..", "#..", "#..").tolist()


def pack(counts):
    """COCO's compression, the slow way round."""
    text = ""
    for n, count in enumerate(counts):
        value = count - counts[n - 2] if n > 2 else count
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + (bits | 32 * more))
    return text


@given(MASKS)
def test_masks_survive_run_lengths_plain_and_compressed(mask):
    size = mask.shape[1], mask.shape[0]
    for counts in (runs(mask), pack(runs(mask))):
        value = {"size": [mask.shape[0], mask.shape[1]], "counts": counts}
        assert np.array_equal(decode_segmentation(value, size), mask)


@pytest.mark.parametrize(
    "counts",
    [
        [],
        [1, 2],
        [1, 3, 6],
        "",
        "12",
        "136",
        [-1, 10],
        [1e9],
        [True] * 9,
        "zzz\x00",
        "é",
        "ooooooooooooooo",
        {},
        None,
        [10**30],
        "o" * 9999,
    ],
)
def test_run_lengths_that_are_none_are_refused(counts):
    with pytest.raises(RejectedInput):
        decode_segmentation({"size": [3, 3], "counts": counts}, (3, 3))


@given(st.lists(st.integers(0, 9), max_size=9))
def test_run_lengths_that_do_not_cover_the_picture_exactly_are_refused(counts):
    """Empty runs are none the worse; pycocotools itself would fill what is left with whatever was in memory."""
    for value in (counts, pack(counts)):
        try:
            mask = decode_segmentation({"size": [4, 5], "counts": value}, (5, 4))
        except RejectedInput:
            assert sum(counts) != 20
        else:
            assert sum(counts) == 20 and mask.sum() == sum(counts[1::2])


@given(st.text(st.characters(max_codepoint=300), max_size=40))
def test_any_text_is_run_lengths_or_refused(text):
    try:
        mask = decode_segmentation({"size": [5, 4], "counts": text}, (4, 5))
    except RejectedInput:
        return
    assert mask.shape == (5, 4)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(RejectedInput, match="want the picture's"):
        decode_segmentation({"size": [80, 60], "counts": [4800]}, SIZE)


# ---- polygons ----


def test_a_polygon_fills_the_pixels_whose_middle_it_holds():
    assert np.array_equal(fill_polygon(polygon(RED), SIZE), RED_MASK)
    third = fill_polygon(polygon((1.4, 1.6, 3.6, 3.4)), (5, 5))  # middles 1.5, 2.5, 3.5 across, 2.5 down
    assert np.argwhere(third).tolist() == [[2, 1], [2, 2], [2, 3]]


def test_two_polygons_are_one_object_and_what_lies_outside_is_cut_off():
    both = decode_segmentation([polygon((-5, -5, 3, 2)), polygon((4, 0, 9, 1))], (6, 4))
    assert both.tolist() == mask_of("###.##", "###...", "......", "......").tolist()


@given(st.lists(st.tuples(st.floats(-5, 15), st.floats(-5, 15)), min_size=3, max_size=7))
def test_a_polygon_equals_the_ray_from_every_pixel_that_is_not_on_its_outline(corners):
    """Slow reference: half a pixel or more away from every edge, COCO's rounding to fifths cannot matter."""
    filled = fill_polygon([value for corner in corners for value in corner], (10, 8))
    edges = [(np.array(start), np.array(end)) for start, end in zip(corners, corners[1:] + corners[:1], strict=True)]
    for row in range(8):
        for column in range(10):
            middle = np.array([column + 0.5, row + 0.5])
            if min(distance(middle, *edge) for edge in edges) > 0.5:
                assert filled[row, column] == (sum(left_of(middle, *edge) for edge in edges) % 2 == 1)


def distance(point, start, end):
    along = end - start
    share = np.clip(np.dot(point - start, along) / max(np.dot(along, along), 1e-12), 0, 1)
    return np.hypot(*(point - start - share * along))


def left_of(point, start, end):
    """Whether the edge crosses the ray from the point to the left."""
    if (start[1] <= point[1]) == (end[1] <= point[1]):
        return False
    return start[0] + (point[1] - start[1]) * (end[0] - start[0]) / (end[1] - start[1]) <= point[0]


def test_a_slanting_outline_is_rounded_as_cocos_tool_does():
    """Written down from pycocotools; plain geometry takes other pixels at the edge."""
    drawn = mask_of("......", "......", "......", "......", ".##...", "####..", "..###.", ".....#")
    assert np.array_equal(fill_polygon([6, 8, 0, 6, 2, 4], (6, 8)), drawn)


def test_an_outline_without_end_is_refused():
    with pytest.raises(RejectedInput, match="draw a simpler one"):
        fill_polygon([0, 0, 9e5, 9e5] * 4, (10, 10))


@pytest.mark.parametrize(
    "value", [[], [[]], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5]], [["a"] * 6], [[1e9] * 6], [[float("nan")] * 6], 5, None, "x"]
)
def test_what_is_no_outline_is_refused(value):
    with pytest.raises(RejectedInput):
        decode_segmentation(value, SIZE)


def test_outlines_without_pycocotools_are_one_line_that_says_what_to_install(tmp_path, monkeypatch, capsys):
    file = tmp_path / "instances.json"
    outlined = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [polygon(RED)]}
    file.write_text(json.dumps({"images": [], "annotations": [outlined], "categories": []}))
    monkeypatch.setattr("training.data.coco.missing", list)
    assert main(["data", "check", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pycocotools" in line and line.endswith("pip install -r requirements/offline.txt")
