"""`segzero data check`: every bad row by name, figures of the rest, sheets to look at, and nothing changed on disk."""

import cv2
import numpy as np
import pytest

from segzero_ros.cli.main import main
from tests.training.made_data import RED_MASK, picture, png, row, write_plain
from training.data.open import open_examples
from training.data.sheet import draw_example


def status_of(arguments):
    try:
        return main(arguments)
    except SystemExit as leaving:
        return leaving.code


def checked(capsys, *arguments):
    status = status_of(["data", "check", *(str(argument) for argument in arguments)])
    return status, capsys.readouterr()


def test_good_data_is_summed_up(tmp_path, capsys):
    rows = row(), row("both", [(10, 10, 20, 30), (50, 40, 70, 50)]), row("the green one", [])
    status, shown = checked(capsys, write_plain(tmp_path / "photos", *rows))
    assert status == 0
    assert shown.out.splitlines() == [
        "photos/data.jsonl",
        "  rows       3, none of them bad",
        "  questions  3 different, 1 with no such object (33 %)",
        "  objects    3, several at once in 1 rows; masks in 0 rows",
        "  pictures   80 x 60 to 80 x 60 pixels",
        "  boxes      shorter side 105 to 140 pixels at 840 x 840, half of them under 105",
        "  so         every row fits abstaining_v2",
    ]


def test_every_bad_row_is_named(tmp_path, capsys):
    rows = row(), row("the cup", [(10, 10, 10, 30)]), row(id="1"), row("", []), "{"
    status, shown = checked(capsys, write_plain(tmp_path, *rows))
    assert status == 1
    named = [line for line in shown.out.splitlines() if "data.jsonl line" in line]
    assert [line.partition(": ")[0].rpartition(" ")[2] for line in named] == ["2", "3", "4", "5"]
    assert "without area" in named[0] and "got the id '1'" in named[1] and "line 1 has, too" in named[1]
    assert "rows       5, 4 of them bad" in shown.out and "mend 4" in shown.out


def test_two_answers_to_one_question_are_a_contradiction(tmp_path, capsys):
    rows = row(), row(boxes=[(50, 40, 70, 50)]), row(), row("THE RED ONE", [])
    status, shown = checked(capsys, write_plain(tmp_path, *rows))
    assert status == 1
    named = [line for line in shown.out.splitlines() if "another answer to the same question" in line]
    assert [line.partition(": ")[0].rpartition(" ")[2] for line in named] == ["2", "4"]


@pytest.mark.parametrize(
    ("rows", "arguments", "said"),
    [
        ((row("it", []),), ("--profile", "vision_reasoner_v2"), "cannot say"),
        ((row("it", [(0, 0, 9, 9), (20, 20, 40, 40)]),), ("--profile", "seg_zero_v1"), "names one"),
        ((row("it", [(0, 0, 1, 40)]),), ("--image-size", "196"), "2.5 x 130.7 pixels once the picture is 196 x 196"),
    ],
)
def test_the_profile_decides_what_can_be_learned(tmp_path, capsys, rows, arguments, said):
    write_plain(tmp_path, *rows)
    assert checked(capsys, tmp_path)[0] == 0
    status, shown = checked(capsys, tmp_path, *arguments)
    assert status == 1 and said in shown.out


def test_data_without_absent_objects_gets_a_note(tmp_path, capsys):
    assert "learns to find something everywhere" in checked(capsys, write_plain(tmp_path, row()))[1].out
    assert "learns to answer []" in checked(capsys, write_plain(tmp_path, row(boxes=[])))[1].out


def test_sheets_show_the_good_rows_and_nothing_else_changes(tmp_path, capsys):
    folder = write_plain(tmp_path / "photos", *(row(f"question {n}") for n in range(13)), row("", []))
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    status, shown = checked(capsys, folder, "--pictures", tmp_path / "sheets")
    assert status == 1 and "13 of 13 good rows on 2 sheets" in shown.out
    first, second = sorted((tmp_path / "sheets").iterdir())
    assert cv2.imread(str(first)).shape[1] == 3 * 640 and cv2.imread(str(second)).shape[1] == 640
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_drawn_example_shows_its_mask_where_it_is(tmp_path):
    (tmp_path / "m.png").write_bytes(png((RED_MASK * 255).astype(np.uint8)))
    (example,) = open_examples(str(write_plain(tmp_path, row(mask="m.png"))))
    drawn = draw_example(example, "data.jsonl line 1")
    assert drawn.shape[1] == 640 and drawn.shape[0] > 480
    plain = cv2.resize(picture(), (640, 480), interpolation=cv2.INTER_CUBIC)
    changed = (drawn[:480] != plain).any(axis=2)
    assert changed[120:200, 90:150].mean() > 0.99, "inside the mask"
    assert not changed[300:, 200:].any(), "far from it"


def test_a_part_of_a_large_set_can_be_checked(tmp_path, capsys):
    write_plain(tmp_path, *(row(f"question {n}") for n in range(9)))
    status, shown = checked(capsys, tmp_path, "--count", "4", "--seed", "1")
    assert status == 0 and "4 of 9" in shown.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chek", "."], "did you mean 'check'"),
        (["check", "nowhere"], "no such file or folder"),
        (["check", ".", "--profile", "abstaining"], "did you mean 'abstaining_v2'"),
        (["check", ".", "--image-size", "0"], "from 28 on"),
        (["check", "."], "which is none of"),
        (["check"], "required"),
    ],
)
def test_misuse_is_one_line_and_status_2(tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert status_of(["data", *arguments]) == 2
    assert said in capsys.readouterr().err
