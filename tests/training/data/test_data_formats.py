"""The same two rectangles in COCO's, RefCOCO's, ReasonSeg's and our own formats, against truth by hand."""

import json
import re

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segzero_ros.errors import RejectedInput
from tests.training.made_data import (
    BLUE,
    BLUE_MASK,
    HEIGHT,
    RED,
    RED_MASK,
    SIZE,
    WIDTH,
    annotations,
    picture,
    png,
    polygon,
    references,
    shape,
    write_coco,
    write_reasonseg,
    write_scenes,
)
from training.data.base import BadRow
from training.data.open import open_examples
from training.data.reasonseg import draw_shapes
from training.data.tabletop import open_tabletop


def questions(examples):
    return [example.question for example in examples]


def refusal(examples, number):
    with pytest.raises(BadRow) as refused:
        examples[number]
    return str(refused.value)


# ---- COCO alone ----


def test_coco_asks_for_each_category_of_each_picture(tmp_path):
    examples = open_examples(str(write_coco(tmp_path / "set")))
    assert questions(examples) == ["red thing", "blue thing", "box"]
    red, blue, box = examples
    assert red.boxes == (RED,) and np.array_equal(red.mask, RED_MASK) and red.ignore is None
    assert blue.boxes == (BLUE,) and np.array_equal(blue.mask, BLUE_MASK)
    assert np.array_equal(blue.ignore, RED_MASK), "a crowd is to be ignored"
    assert box.boxes == (BLUE,) and box.mask is None, "where there is no outline the bbox is the truth"


def test_several_instances_of_a_category_are_several_objects(tmp_path):
    value = annotations()
    value["annotations"][1] |= {"category_id": 1}
    example = open_examples(str(write_coco(tmp_path / "set", value)))[0]
    assert example.boxes == (RED, BLUE)
    assert np.array_equal(example.mask, RED_MASK | BLUE_MASK)
    assert [mask.sum() for mask in example.object_masks] == [200, 200]


def test_what_is_known_not_to_be_in_a_picture_is_asked_for_and_nothing_is_meant(tmp_path):
    plain = json.loads((write_coco(tmp_path / "plain") / "instances.json").read_text())
    image = plain["images"][0] | {"neg_category_ids": [77]}
    value = plain | {
        "images": [image, *plain["images"][1:]],
        "categories": [*plain["categories"], {"id": 77, "name": "zebra"}],
    }
    folder = write_coco(tmp_path / "set", value)
    examples = open_examples(str(folder))
    assert len(examples) == len(open_examples(str(tmp_path / "plain"))) + 1
    [absent] = [examples[n] for n in range(len(examples)) if examples[n].question == "zebra"]
    assert absent.boxes == () and not absent.mask.any()
    denied = {**image, "neg_category_ids": [plain["annotations"][0]["category_id"]]}
    both = open_examples(str(write_coco(tmp_path / "both", value | {"images": [denied, *plain["images"][1:]]})))
    assert "neg_category_ids say is not in this picture" in refusal(both, 0)
    with pytest.raises(RejectedInput, match="neg_category_ids 7 of image"):
        open_examples(str(write_coco(tmp_path / "bad", value | {"images": [image | {"neg_category_ids": 7}]})))


@pytest.mark.parametrize(
    ("where", "file", "split"),
    [("annotations", "instances_default.json", ""), ("train", "_annotations.coco.json", "train")],
)
def test_the_exports_of_annotation_tools_are_found(tmp_path, where, file, split):
    """CVAT writes annotations/instances_default.json, Roboflow SPLIT/_annotations.coco.json beside the pictures."""
    folder = tmp_path / "export"
    for place in (folder / where, folder / "images"):
        place.mkdir(parents=True, exist_ok=True)
    (folder / ("images" if where == "annotations" else where) / "a.png").write_bytes(png(picture()))
    (folder / where / file).write_text(json.dumps(annotations()))
    for source in (folder, folder / where / file):
        assert open_examples(str(source), split=split)[0].boxes == (RED,)
    with pytest.raises(RejectedInput, match="name another split, or the file"):
        open_examples(str(folder), split="val")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda value: value["images"][0].update(width=81), r"80 x 60 where the annotations say \[81, 60\]"),
        (lambda value: value["images"][0].update(width=60, height=80), "EXIF"),
        (lambda value: value["images"][0].update(file_name="../../a.png"), "outside|not in"),
        (lambda value: value["images"][0].update(file_name="b.png"), "not in"),
        (lambda value: value["images"][0].update(file_name=None), "file name None"),
        (lambda value: value["images"][0].update(id=8), "image_id 7"),
        (lambda value: value["categories"][0].update(id=8), "category_id 1"),
        (lambda value: value["categories"][0].update(name=""), "empty"),
        (lambda value: value["annotations"][0].update(segmentation=[[1, 2]]), "at least three corners"),
        (lambda value: value["annotations"][0].update(segmentation=[polygon((90, 90, 99, 99))]), "without a pixel"),
        (
            lambda value: value["annotations"][0].update(segmentation={"size": [60, 80], "counts": [5]}),
            "cover fewer than the picture's 4800",
        ),
        (lambda value: value["annotations"][0].update(segmentation=[], bbox=[70, 10, 20, 20]), "outside the picture"),
        (lambda value: value["annotations"][0].update(segmentation=None, bbox=None), "four plain numbers"),
        (lambda value: value["annotations"][0].update(iscrowd=1), "only a crowd"),
    ],
)
def test_bad_annotations_are_named(tmp_path, change, said):
    value = annotations()
    change(value)
    message = refusal(open_examples(str(write_coco(tmp_path / "set", value))), 0)
    assert "instances.json image 7 category 1: " in message
    assert re.search(said, message), message


@pytest.mark.parametrize(
    "value", [[], {"images": []}, {"images": {}, "annotations": []}, {"images": [5], "annotations": []}]
)
def test_what_is_no_coco_is_refused_as_a_whole(tmp_path, value):
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(value))
    with pytest.raises(RejectedInput, match=r"instances\.json"):
        open_examples(str(file))


def test_ids_given_twice_are_refused_as_they_would_hide_objects(tmp_path):
    value = annotations()
    value["annotations"].append(value["annotations"][0])
    with pytest.raises(RejectedInput, match="1 ids given twice"):
        open_examples(str(write_coco(tmp_path / "set", value)))


# ---- RefCOCO and gRefCOCO ----


def test_the_expression_level_has_one_question_per_sentence(tmp_path):
    examples = open_examples(str(write_coco(tmp_path / "set", refs=references())), split="val")
    assert questions(examples) == ["the red one", "left thing", "both", "the green one"]
    assert "expressions level" in examples.name and "refs(unc).json" in examples.name
    assert [example.boxes for example in examples] == [(RED,), (RED,), (RED, BLUE), ()]
    assert [int(example.mask.sum()) for example in examples] == [200, 200, 400, 0]


def test_the_instance_level_has_one_question_per_referred_object(tmp_path):
    folder = write_coco(tmp_path / "set", refs=references())
    examples = open_examples(f"{folder}::instances", split="val")
    assert questions(examples) == ["the red one", "both", "the green one"]
    assert "instances level" in examples.name


def test_splits_and_levels_are_the_sets_own(tmp_path):
    folder = write_coco(tmp_path / "set", refs=references())
    assert questions(open_examples(str(folder), split="train")) == ["the blue one"]
    assert len(open_examples(str(folder))) == 5
    with pytest.raises(RejectedInput, match="train, val"):
        open_examples(str(folder), split="testA")
    with pytest.raises(RejectedInput, match="did you mean 'instances'"):
        open_examples(f"{folder}::instance")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ann_id": 99}, r"ann_id \[99\]"),
        ({"ann_id": []}, r"ann_id \[\]"),
        ({"ann_id": [1, -1]}, "ann_id"),
        ({"image_id": None}, "image_id None"),
        ({"sentences": []}, "sentences"),
        ({"sentences": [{}]}, "want text"),
        ({"sentences": "red"}, "sentences"),
    ],
)
def test_bad_references_are_named(tmp_path, change, said):
    refs = references()
    refs[0] |= change
    message = refusal(open_examples(str(write_coco(tmp_path / "set", refs=refs))), 0)
    assert "refs(unc).json reference 0 sentence 0: " in message
    assert re.search(said, message), message


def test_pictures_may_lie_behind_a_link_to_their_folder(tmp_path):
    folder = write_coco(tmp_path / "set")
    (folder / "images").rename(tmp_path / "elsewhere")
    (folder / "images").symlink_to(tmp_path / "elsewhere")
    assert open_examples(str(folder))[0].boxes == (RED,)


# ---- ReasonSeg in LISA's files ----


def test_lisas_outline_counts_and_corners_are_cut(tmp_path):
    """Corners (10, 10) to (19.9, 29.9) are the pixels 10..19 x 10..29, outline included: the red rectangle."""
    examples = open_examples(str(write_reasonseg(tmp_path / "val", shapes=[shape("target", 10, 10, 19.9, 29.9)])))
    (example,) = examples
    assert np.array_equal(example.mask, RED_MASK) and not example.ignore.any()
    assert (example.id, example.question, example.boxes) == ("one", "what is red?", (RED,))


def test_ignored_pixels_are_neither_target_nor_background_and_a_flag_is_nothing(tmp_path):
    shapes = [shape("Ignore_1", 50, 40, 69, 49), shape("target", 10, 10, 19, 29), shape("flag", 0, 0, 79, 59)]
    (example,) = open_examples(str(write_reasonseg(tmp_path / "val", shapes=shapes)))
    assert np.array_equal(example.ignore, BLUE_MASK) and np.array_equal(example.mask, RED_MASK)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_small_shape_lies_on_a_large_one_whatever_comes_first(order):
    shapes = [shape("target", 10, 10, 29, 29), shape("ignore", 15, 15, 19, 19)]
    drawn = draw_shapes([shapes[n] for n in order], SIZE)
    assert ((drawn == 1).sum(), (drawn == 255).sum()) == (400 - 25, 25)


def test_of_equal_shapes_the_first_in_the_file_wins():
    """They are drawn from the last to the first, as LISA's reversed sort has them."""
    drawn = draw_shapes([shape("ignore", 10, 10, 19, 19), shape("target", 10, 10, 19, 19)], SIZE)
    assert (drawn == 255).sum() == 100 and not (drawn == 1).any()


def test_val_asks_the_first_text_and_train_every_one(tmp_path):
    for split in ("train", "val"):
        write_reasonseg(tmp_path / split, texts=["first?", "second?"])
    assert questions(open_examples(str(tmp_path), split="val")) == ["first?"]
    train = open_examples(str(tmp_path), split="train")
    assert questions(train) == ["first?", "second?"]
    assert [example.id for example in train] == ["one", "one-1"]
    with pytest.raises(RejectedInput, match="want one of its folders: train, val"):
        open_examples(str(tmp_path))


def test_pieces_of_the_target_are_objects_and_the_mask_is_all_of_them(tmp_path):
    shapes = [shape("target", 50, 40, 69, 49), shape("target", 10, 10, 19, 29)]
    (example,) = open_examples(str(write_reasonseg(tmp_path / "val", shapes=shapes)))
    assert example.boxes == (RED, BLUE)
    assert np.array_equal(example.mask, RED_MASK | BLUE_MASK)


def test_windows_letters_are_read(tmp_path):
    folder = write_reasonseg(tmp_path / "val", texts=["the café’s cup"], encoding="cp1252")
    assert questions(open_examples(str(folder))) == ["the café’s cup"]


def test_a_target_is_missing_where_only_flags_are(tmp_path):
    (example,) = open_examples(str(write_reasonseg(tmp_path / "val", shapes=[shape("flag", 0, 0, 9, 9)])))
    assert example.boxes == () and not example.mask.any()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no JSON"),
        ("[]", "want a JSON object"),
        ('{"text": [], "shapes": []}', "at least one text"),
        ('{"text": [" "], "shapes": []}', "empty"),
        ('{"text": ["x"], "shapes": [{"points": []}]}', "label and points"),
        ('{"text": ["x"], "shapes": [{"label": "target", "points": []}]}', "want"),
        ('{"text": ["x"], "shapes": [{"label": "target", "points": [[1, 2], [3]]}]}', "want"),
        ('{"text": ["x"], "shapes": [{"label": "target", "points": [[1, NaN]]}]}', "want"),
        ('{"text": ["x"], "shapes": [{"label": "target", "points": [[1e300, 0]]}]}', "want"),
    ],
)
def test_bad_files_are_named(tmp_path, content, said):
    folder = write_reasonseg(tmp_path / "train")
    (folder / "one.json").write_text(content)
    message = refusal(open_examples(str(folder)), 0)
    assert "one.json text 0: " in message and said in message


def test_a_file_without_its_picture_is_named(tmp_path):
    folder = write_reasonseg(tmp_path / "val")
    write_reasonseg(folder, "two")
    (folder / "two.jpg").unlink()
    assert "got no picture two.jpg" in refusal(open_examples(str(folder)), 1)


def test_drawn_polygons_equal_lisas_words_pixel_by_pixel():
    """Slow reference on convex shapes: a pixel counts when it lies inside or on the outline of whole-pixel corners."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        corners = cv2.convexHull(rng.integers(2, 40, (6, 2)).astype(np.int32))[:, 0]
        if len(corners) < 3:
            continue
        drawn = draw_shapes([{"label": "target", "points": corners.tolist()}], (44, 44)) == 1
        inside = np.array(
            [[cv2.pointPolygonTest(corners, (float(x), float(y)), False) >= 0 for x in range(44)] for y in range(44)]
        )
        assert not (inside & ~drawn).any()
        assert (drawn & ~cv2.dilate(inside.astype(np.uint8), np.ones((3, 3))).astype(bool)).sum() == 0


# ---- LabelMe's own files ----


def write_labelme(folder, *shapes):
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(png(picture()))
    value = {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": "a.png", "imageData": None}
    (folder / "a.json").write_text(json.dumps(value))
    return folder


def test_labelmes_labels_are_questions(tmp_path):
    rectangle = {"label": "the blue one", "shape_type": "rectangle", "points": [[70, 50], [50, 40]]}
    polygons = [{**shape("both", *box), "shape_type": "polygon"} for box in (RED, BLUE)]
    examples = open_examples(str(write_labelme(tmp_path / "set", *polygons, rectangle)))
    both, blue = examples
    assert (both.question, both.boxes, int(both.mask.sum())) == ("both", (RED, BLUE), 400)
    assert (blue.question, blue.boxes, blue.mask) == ("the blue one", (BLUE,), None)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"label": "it", "shape_type": "circle", "points": [[1, 2], [3, 4]]}, "want a polygon or a rectangle"),
        ({"label": "it", "shape_type": "polygon", "points": [[1, 2], [3, 4]]}, "three corners"),
        ({"label": "it", "shape_type": "rectangle", "points": [[1, 2], [1, 4]]}, "without area"),
        ({"label": "it", "points": "x"}, "want"),
        ({"label": " ", "points": [[1, 2], [3, 4], [5, 9]]}, "empty"),
        ({"points": []}, "label"),
    ],
)
def test_bad_shapes_are_named(tmp_path, bad, said):
    examples = open_examples(str(write_labelme(tmp_path / "set", bad)))
    message = refusal(examples, 0)
    assert "a.json label" in message and said in message


# ---- our own shards, and the demo world itself ----


def test_shards_are_read_question_by_question(tmp_path):
    both, none = open_examples(str(write_scenes(tmp_path)))
    assert (both.question, both.kind, both.unseen_pair) == ("both things", "several", True)
    assert both.boxes == (BLUE, RED), "in the order in which the instruction names them"
    assert np.array_equal(both.object_masks[1], RED_MASK)
    assert none.boxes == () and not none.mask.any()
    assert len(open_examples(str(tmp_path / "shard-00000"))) == 2


def test_a_broken_shard_says_so(tmp_path):
    shard = write_scenes(tmp_path) / "shard-00000"
    scene = json.loads((shard / "scenes.jsonl").read_text())
    scene["instructions"][0]["targets"] = [3]
    (shard / "scenes.jsonl").write_text(json.dumps(scene) + "\n" + json.dumps(scene) + "\n")
    examples = open_examples(str(tmp_path))
    assert "not in the label image" in refusal(examples, 0)
    assert "line 2: got a line without its picture" in refusal(examples, 2)
    (shard / "images.npy").write_bytes(b"no array")
    with pytest.raises(RejectedInput, match=r"images\.npy"):
        open_examples(str(tmp_path))


@pytest.mark.parametrize(
    "asked", [7, {}, {"text": "it", "targets": 5}, {"text": "it", "targets": [1], "type": "one"}, None]
)
def test_a_scene_with_an_instruction_that_is_none_is_refused_by_its_line(tmp_path, asked):
    shard = write_scenes(tmp_path) / "shard-00000"
    scene = json.loads((shard / "scenes.jsonl").read_text())
    (shard / "scenes.jsonl").write_text(json.dumps({**scene, "instructions": [asked]}))
    assert "line 1: got no instruction" in refusal(open_examples(str(tmp_path)), 0)


@pytest.mark.parametrize("content", [b"\xff\xfe{", b"[" * 100_000])
def test_scenes_that_are_no_text_or_no_json_are_refused(tmp_path, content):
    (write_scenes(tmp_path) / "shard-00000" / "scenes.jsonl").write_bytes(content)
    with pytest.raises(RejectedInput, match=r"scenes\.jsonl"):
        open_examples(str(tmp_path))


@pytest.mark.parametrize("array", [np.zeros(3, np.uint8), np.zeros((2, 8, 8), np.float32), np.uint8(1)])
def test_arrays_that_are_no_pixels_are_refused(tmp_path, array):
    np.save(write_scenes(tmp_path) / "shard-00000" / "labels.npy", array)
    with pytest.raises(RejectedInput, match=r"labels\.npy.*want pixels"):
        open_examples(str(tmp_path))


@pytest.mark.parametrize("grammar", ["plain", "composed"])
def test_the_demo_world_is_the_same_forwards_and_backwards(grammar):
    pytest.importorskip("mujoco", reason="needs the demo world")
    forwards = list(open_tabletop("test", 3, 2, grammar))
    again = open_tabletop("test", 3, 2, grammar)
    for n in (1, 0):
        assert again[n].question == forwards[n].question and again[n].boxes == forwards[n].boxes
        assert np.array_equal(again[n].rgb, forwards[n].rgb) and np.array_equal(again[n].mask, forwards[n].mask)
    assert all(len(example.boxes) == len(example.object_masks) for example in forwards)


@pytest.mark.parametrize("options", [{"split": "tset"}, {"count": 0}, {"count": 50_001}])
def test_the_demo_world_refuses_what_it_does_not_have(options):
    with pytest.raises(RejectedInput):
        open_examples("tabletop", **options)


# ---- any file at all ----

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-9, 99) | st.just(10**400) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=8,
)


def read_all(source):
    """The invariant: every row is an example, or one clear refusal."""
    try:
        examples = open_examples(str(source))
        rows = range(len(examples))
    except RejectedInput:
        return
    for n in rows:
        try:
            assert examples[n].size == (WIDTH, HEIGHT)
        except BadRow:
            pass


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.sampled_from(["images", "annotations", "categories"]), st.data())
def test_any_change_to_coco_is_read_or_refused(tmp_path, table, data):
    value, refs = annotations(), references()
    item = data.draw(st.sampled_from(value[table]))
    item[data.draw(st.sampled_from(sorted(item)))] = data.draw(JSON)
    ref = data.draw(st.sampled_from(refs))
    ref[data.draw(st.sampled_from(sorted(ref)))] = data.draw(JSON)
    folder = tmp_path / "set"
    if not folder.exists():
        write_coco(folder, refs=refs)
    (folder / "instances.json").write_text(json.dumps(value))
    (folder / "refs(unc).json").write_text(json.dumps(refs))
    read_all(folder)
    read_all(folder / "instances.json")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_any_change_to_reasonseg_is_read_or_refused(tmp_path, data):
    value = {"text": ["a", "b"], "is_sentence": True, "shapes": [shape("target", 1, 2, 30, 40)]}
    place = data.draw(st.sampled_from([value, value["shapes"][0]]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON)
    folder = write_reasonseg(tmp_path / "train")
    (folder / "one.json").write_text(json.dumps(value))
    read_all(folder)
