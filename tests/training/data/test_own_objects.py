"""docs/own-objects.md, followed to the letter by somebody with ten pictures."""

import json
import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from segzero_ros.cli.main import main
from training.data.open import open_examples

GUIDE = (Path(__file__).parents[3] / "docs" / "own-objects.md").read_text(encoding="utf-8")


BLOCKS = re.findall(r"^```\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
ROWS = next(block for block in BLOCKS if block.startswith("{"))


def commands(start):
    lines = [line.strip() for block in BLOCKS for line in block.splitlines()]
    return [line for line in lines if line.startswith(start)]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Ten pictures of 640 x 480 with a light rectangle, the mask of the guide's example, and the guide's rows."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(1, 11):
        pixels = np.full((480, 640, 3), 90, np.uint8)
        pixels[100:200, 20 * number : 20 * number + 90] = 230
        cv2.imwrite(str(folder / f"{number:02}.jpg"), pixels)
    mask = np.zeros((480, 640), np.uint8)
    mask[300:350, 100:180] = 255
    cv2.imwrite(str(folder / "02_jig.png"), mask)
    (folder / "data.jsonl").write_text(ROWS + "".join(row(n) + "\n" for n in range(3, 11)))
    monkeypatch.chdir(tmp_path)
    return folder


def row(number, **fields):
    box = [20 * number, 100, 20 * number + 90, 200]
    return json.dumps({"image": f"{number:02}.jpg", "question": "the light one", "boxes": [box]} | fields)


def status_of(line):
    return main(line.split()[1:])


def test_the_rows_of_the_guide_are_read(photos):
    examples = list(open_examples("photos"))
    assert [len(example.boxes) for example in examples[:5]] == [1, 2, 0, 1, 1]
    assert examples[3].points == (((455.0, 103.0),),)
    assert examples[4].boxes == ((100.0, 300.0, 180.0, 350.0),)


def test_the_checks_and_the_split_run_as_written(photos, capsys):
    check, train, val = commands("segzero data check")
    assert status_of(check) == 0
    assert Path("sheets/sheet-01.png").is_file()
    for line in commands("grep"):
        subprocess.run(["bash", "-c", line], check=True)
    assert status_of(train) == status_of(val) == 0
    rows = [len(open_examples("photos", split=split)) for split in ("train", "val", "")]
    assert rows == [11, 2, 13]
    pictures = [
        {r["image"] for r in map(json.loads, Path(f"photos/{s}.jsonl").read_text().splitlines())}
        for s in ("train", "val")
    ]
    assert not pictures[0] & pictures[1]


def test_the_messages_of_the_guide_are_those_one_gets(photos, capsys):
    rows = [row(n) for n in range(1, 10)]
    rows[2] = row(3, boxes=[[305, 140, 212, 262]])
    rows[6] = row(7, image="4.jpg")
    rows[8] = row(8, boxes=[])
    (photos / "data.jsonl").write_text("\n".join(rows) + "\n")
    assert main(["data", "check", "photos"]) == 1
    shown = capsys.readouterr().out
    quoted = commands("photos/data.jsonl line")
    assert len(quoted) == 3 and not [line for line in quoted if line not in shown]


def test_the_evaluation_takes_the_folder(photos, capsys):
    subprocess.run(["bash", "-c", "cp photos/data.jsonl photos/val.jsonl"], check=True)
    line = commands("segzero eval --data")[0]
    assert status_of(f"{line} --backend fake") == 0
    assert Path("before/index.html").is_file() and len(Path("before.jsonl").read_text().splitlines()) >= 13


def test_the_intervals_are_wilsons():
    def wilson(right, count, z=1.96):
        middle, spread = right / count + z * z / (2 * count), right / count * (1 - right / count) / count
        half = z * (spread + z * z / (4 * count * count)) ** 0.5
        return [round(100 * (middle + side * half) / (1 + z * z / count)) for side in (-1, 1)]

    assert (wilson(8, 10), wilson(80, 100), wilson(800, 1000)) == ([49, 94], [71, 87], [77, 82])
    assert all(words in " ".join(GUIDE.split()) for words in ("49 and 94 %", "71 to 87 %", "77 to 82 %"))
