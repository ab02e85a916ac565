"""The plots of trainings, from logs as the trainings write them."""

import json

import pytest

pytest.importorskip("matplotlib", reason="needs the plots' package")

from training.curves import curve, panels, read_log
from training.demo_models.plot import draw as draw_pretraining
from training.grpo.plot import draw as draw_grpo
from training.grpo.plot import newest


def test_a_curve_leaves_out_rows_without_its_figure_and_averages_the_last_few():
    _, (axes, _) = panels(2)
    curve(axes, [{"step": 1, "x": 1}, {"step": 2}, {"step": 3, "x": 3}, {"step": 4, "x": 5}], "x", smooth=2, scale=10)
    assert axes.lines[0].get_xydata().tolist() == [[3, 20], [4, 40]]


def test_of_a_step_done_again_the_last_row_counts():
    rows = [{"step": 2, "loss": 1}, {"step": 1, "loss": 2}, {"step": 2, "loss": 3}, {"step": 2, "held_out/all/hit": 1}]
    assert newest(rows) == [rows[1], rows[2], rows[3]]


def test_both_trainings_are_drawn_from_their_logs(tmp_path):
    log = tmp_path / "log.jsonl"
    held_out = {"all": {"hit": 0.5}, "absent": {"hit": 0.4}, "wrong": []}
    log.write_text(
        "".join(json.dumps({"step": n, "speak": 1 / (n + 1), "held_out": held_out}) + "\n" for n in range(3))
    )
    draw_pretraining(read_log(log), tmp_path / "pretraining.png")
    draw_grpo([[{"step": n, "reward/box": n} for n in range(20)]] * 2, tmp_path / "grpo.png")
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("pretraining.png", "grpo.png"))
