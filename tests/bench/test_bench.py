"""`segzero bench` measures what it says: on few questions, and with no claim about how fast this machine is."""

import json

import pytest

from bench import node
from bench.levers import compared as lever_figures
from bench.main import main, read_arguments
from bench.report import TABLES
from bench.transformers_side import compared
from segzero_ros.cli.main import main as segzero


def test_the_stage_table_is_printed_and_written(tmp_path, capsys):
    assert segzero(["bench", "--count", "8", "--threads", "1", "--out", str(tmp_path / "stages.json")]) == 0
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "stages.json").read_text())
    figures = result["figures"]
    for stage in ("queue", "vision", "prefill", "first_token", "per_token", "decode", "encode", "mask_decode", "total"):
        assert stage in printed
        assert figures["ms"][stage]["p95"] >= figures["ms"][stage]["p50"] >= 0
    assert figures["questions"] == 5
    assert result["settings"]["threads"] == 1
    assert "publish" in figures["ms"] or figures["publish_not_measured"]


def test_the_fakes_have_a_stage_table_too(capsys):
    assert main(["--backend", "fake", "--count", "8"]) == 0
    assert "fake" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["--all", "--compare", "node"], ["--compare", "lever"], ["--cuont", "9"], ["--count", "1"]]
)
def test_misuse_ends_with_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        read_arguments(arguments)
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def measured(total, steps, text="a</answer>"):
    from bench.interleave import Measured

    ms = {"cpu": total, "total": total, "reasoning": total / 2, "first_token": total / 4}
    return Measured(ms, {"tokens": steps, "steps": steps, "answer_steps": steps / 2}, text)


def test_ratios_and_equal_texts_come_from_pairs():
    found = compared(
        {
            "ours": [measured(10, 20), measured(12, 20)],
            "eager": [measured(60, 40, "a</answer> and more"), measured(72, 40, "b")],
        }
    )
    against = found["times_slower"]["eager"]
    assert against["command_to_mask"]["ratio"] == pytest.approx(6)
    assert against["same_text"] == 0.5
    assert "times slower" in TABLES["transformers"](found)


def test_levers_are_compared_with_their_absence():
    names = ("default", "warm_frame", "free_answers", "speculate_3", "one_thread", "two_threads", "budget_8")
    found = {name: [measured(20 if name == "default" else 10, 20)] * 3 for name in names}
    found["free_answers"] = [measured(30, 50)] * 3
    levers = lever_figures(found)["levers"]
    assert levers["warm_frame"]["first_token"]["ratio"] == 2
    assert levers["constrained"]["steps_per_reply"]["ratio"] == 2.5
    assert "warm frame" in TABLES["levers"]({"levers": levers})


def test_the_nodes_overhead_is_measured_over_the_real_node():
    if node.available():
        pytest.skip(node.available())
    with node.ros() as rclpy:
        found = node.overhead(rclpy, 2, warmup=1)
    assert {"work", "whole_node", "field_list", "field_bytes", "cv_bridge"} <= set(found["ms_per_720p_frame"])
    assert all(values["count"] == 2 for values in found["ms_per_720p_frame"].values())


def test_a_camera_nobody_speaks_to_costs_what_the_process_says(tmp_path):
    if node.available():
        pytest.skip(node.available())
    with node.ros() as rclpy:
        found = node.idle(rclpy, seconds=2.0, hz=5.0, backend="fake", logs=tmp_path)
    assert found["frames"] > 0
    assert 0 <= found["share_of_one_core"] < 2
