"""Medians, ratios and tables: what is printed follows from what was measured."""

import json
import os
import threading

import numpy as np
import pytest

from bench.contestant import thinking_pieces
from bench.figures import ratio, spread, spreads
from bench.interleave import Measured, interleave
from bench.record import RESULTS, record, write
from bench.report import PAGE, PICTURE, TABLES, contestants, goal_table, renewed
from export.queries import EvalQuery
from segzero_ros.command import Command
from segzero_ros.frame import Frame


def test_a_ratio_is_that_of_the_medians_and_lies_within_its_interval():
    rng = np.random.default_rng(0)
    slow = rng.normal(100, 5, 60)
    found = ratio(slow, slow / 5)
    assert found["ratio"] == pytest.approx(5, rel=1e-3)
    assert found["low"] <= found["ratio"] <= found["high"]


def test_pairs_are_resampled_together_so_that_a_constant_ratio_has_no_width():
    slow = np.linspace(1, 100, 31)  # an odd number: each resample's medians are one and the same question's
    found = ratio(slow, slow / 4)
    assert found["low"] == found["high"] == 4


def test_unpaired_measurements_are_refused():
    with pytest.raises(ValueError, match="as many pairs"):
        ratio([1, 2], [1])


def test_spreads_are_over_the_rows_that_have_the_key():
    found = spreads([{"a": 1, "b": 5}, {"a": 3}])
    assert found["a"]["p50"] == 2 and found["b"]["count"] == 1
    assert spread([]) == {}


def test_everyone_is_asked_everything_in_changing_order_on_new_frames():
    asked, frames = [], []

    def contestant(name):
        def ask(question):
            asked.append((name, question.command.id))
            frames.append(question.frame)
            return Measured({"total": 1.0})

        return ask

    questions = [EvalQuery(Frame(np.zeros((4, 4, 3), np.uint8), 0), Command(str(n), "the cup")) for n in range(4)]
    found = interleave({"a": contestant("a"), "b": contestant("b")}, questions, warmup=1)
    assert [name for name, _ in asked] == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert {name: len(rows) for name, rows in found.items()} == {"a": 3, "b": 3}
    assert len({id(frame) for frame in frames}) == 8


def test_the_thinkings_pieces_end_where_its_closing_begins():
    assert thinking_pieces(["<think", ">red", " mug", ".</", "think", "><", "answer"]) == 4
    assert thinking_pieces(["[]"]) == 0


def test_a_record_says_where_it_comes_from():
    found = record("x", ["segzero", "bench"], {"count": 3}, {"a": 1})
    assert {"machine", "versions", "commit", "date", "command", "settings", "figures"} <= set(found)
    assert found["machine"]["cores"] > 0 and found["command"] == "segzero bench"


def test_a_goal_is_reached_missed_or_not_yet_run():
    node = {
        "overhead": {
            "ms_per_720p_frame": {"alone": {"p50": 2.5}},
            "times_slower_than_work": {"field_list": {"ratio": 30.0}},
        },
        "idle": {"share_of_one_core": 0.04},
    }
    shown = goal_table({"node": node})
    assert "| 2.5 ms | **no** |" in shown and "| 30 times | yes |" in shown and "| 4 % | yes |" in shown
    assert "not yet run" in shown


# ---- what is committed ----


def committed():
    return sorted(RESULTS.glob("*/*.json"))


@pytest.mark.parametrize("path", committed(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_committed_results_say_where_they_come_from(path):
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result["machine"]["cpu"] and result["versions"]["python"] and result["date"] and result["command"]


@pytest.mark.parametrize("path", committed(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_result_can_be_shown(path):
    result = json.loads(path.read_text(encoding="utf-8"))
    if path.stem in TABLES:
        assert TABLES[path.stem](result["figures"]).startswith("|")


def test_the_pages_tables_are_the_results():
    text = PAGE.read_text(encoding="utf-8")
    assert renewed(text) == text, "run `.venv/bin/python -m bench.report`"


def test_the_picture_is_of_the_results():
    pytest.importorskip("PIL")
    from PIL import Image

    sources = sorted(RESULTS.glob("*/transformers.json"))
    if not sources:
        pytest.skip("no results are committed yet")
    with Image.open(PICTURE) as picture:
        drawn = json.loads(picture.text["bars"])
    assert drawn == contestants(json.loads(sources[0].read_text(encoding="utf-8")))


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    pipe, said = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: said.append(pipe.read_text()))
    reader.start()
    write({"figure": 1}, pipe)
    reader.join(30)
    assert said == ['{\n "figure": 1\n}\n'] and pipe.is_fifo()
