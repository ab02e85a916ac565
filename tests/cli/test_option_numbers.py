"""A number nobody can mean is one line and status 2, before anything is opened, whichever program is asked."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BARE = re.compile(r"add(?:_argument)?\([^)]*type=(?:int|float)\b[^)\n]*")
# Of processes that are started by ours alone, and where the choices say which numbers there are.
LEFT_OUT = re.compile(r"--fd|--listen-fd|choices=")


@pytest.mark.parametrize("room", ["segzero_ros", "export", "training"])
def test_every_number_of_an_option_has_bounds(room):
    bare = {
        str(file.relative_to(ROOT)): found
        for file in sorted((ROOT / room).rglob("*.py"))
        if (found := [one for one in BARE.findall(file.read_text("utf-8")) if not LEFT_OUT.search(one)])
    }
    assert not bare


PROGRAMS = {
    "export.bundle": (
        "--image-size 0",
        "--image-size -28",
        "--max-length 99999999999",
        "--max-length 0",
        "--compare -1",
    ),
    "export.reasoner_onnx": ("--image-size nan", "--max-length 1e9"),
    "export.reasoner_edgellm": ("--max-batch 0", "--max-length -5"),
    "export.compare": ("--count 0",),
    "export.quantise": ("--bits 5", "--bits x", "--block 7", "--accuracy-level 99"),
    "training.clips.render": ("--clips 0", "--frames 0", "--side -5", "--seed -1", "--shard 0", "--processes 0"),
    "training.evaluation.tracking.main": ("--clips 0", "--frames -1", "--step nan", "--step 0", "--seed 1e3"),
}


@pytest.mark.parametrize(("program", "words"), [(name, one) for name, given in PROGRAMS.items() for one in given])
def test_a_number_nobody_can_mean_is_one_line(program, words, capsys):
    pytest.importorskip("torch", reason="offline stack not installed")
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(program).main(words.split())
    shown = capsys.readouterr().err
    assert ended.value.code == 2
    assert words.split()[0] in shown and shown.count("\n") == 2, shown
