"""`segzero ground`: one picture and one sentence, and every way the outside can get it wrong."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from segzero_ros.bundle import MANIFEST, resolve_bundle
from segzero_ros.cli.main import main

WIDTH, HEIGHT = 64, 48


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "table.png"
    cv2.imwrite(str(path), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    return str(path)


def ground(*arguments):
    return main(["ground", *arguments, "--backend", "fake"])


def test_an_answer_is_reasoning_then_one_line_per_object_and_status_0(picture, capsys):
    assert ground(picture, "the mug") == 0
    shown = capsys.readouterr().out
    assert "<think>" in shown
    assert "1. the mug: box 16 12 48 36" in shown


def test_json_is_one_object_with_boxes_in_source_pixels(picture, capsys):
    assert ground(picture, "the mug", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["code"], answer["image_size"], answer["instances"][0]["box"]) == ("OK", [64, 48], [16, 12, 48, 36])
    assert answer["instances"][0]["pixels"] > 0


def test_out_and_mask_are_written(picture, tmp_path):
    out, mask = tmp_path / "found.png", tmp_path / "mask.png"
    assert ground(picture, "the mug", "--out", str(out), "--mask", str(mask)) == 0
    assert cv2.imread(str(out)) is not None
    labels = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (HEIGHT, WIDTH)
    assert set(np.unique(labels)) == {0, 1}


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.png", b"\x89PNG"), ("a.jpg", b"\xff\xd8\xff"), ("a.jpeg", b"\xff\xd8\xff"), ("A.JPG", b"\xff\xd8\xff")],
)
def test_the_name_decides_what_is_written(picture, tmp_path, name, start):
    assert ground(picture, "the mug", "--out", str(tmp_path / name)) == 0
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("option", "name"), [("--out", "a.tiff"), ("--out", "a"), ("--out", "png"), ("--out", "a.gif"), ("--mask", "a.jpg")]
)
def test_a_name_that_says_no_picture_is_refused_before_anything_is_asked(picture, tmp_path, option, name, capsys):
    with pytest.raises(SystemExit) as leaving:
        ground(picture, "the mug", option, str(tmp_path / name))
    assert leaving.value.code == 2
    shown = capsys.readouterr()
    assert "want a name that ends in .png" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize("threads", ["99999999999999999999", "9" * 5000, "1025"])
def test_a_number_out_of_range_is_one_line(picture, threads, capsys):
    with pytest.raises(SystemExit) as leaving:
        ground(picture, "the mug", "--threads", threads)
    assert leaving.value.code == 2
    assert "want a whole number of 0 to 1024" in capsys.readouterr().err


@pytest.mark.parametrize("bundle", ["~nosuchuser/x", "~nosuchuser"])
def test_a_home_that_nobody_knows_is_no_bundle(picture, bundle, capsys):
    assert main(["ground", picture, "the mug", "--bundle", bundle]) == 2
    assert "BUNDLE_MISSING" in capsys.readouterr().err


REFUSED = {
    "missing.png": "IMAGE_UNREADABLE",
    "notes.txt": "want JPEG or PNG",
    "empty.png": "want JPEG or PNG",
    "folder": "IMAGE_UNREADABLE",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused_by_name(name, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no picture at all")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    assert ground(str(tmp_path / name), "the mug") == 2
    said = capsys.readouterr().err
    assert REFUSED[name] in said
    assert "Traceback" not in said


@pytest.mark.parametrize("kind", ["/dev/zero", "fifo", "link to a device"])
def test_what_never_ends_is_refused_at_once(kind, tmp_path, capsys):
    path = tmp_path / "endless.png"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    assert ground("/dev/zero" if kind == "/dev/zero" else str(path), "the mug") == 2
    said = capsys.readouterr().err
    assert "IMAGE_UNREADABLE" in said
    assert "a pipe, device or socket" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "code"), [("", "COMMAND_EMPTY"), ("  ", "COMMAND_EMPTY"), ("x" * 1_000_000, "COMMAND_TOO_LONG")]
)
def test_an_empty_or_an_endless_command_is_refused(picture, command, code, capsys):
    assert ground(picture, command) == 2
    said = capsys.readouterr().err
    assert code in said
    assert len(said) < 500


def test_a_file_that_cannot_be_written_is_one_line_before_anything_is_asked(picture, capsys):
    assert ground(picture, "the mug", "--out", "/nowhere/at/all.png") == 2
    shown = capsys.readouterr()
    assert "/nowhere/at/all.png" in shown.err and shown.err.count("\n") == 1 and not shown.out


@pytest.mark.parametrize("given", ["--out {p}", "--mask {p}", "--out {p}.png --mask {d}/./{n}.png"])
def test_nothing_is_written_over_the_picture_or_over_each_other(picture, given, capsys):
    path = Path(picture)
    before = path.read_bytes()
    words = given.format(p=path, d=path.parent, n=path.name).split()
    assert ground(picture, "the mug", *words) == 2
    assert "twice among IMAGE, --out and --mask" in capsys.readouterr().err
    assert path.read_bytes() == before and [*path.parent.iterdir()] == [path]


@pytest.fixture
def astray(tmp_path):
    """The demo bundle with another box for its self-test's first object: right answers are wrong there."""
    folder = tmp_path / "astray"
    shutil.copytree(resolve_bundle("tabletop"), folder)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["self_test"]["questions"][0]["boxes"] = [[0, 0, 20, 20]]
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def test_the_self_test_is_asked_where_it_is_wanted_and_only_there(astray, picture, capsys):
    asked = ["ground", picture, "the red mug", "--bundle", str(astray), "--threads", "1"]
    assert main(asked) in (0, 1)
    assert "self-test" not in capsys.readouterr().err
    assert main([*asked, "--self-test"]) == 2
    assert "ENGINE_COORDINATES: self-test: asked for 'the plant', got [" in capsys.readouterr().err
    assert main(["ground", picture, "the red mug", "--self-test"]) in (0, 1)
    assert "self-test passed, 3 questions" in capsys.readouterr().err


def test_a_server_is_not_started_with_engines_that_fail_their_self_test(astray, capsys):
    assert main(["serve", "--bundle", str(astray), "--port", "0"]) == 2
    assert "ENGINE_COORDINATES" in capsys.readouterr().err
