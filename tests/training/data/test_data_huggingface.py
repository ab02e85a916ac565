"""Upstream's Hugging Face columns, as `save_to_disk` and parquet keep them; needs the package `datasets`."""

import json

import numpy as np
import pytest

from segzero_ros.errors import RejectedInput
from segzero_ros.profile import get_profile
from tests.training.made_data import BLUE, BLUE_MASK, RED, RED_MASK, SIZE, picture, png
from training.data.base import BadRow, fit_profile
from training.data.open import open_examples

datasets = pytest.importorskip("datasets", reason="needs the package datasets (requirements/offline.txt)")
datasets.disable_progress_bars()

V1 = "<box>(105,140),(210,420)</box><points>(150,200),(160,300)</points>"
V2 = json.dumps([{"bbox_2d": [105, 140, 210, 420], "point_2d": [157, 280]}])
TEXT, NUMBER = datasets.Value("string"), datasets.Value("int64")
TRAINING = {"id": TEXT, "problem": TEXT, "solution": TEXT, "image": datasets.Image()}
TRAINING |= {"img_height": NUMBER, "img_width": NUMBER}
MASKS = {"image": datasets.Image(), "mask": datasets.Sequence(datasets.Sequence(datasets.Value("bool")))}
MASKS |= {"text": TEXT, "image_id": TEXT, "ann_id": TEXT, "img_height": NUMBER, "img_width": NUMBER}


def squashed(side=840):
    return {"bytes": png(np.zeros((side, side, 3), np.uint8)), "path": None}


def training_set(*solutions, image=None, problem="the red one"):
    rows = range(len(solutions))
    columns = {"id": [f"r{n}" for n in rows], "problem": [problem for _ in rows], "solution": list(solutions)}
    columns |= {"image": [image or squashed() for _ in rows], "img_height": [60 for _ in rows]}
    return datasets.Dataset.from_dict(columns | {"img_width": [80 for _ in rows]}, datasets.Features(TRAINING))


def mask_set(mask):
    columns = {"image": [{"bytes": png(picture()), "path": None}], "mask": [mask.tolist()], "text": ["what is red?"]}
    columns |= {"image_id": ["i"], "ann_id": ["a"], "img_height": [60], "img_width": [80]}
    return datasets.Dataset.from_dict(columns, datasets.Features(MASKS))


def saved(table, folder):
    table.save_to_disk(str(folder))
    return open_examples(str(folder))


def test_both_ways_of_writing_solutions_are_read_in_the_840_frame(tmp_path):
    first, second, none = saved(training_set(V1, V2, "[]"), tmp_path / "set")
    assert first.boxes == second.boxes == ((105, 140, 210, 420),)
    assert first.points == (((150, 200), (160, 300)),)
    assert second.points == (((157, 280),),)
    assert none.boxes == () and not none.mask.any()
    assert (first.id, first.question, first.size) == ("r0", "the red one", (840, 840))


def test_at_the_published_profiles_the_numbers_are_upstreams(tmp_path):
    first, second = saved(training_set(V1, V2), tmp_path / "set")
    assert fit_profile(first, get_profile("seg_zero_v1")).boxes == ((105, 140, 210, 420),)
    assert fit_profile(second, get_profile("vision_reasoner_v2")).points == (((157, 280),),)


@pytest.mark.parametrize(
    ("solution", "said"),
    [
        ("", "want"),
        (None, "want text"),
        ("<box>(1,2),(3,4)</box>", "points"),
        ('[{"bbox_2d": [1, 2, 30, 40]}]', "point_2d"),
        ('[{"bbox_2d": [1, 2, 841, 40], "point_2d": [5, 5]}]', "outside the picture of 840 x 840"),
        ('[{"bbox_2d": [50, 2, 40, 40], "point_2d": [5, 5]}]', "without area"),
        ('[{"bbox_2d": [1, 2, 40, 40], "point_2d": [50, 5]}]', "outside its box"),
        ('[{"bbox_2d": [1, 2, NaN, 40], "point_2d": [5, 5]}]', "finite numbers"),
        ("[" * 70_000, "at most"),
        ("[" * 60_000, "want"),
        ("<box>(" * 10_000, "want"),
    ],
)
def test_a_bad_solution_is_named_with_its_row(tmp_path, solution, said):
    examples = saved(training_set(V2, solution), tmp_path / "set")
    with pytest.raises(BadRow, match=r"set row 1 \(the first is 0\): ") as refused:
        examples[1]
    assert said in str(refused.value)


def test_a_picture_that_is_not_840_is_in_an_unknown_frame_and_refused(tmp_path):
    with pytest.raises(BadRow, match="got a picture of 420 x 420 pixels, want 840 x 840"):
        saved(training_set(V2, image=squashed(420)), tmp_path / "set")[0]


@pytest.mark.parametrize("image", [{"bytes": b"GIF89a", "path": None}, {"bytes": None, "path": "/etc/hostname"}])
def test_a_picture_that_cannot_be_read_or_lies_elsewhere_is_refused(tmp_path, image):
    table = training_set(V2).cast_column("image", datasets.Image(decode=False))
    rows = [{**table[0], "image": image}]
    table = datasets.Dataset.from_list(rows, datasets.Features({**TRAINING, "image": table.features["image"]}))
    with pytest.raises(BadRow):
        saved(table, tmp_path / "set")[0]


def test_a_question_without_words_is_refused(tmp_path):
    with pytest.raises(BadRow, match="COMMAND_EMPTY"):
        saved(training_set(V2, problem=" "), tmp_path / "set")[0]


def test_reasonsegs_masks_become_objects(tmp_path):
    (example,) = saved(mask_set(RED_MASK | BLUE_MASK), tmp_path / "set")
    assert example.boxes == (RED, BLUE) and example.size == SIZE
    assert np.array_equal(example.mask, RED_MASK | BLUE_MASK)
    assert (example.id, example.question, example.ignore) == ("a", "what is red?", None)


def test_a_mask_of_another_size_is_refused(tmp_path):
    with pytest.raises(BadRow, match="mask of 79 x 60 pixels, want the picture's 80 x 60; make it anew"):
        saved(mask_set(RED_MASK[:, 1:]), tmp_path / "one")[0]
    with pytest.raises(BadRow, match="EXIF"):
        saved(mask_set(RED_MASK.T), tmp_path / "two")[0]


def test_splits_of_a_saved_data_set_are_chosen_by_name(tmp_path):
    both = datasets.DatasetDict({"train": training_set(V1), "val": training_set(V2, V2)})
    both.save_to_disk(str(tmp_path / "set"))
    assert len(open_examples(str(tmp_path / "set"), split="val")) == 2
    for split in ("", "test"):
        with pytest.raises(RejectedInput, match="train"):
            open_examples(str(tmp_path / "set"), split=split)


def test_parquet_files_are_read_as_the_hub_lays_them_out(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set" / "data").mkdir(parents=True)
    for name, table in (("train", training_set(V1)), ("test", training_set(V2, V2))):
        table.to_parquet(str(tmp_path / "set" / "data" / f"{name}-00000-of-00001.parquet"))
    assert len(open_examples(str(tmp_path / "set"), split="test")) == 2
    assert len(open_examples(str(tmp_path / "set" / "data" / "train-00000-of-00001.parquet"))) == 1
    with pytest.raises(RejectedInput, match="got the split 'val', and the files are"):
        open_examples(str(tmp_path / "set"), split="val")


def test_other_columns_are_refused_by_name(tmp_path):
    with pytest.raises(RejectedInput, match=r"got the columns a, b in .*, want problem, solution, image or text, mask"):
        saved(datasets.Dataset.from_dict({"a": [1], "b": [2]}), tmp_path / "set")


def test_a_damaged_data_set_is_refused(tmp_path):
    training_set(V2).save_to_disk(str(tmp_path / "set"))
    for file in (tmp_path / "set").glob("*.arrow"):
        file.write_bytes(b"not arrow")
    with pytest.raises(RejectedInput, match="could not read"):
        open_examples(str(tmp_path / "set"))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("state.json", {"_data_files": [{"filename": "../outside.arrow"}]}),
        ("state.json", {"_data_files": [{"filename": "/etc/hostname"}]}),
        ("state.json", {"_data_files": [{}]}),
        ("dataset_dict.json", {"splits": ["../elsewhere"]}),
        ("dataset_dict.json", {"splits": 3}),
    ],
)
def test_a_saved_set_names_no_file_outside_its_folder(tmp_path, file, change):
    rows = datasets.Dataset.from_dict({"problem": ["it"], "solution": ["[]"], "image": ["none"]})
    rows.save_to_disk(str(tmp_path / "set"))
    rows.save_to_disk(str(tmp_path / "elsewhere"))
    next((tmp_path / "set").glob("*.arrow")).rename(tmp_path / "outside.arrow")
    state = json.loads((tmp_path / "set" / "state.json").read_text()) if file == "state.json" else {}
    (tmp_path / "set" / file).write_text(json.dumps({**state, **change}))
    with pytest.raises(RejectedInput, match=r"outside|inside|splits"):
        open_examples(str(tmp_path / "set"), split="")


@pytest.mark.parametrize("content", ["", "{", "[]", "5", '{"_data_files": []}', "[" * 100_000])
@pytest.mark.parametrize("file", ["state.json", "dataset_info.json"])
def test_a_saved_set_whose_notes_are_none_is_refused_in_words(tmp_path, file, content):
    datasets.Dataset.from_dict({"problem": ["it"], "solution": ["[]"], "image": ["none"]}).save_to_disk(str(tmp_path))
    (tmp_path / file).write_text('{"features": 5}' if file == "dataset_info.json" and "files" in content else content)
    with pytest.raises(RejectedInput) as refused:
        open_examples(str(tmp_path))
    assert len(refused.value.detail) < 500


def test_a_broken_table_is_refused_in_words_and_nothing_else_is_said(tmp_path, capfd):
    (tmp_path / "train.parquet").write_bytes(b"PAR1" + b"x" * 500 + b"PAR1")
    with pytest.raises(RejectedInput, match="could not read"):
        open_examples(str(tmp_path / "train.parquet"))
    assert "Failed to read schema" not in capfd.readouterr().err
