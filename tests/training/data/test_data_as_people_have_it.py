"""Folders as people have them: groups, capitals, accents from a Mac, stray files, rounded boxes, nothing annotated."""

import json
import unicodedata

import cv2
import numpy as np
import pytest

from segzero_ros.cli.main import main
from segzero_ros.errors import RejectedInput
from training.data.open import open_examples

SIZE = (90, 70)  # width, height
SQUARE = [[5, 5], [25, 5], [25, 25], [5, 25]]
OTHER = [[40, 30], [60, 30], [60, 50], [40, 50]]


def picture(ending=".png"):
    return cv2.imencode(ending, np.full((SIZE[1], SIZE[0], 3), 120, np.uint8))[1].tobytes()


def shape(label, points, kind="polygon", group=None):
    return {"label": label, "points": points, "shape_type": kind, "group_id": group, "flags": {}}


def labelme(folder, *shapes, name="shelf.png", stem="shelf"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(picture())
    value = {"version": "5.8.1", "flags": {}, "shapes": list(shapes), "imagePath": name, "imageData": None}
    (folder / f"{stem}.json").write_text(json.dumps(value))
    return str(folder)


def test_polygons_of_one_group_are_one_object_and_the_others_each_their_own(tmp_path):
    shapes = [
        shape("the pan", SQUARE, group=3),
        shape("the pan", OTHER, group=3),
        shape("the pan", [[70, 5], [80, 5], [80, 20]]),
    ]
    (example,) = open_examples(labelme(tmp_path / "a", *shapes))
    assert len(example.boxes) == len(example.object_masks) == 2
    assert example.boxes[0] == (5, 5, 60, 50) and example.object_masks[0].sum() == 2 * 400


def test_groups_of_two_labels_with_one_number_are_two_objects(tmp_path):
    first, second = open_examples(labelme(tmp_path / "a", shape("x", SQUARE, group=0), shape("y", OTHER, group=0)))
    assert (len(first.boxes), len(second.boxes)) == (1, 1)


@pytest.mark.parametrize("group", [None, 1])
def test_a_polygon_and_a_rectangle_of_one_label_are_boxes(tmp_path, group):
    shapes = [shape("it", OTHER, group=group), shape("it", [[25, 25], [5, 5]], "rectangle", group)]
    (example,) = open_examples(labelme(tmp_path / "a", *shapes))
    assert example.boxes == (((5, 5, 60, 50),) if group else ((40, 30, 60, 50), (5, 5, 25, 25)))
    assert example.mask is None


def test_a_rectangle_may_have_all_four_corners(tmp_path):
    (example,) = open_examples(labelme(tmp_path / "a", shape("it", SQUARE, "rectangle")))
    assert example.boxes == ((5, 5, 25, 25),)


@pytest.mark.parametrize("name", ["shelf.PNG", "shelf.JPG", "shelf.Jpg", "shelf.JPEG", "shelf.jPeG"])
def test_endings_are_read_in_any_case(tmp_path, name):
    (example,) = open_examples(labelme(tmp_path / "a", shape("it", SQUARE), name=name))
    assert example.boxes == ((5, 5, 25, 25),)


@pytest.mark.parametrize("stray", ["aaa.json", "zzz.json"])
@pytest.mark.parametrize("text", ['{"made": "by me"}', "[1, 2]", "no json", '{"shapes": [], "text": 3}'])
def test_a_stray_json_file_is_no_row(tmp_path, stray, text):
    folder = labelme(tmp_path / "a", shape("it", SQUARE))
    (tmp_path / "a" / stray).write_text(text)
    assert [example.question for example in open_examples(folder)] == ["it"]


def test_a_stray_json_file_does_not_hide_reasonseg(tmp_path):
    for n in range(5):
        (tmp_path / f"{n}.json").write_text('{"note": 1}')
    (tmp_path / "x.json").write_text(json.dumps({"text": ["what holds tea"], "shapes": [shape("target", SQUARE)]}))
    (tmp_path / "x.JPG").write_bytes(picture(".jpg"))
    assert [example.question for example in open_examples(str(tmp_path))] == ["what holds tea"]


@pytest.mark.parametrize(("there", "typed"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_are_found_however_their_accents_are_written(tmp_path, there, typed):
    on_disk, written = (unicodedata.normalize(form, "Küche/Löffel é.png") for form in (there, typed))
    (tmp_path / "plain" / on_disk).parent.mkdir(parents=True)
    (tmp_path / "plain" / on_disk).write_bytes(picture())
    row = {"image": written, "question": "the spoon", "boxes": [[5, 5, 25, 25]]}
    (tmp_path / "plain" / "data.jsonl").write_text(json.dumps(row))
    coco = {"images": [{"id": 1, "file_name": written}], "categories": [{"id": 1, "name": "spoon"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20]}]}  # fmt: skip
    (tmp_path / "coco").mkdir()
    (tmp_path / "plain" / on_disk).parent.rename(tmp_path / "coco" / on_disk.partition("/")[0])
    (tmp_path / "coco" / "instances.json").write_text(json.dumps(coco))
    assert open_examples(str(tmp_path / "coco"))[0].boxes == ((5, 5, 25, 25),)
    (tmp_path / "coco" / on_disk).parent.rename(tmp_path / "plain" / on_disk.partition("/")[0])
    assert open_examples(str(tmp_path / "plain"))[0].boxes == ((5, 5, 25, 25),)
    stem, file = (unicodedata.normalize(form, "Löffel") for form in (typed, there))
    labels = labelme(tmp_path / "labels", shape("it", SQUARE), name=f"{file}.png", stem=stem)
    assert open_examples(labels)[0].boxes == ((5, 5, 25, 25),)


def one_box(folder, box):
    folder.mkdir(exist_ok=True)
    (folder / "a.png").write_bytes(picture())
    (folder / "data.jsonl").write_text(json.dumps({"image": "a.png", "question": "it", "boxes": [box]}))
    return open_examples(str(folder))[0].boxes


@pytest.mark.parametrize("excess", [1e-13, 0.003, 0.5, 0.99])
def test_a_box_rounded_beyond_the_border_ends_at_it(tmp_path, excess):
    width, height = SIZE
    box = [-excess, -excess, width + excess, height + excess]
    assert one_box(tmp_path / "a", box) == ((0, 0, width, height),)


@pytest.mark.parametrize("box", [[10, 10, 91.5, 30], [-1.01, 0, 20, 20], [90, 5, 90.5, 20], [10, -0.9, 20, -0.1]])
def test_a_box_further_out_or_outside_altogether_is_refused(tmp_path, box):
    with pytest.raises(RejectedInput, match="outside the picture of 90 x 70"):
        one_box(tmp_path / "a", box)


def nothing_annotated(folder):
    (folder / "coco").mkdir(parents=True)
    (folder / "coco" / "a.png").write_bytes(picture())
    value = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "cup"}], "annotations": []}
    (folder / "coco" / "instances.json").write_text(json.dumps(value))
    (folder / "empty").mkdir()
    (folder / "empty" / "data.jsonl").write_text("\n")
    labelme(folder / "labels")
    return [folder / name for name in ("coco", "empty", "labels")]


def test_a_set_without_an_example_is_refused_in_one_line_by_check_and_evaluation(tmp_path, capsys):
    for folder in nothing_annotated(tmp_path / "sets"):
        for command in (["data", "check", str(folder)], ["eval", "--data", str(folder), "--backend", "fake"]):
            assert main(command) == 2, command
            error = capsys.readouterr().err
            assert error.count("\n") == 1 and folder.name in error, error


# ---- numbers, names and sizes ----

HUGE = 10**400  # a whole number to JSON, and more than a float holds


def refusal(source, split=""):
    """What the first row is refused for, or the whole."""
    with pytest.raises(RejectedInput) as refused:
        open_examples(source, split=split)[0]
    return refused.value.detail


@pytest.mark.parametrize("kind", ["polygon", "rectangle"])
@pytest.mark.parametrize("number", [HUGE, "7", True, float("nan"), None], ids=["huge", "text", "true", "nan", "null"])
def test_what_is_no_plain_number_is_no_corner_whatever_it_is_drawn_with(tmp_path, kind, number):
    odd = shape("it", [[1, 1], [number, 20], [30, 40], [5, 5]], kind, 1)
    beside = shape("it", [[40, 30], [60, 50]], "rectangle", 1)
    for n, shapes in enumerate([[odd], [odd, beside]]):
        assert "plain numbers" in refusal(labelme(tmp_path / str(n), *shapes))


def test_an_annotated_box_beyond_all_numbers_is_refused_by_name(tmp_path):
    assert "image 1 category 1: got the box [1.5, 0" in refusal(coco(tmp_path / "a", bbox=[1.5, 0, HUGE, 5]))


@pytest.mark.parametrize("other", ["caf\u00e9 cup ", "cafe\u0301 cup", "cafe\u0301 cup\n"])
def test_one_label_written_in_two_ways_is_one_question(tmp_path, other):
    examples = open_examples(labelme(tmp_path / "a", shape("caf\u00e9 cup", SQUARE), shape(other, OTHER)))
    assert [(example.question, len(example.boxes)) for example in examples] == [("caf\u00e9 cup", 2)]


def test_an_empty_group_is_none(tmp_path):
    (example,) = open_examples(labelme(tmp_path / "a", shape("it", SQUARE, group=""), shape("it", OTHER, group="")))
    assert len(example.boxes) == 2


def test_outlines_of_a_picture_that_was_resized_since_are_refused(tmp_path):
    folder = labelme(tmp_path / "a", shape("it", SQUARE))
    file = tmp_path / "a" / "shelf.json"
    value = json.loads(file.read_text())
    for size in (SIZE, (None, None)):
        file.write_text(json.dumps({**value, "imageWidth": size[0], "imageHeight": size[1]}))
        assert open_examples(folder)[0].boxes
    file.write_text(json.dumps({**value, "imageWidth": 2 * SIZE[0], "imageHeight": 2 * SIZE[1]}))
    assert "90 x 70 where the file says [180, 140]" in refusal(folder)


def coco(folder, **annotation):
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "shelf.png").write_bytes(picture())
    (folder / "images" / "other.png").write_bytes(picture())
    value = {
        "images": [{"id": 1, "file_name": "shelf.png"}, {"id": 2, "file_name": "other.png"}],
        "annotations": [{"id": 7, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], **annotation}],
        "categories": [{"id": 1, "name": "the tin"}],
    }
    (folder / "instances.json").write_text(json.dumps(value))
    return str(folder)


@pytest.mark.parametrize("flag", ["0", "false", 2, [0]])
def test_a_crowd_is_one_by_a_plain_flag_only(tmp_path, flag):
    assert "want 0 or 1" in refusal(coco(tmp_path / "a", iscrowd=flag))


def test_a_reference_means_objects_of_its_own_picture(tmp_path):
    folder = coco(tmp_path / "a")
    refs = [{"ref_id": 1, "ann_id": 7, "image_id": image, "sentences": [{"sent": "it"}]} for image in (1, 2)]
    (tmp_path / "a" / "refs.json").write_text(json.dumps(refs))
    examples = open_examples(folder)
    assert examples[0].boxes
    with pytest.raises(RejectedInput, match="image_id 2 and an object of 1"):
        examples[1]


# ---- rows by hand ----


def rows(folder, line):
    folder.mkdir()
    (folder / "1.png").write_bytes(picture())
    (folder / "data.jsonl").write_text(line)
    return str(folder)


def test_a_key_given_twice_is_refused_and_not_the_first_forgotten(tmp_path):
    line = '{"image": "1.png", "question": "it", "boxes": [[5, 5, 20, 20]], "boxes": [[30, 5, 60, 20]]}'
    assert "the key 'boxes' twice" in refusal(rows(tmp_path / "a", line))


def test_a_question_is_what_the_robot_will_hear(tmp_path):
    line = '{"image": "1.png", "question": "the\\n red \\ud83d mug", "boxes": [[5, 5, 20, 20]]}'
    assert open_examples(rows(tmp_path / "a", line))[0].question == "the red mug"


@pytest.mark.parametrize("source", ["~nobody-of-this-name/photos", "x" * 5000, "a/" * 3000, "", "::instances"])
def test_a_place_that_no_system_has_is_said_in_a_line(source, capsys):
    assert main(["data", "check", source]) == 2
    assert capsys.readouterr().err.count("\n") == 1
