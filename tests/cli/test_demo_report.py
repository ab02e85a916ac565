"""What the demo leaves behind, made from answers of a fake: table, summary, pictures, and when it calls itself good."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from segzero_ros.command import Command
from segzero_ros.demo.process_group import ProcessDiedError, ProcessGroup, free_domain
from segzero_ros.demo.script import Glimpse, Outcome, script
from segzero_ros.errors import Code
from segzero_ros.frame import Frame
from segzero_ros.pipeline import Instance, Segmentation, Timing, unanswered

pytest.importorskip("PIL", reason="the demo's pictures need Pillow")

from PIL import Image

from segzero_ros.demo.pictures import contact_sheet, wrap
from segzero_ros.demo.report import check_answers, format_outcomes, summary, write_all

PICTURE = np.full((120, 160, 3), 120, np.uint8)
ABOUT = {"bundle": "tabletop", "machine": "x86_64 CPU, 2 cores"}


def instruction(text="the red mug"):
    return SimpleNamespace(type="attribute", text=text)


def found(number, *, text="the red mug", answers=1, iou=0.9):
    line = SimpleNamespace(number=number, instruction=instruction(text), way="topic", cancel=False)
    labels = np.zeros((120, 160), np.uint8)
    labels[40:80, 60:100] = 1
    mug = Instance(text, 0.9, (60.0, 40.0, 100.0, 80.0), (80.0, 60.0), 1)
    timing = Timing(0, 20, 200, 30, 0, 230, 40, 3)
    thought = "red mug (84,63)."
    command = Command(str(number), text)
    result = Segmentation(command, Code.OK, "", thought, (mug,), labels, Frame(PICTURE, 5), timing, thought)
    glimpses = tuple(Glimpse(PICTURE, thought[:n]) for n in range(0, 16, 2))
    return Outcome(line, result, PICTURE, 5, iou, 1, answers, glimpses)


def stale(number):
    """A command that ended before there was a picture."""
    line = SimpleNamespace(number=number, instruction=instruction(), way="action", cancel=True)
    result = unanswered(Command(str(number), "the red mug"), Code.STALE_FRAME, "the newest frame is 2 s old")
    return Outcome(line, result, PICTURE, 0, None, None, 1, ())


# ---- the script ----


def test_commands_go_by_topic_and_action_and_one_action_is_taken_back():
    lines = script([instruction(str(n)) for n in range(14)])
    assert [line.number for line in lines] == list(range(1, 16))
    assert {line.way for line in lines} == {"topic", "action"}
    assert [line.way for line in lines if line.cancel] == ["action"]


# ---- exactly one answer each ----


def test_one_answer_each_is_good():
    good, sentence = check_answers([found(1), stale(2)], unmatched_answers=0)
    assert good
    assert "exactly one answer each" in sentence


@pytest.mark.parametrize(("answers", "unmatched_answers"), [(0, 0), (2, 0), (1, 1)])
def test_no_answer_two_answers_and_answers_to_nothing_are_not(answers, unmatched_answers):
    good, sentence = check_answers([found(1), found(2, answers=answers)], unmatched_answers)
    assert not good
    assert "not exactly one answer each" in sentence


# ---- the table ----


def test_the_table_has_a_line_per_command_and_the_thinking_below_it():
    lines = format_outcomes([found(1), stale(2)]).splitlines()
    assert "IoU" in lines[0]
    assert "0.90" in lines[1]
    assert "red mug (84,63)." in lines[2]
    assert "STALE_FRAME" in lines[3]
    assert not any("\033" in line for line in lines), "no colours where nobody watches"


# ---- files ----


def test_every_command_has_its_overlay_and_all_are_on_one_sheet(tmp_path):
    files = write_all([found(1), stale(2)], ABOUT, tmp_path)
    assert all(path.exists() for path in files)
    assert [path.name for path in sorted((tmp_path / "overlays").iterdir())] == ["01-ok.png", "02-stale_frame.png"]
    assert Image.open(tmp_path / "contact_sheet.png").size[0] > 1000
    assert Image.open(tmp_path / "animation.gif").n_frames > 3
    assert len(json.loads((tmp_path / "summary.json").read_text())["commands"]) == 2


def test_the_summary_is_json_with_the_truth_of_that_frame():
    first = json.loads(json.dumps(summary([found(1)], ABOUT)))["commands"][0]
    assert (first["code"], first["iou"], first["objects_meant"], first["stamp_ns"]) == ("OK", 0.9, 1, 5)
    assert first["milliseconds"]["reasoning_ms"] == 200


def test_words_too_many_for_a_card_end_in_an_ellipsis():
    lines = wrap("very " * 100, 12, 200, 2)
    assert len(lines) == 2
    assert lines[1].endswith("…")
    assert wrap("x" * 500, 12, 200, 2)[0].endswith("…")


def test_a_sheet_of_nothing_is_still_a_picture():
    assert contact_sheet([], "title", "subtitle").size[1] > 0


# ---- processes ----


def test_a_process_that_ends_is_noticed_with_its_last_words(tmp_path):
    with ProcessGroup(tmp_path) as children:
        child = children.start("node", ["sh", "-c", "echo no bundle; exit 3"], {"PATH": "/usr/bin:/bin"})
        child.process.wait()
        with pytest.raises(ProcessDiedError, match=r"status 3(.|\n)*no bundle"):
            children.check()


def test_grandchildren_that_ignore_ctrl_c_are_ended_too(tmp_path, monkeypatch):
    monkeypatch.setattr("segzero_ros.demo.process_group.SOFT_S", 0.2)
    script_text = "trap '' INT; sleep 1000 & echo $!; wait"
    with ProcessGroup(tmp_path) as children:
        child = children.start("camera", ["sh", "-c", script_text], {"PATH": "/usr/bin:/bin"})
        while not child.log.read_text():
            children.check()
        grandchild = int(child.log.read_text())
    assert child.process.poll() is not None
    end = time.monotonic() + 10  # a kill is sent before it has been carried out
    while not is_gone(grandchild) and time.monotonic() < end:
        time.sleep(0.01)
    assert is_gone(grandchild)


def is_gone(pid):
    """No such process, or a dead one whose parent has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except FileNotFoundError:
        return True


def test_a_free_domain_is_one_that_dds_can_use():
    assert 1 <= free_domain() <= 101
