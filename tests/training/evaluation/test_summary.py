"""The figures of an evaluation, counted by hand."""

import json

import pytest

from tools.readme import evaluation_table
from training.evaluation.record import Record
from training.evaluation.summary import summarise, table


def record(
    number,
    kind="attribute",
    *,
    code="OK",
    matched=True,
    both=1,
    either=1,
    filled=None,
    pair=False,
    wording=False,
    **more,
):
    times = {"first_token_ms": 1.0, "reasoning_ms": 2.0 + number, "segmentation_ms": 3.0, "total_ms": 6.0}
    filled_both, filled_either = filled or (both, either)
    values = {
        "number": number,
        "id": f"s{number}",
        "kind": kind,
        "text": "the mug",
        "unseen_pair": pair,
        "unseen_wording": wording,
        "code": code,
        "detail": "",
        "answer": "",
        "boxes": (),
        "points": (),
        "scores": (),
        "true_boxes": (),
        "matched": matched,
        "absent": kind == "absent",
        "found_pixels": either if code == "OK" else 0,
        "intersection": both,
        "union": either,
        "filled_intersection": filled_both,
        "filled_union": filled_either,
        "tokens": 40,
        "thinking_tokens": 20,
        "milliseconds": times,
        "labels": "",
    }
    return Record(**values | more)


def figures(records, group="all"):
    return summarise(records)["types"][group]


def test_giou_is_the_mean_and_ciou_weighs_by_pixels():
    scores = figures([record(0, both=1, either=2), record(1, both=90, either=100)])
    assert scores["giou"]["value"] == pytest.approx(0.7)
    assert scores["ciou"]["value"] == pytest.approx(91 / 102, abs=1e-4)


def test_no_such_object_is_right_only_when_it_was_said():
    said = record(0, "absent", code="NO_TARGET", both=0, either=0)
    failed = record(1, "absent", code="ANSWER_UNREADABLE", both=0, either=0)
    invented = record(2, "absent", matched=False, both=0, either=50)
    assert [r.right for r in (said, failed, invented)] == [True, False, False]
    assert [r.iou for r in (said, failed, invented)] == [1.0, 0.0, 0.0]
    assert figures([said, failed, invented], "absent")["right"]["value"] == pytest.approx(1 / 3, abs=1e-4)


def test_n_acc_and_t_acc_are_counted_as_gres_does():
    """Of three without a target one is left empty; of four with one two are answered with a mask."""
    absent = [
        record(0, "absent", code="NO_TARGET", both=0, either=0),
        record(1, "absent", code="ANSWER_UNREADABLE", both=0, either=0),
        record(2, "absent", matched=False, both=0, either=50),
    ]
    there = [
        record(3, either=2),
        record(4, both=0, either=9, matched=False),
        record(5, code="NO_TARGET", both=0, either=9, matched=False),
        record(6, code="REASONER_FAILED", both=0, either=9, matched=False),
    ]
    every = figures([*absent, *there])
    assert every["n_acc"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert every["t_acc"]["value"] == 0.5
    assert "n_acc" not in figures(there)
    assert "t_acc" not in figures(absent)


def test_both_protocols_stand_side_by_side():
    """Ignored pixels: 1 of 2 without them, 3 of 4 with them counted as object."""
    scores = figures([record(0, both=1, either=2, filled=(3, 4)), record(1, both=4, either=8, filled=(6, 8))])
    assert [scores[key]["value"] for key in ("giou", "giou_filled", "ciou", "ciou_filled")] == [0.5, 0.75, 0.5, 0.75]
    assert "giou_empty_0" not in scores, "nobody is absent, so there is nothing to say"


def test_empty_and_empty_is_one_and_seg_zeros_zero_is_told_beside_it():
    empty = record(0, "absent", code="NO_TARGET", both=0, either=0)
    scores = figures([empty, record(1, both=1, either=2)])
    assert scores["giou"]["value"] == 0.75
    assert scores["giou_empty_0"]["value"] == scores["giou_filled_empty_0"]["value"] == 0.25
    assert scores["ciou"]["value"] == 0.5, "an empty sample adds no pixel"


def test_a_row_that_could_not_be_read_counts_as_wrong_and_belongs_to_no_kind():
    nothing = dict.fromkeys(("intersection", "union", "filled_intersection", "filled_union"))
    bad = record(1, "", code="IMAGE_UNREADABLE", matched=False, absent=None, **nothing)
    summary = summarise([record(0), bad])
    every = summary["types"]["all"]
    assert (every["count"], every["right"]["value"], every["giou"]["value"], every["t_acc"]["value"]) == (
        2,
        0.5,
        0.5,
        1.0,
    )
    assert set(summary["types"]) == {"attribute", "single object", "all"}


def test_tokens_have_mean_median_and_tail():
    tokens = figures([record(n, thinking_tokens=n) for n in range(101)])["thinking_tokens"]
    assert (tokens["value"], tokens["p50"], tokens["p95"]) == (50.0, 50.0, 95.0)
    assert tokens["low"] < 50 < tokens["high"]


def test_every_sample_counts_in_its_group_and_in_all():
    records = [record(0), record(1, "several", pair=True), record(2, "spatial", code="ANSWER_TRUNCATED", wording=True)]
    summary = summarise(records)
    counts = {name: group["count"] for name, group in summary["types"].items()}
    assert counts == {"attribute": 1, "spatial": 1, "several": 1, "single object": 2, "all": 3}
    assert {name: group["count"] for name, group in summary["seen"].items()} == {
        "seen pair and wording": 1,
        "unseen pair": 1,
        "unseen wording": 1,
    }
    assert summary["codes"] == {"ANSWER_TRUNCATED": 1, "OK": 2}
    assert figures(records)["format_valid"] == pytest.approx(2 / 3, abs=1e-4)


def test_an_interval_holds_its_value_and_is_the_same_every_time():
    records = [record(n, matched=n % 4 != 0) for n in range(100)]
    right = figures(records)["right"]
    assert right["value"] == 0.75
    assert 0.6 < right["low"] < 0.75 < right["high"] < 0.9
    assert right == figures(records)["right"]


def test_latency_is_told_by_stage():
    summary = summarise([record(n) for n in range(101)])
    assert summary["latency_ms"]["reasoning"] == {"p50": 52.0, "p95": 97.0}


def test_a_line_is_json_with_the_derived_figures():
    line = json.loads(record(0, both=1, either=4).line())
    assert (line["right"], line["iou"], line["code"]) == (True, 0.25, "OK")


def test_the_table_has_a_line_per_group():
    text = table(summarise([record(0), record(1, "absent", code="NO_TARGET", both=0, either=0)]))
    for name in ("attribute", "absent", "single object", "all", "codes: 1 NO_TARGET, 1 OK"):
        assert name in text


def test_the_table_shows_the_second_protocol_only_where_pixels_are_ignored():
    assert "ignore = object" not in table(summarise([record(0)]))
    assert "ignore = object" in table(summarise([record(0, both=1, either=2, filled=(3, 4))]))


def test_data_that_holds_nothing_out_has_no_rows_for_it():
    assert summarise([record(0), record(1)])["seen"] == {}


def test_the_readme_shows_what_an_evaluation_says():
    about = {"data": "tabletop", "split": "test", "seed": 7, "count": 2, "machine": "a CPU"}
    summary = about | summarise([record(0), record(1, "absent", code="NO_TARGET", both=0, either=0)])
    shown = evaluation_table(summary)
    assert "| attribute | 1 | 100.0 % (100-100) |" in shown
    assert "N-Acc" in shown
    assert "`segzero eval --data tabletop --split test --seed 7 --count 2`" in shown
    spoken = evaluation_table(summary | {"spoken": summary["types"]["all"]})
    assert "| spoken, by hand | 2 |" in spoken
    assert "--count 2 --also-spoken`" in spoken
    assert len({line.count("|") for line in spoken.splitlines() if line.startswith("|")}) == 1


def test_the_readme_shows_evaluations_of_the_first_version_too():
    old = {"value": 0.5, "low": 0.4, "high": 0.6}
    group = {"count": 3, "right": old, "giou": old, "ciou": old, "format_valid": 1.0, "tokens": 40.0}
    about = {"data": "tabletop", "split": "test", "seed": 7, "count": 3, "machine": "a CPU"}
    latency = {"total": {"p50": 80.0, "p95": 120.0}}
    shown = evaluation_table(about | {"types": {"all": group}, "seen": {}, "latency_ms": latency})
    assert "| all | 3 | 50.0 % (40-60) | 50.0 % (40-60) | 50.0 % (40-60) | 100.0 % |" in shown


def test_boxes_alone_have_no_mask_figures_however_many_rows_mean_nothing():
    boxes = {"both": None, "either": None, "filled": (None, None)}
    records = [record(0, absent=False, found_pixels=9, **boxes), record(1, "absent", both=0, either=0)]
    for group in summarise(records)["types"].values():
        assert not {"giou", "ciou", "masks", "giou_empty_0"} & set(group)
    with_mask = summarise([record(0, absent=False), records[1]])
    assert "giou" in with_mask["types"]["all"] and "giou" in with_mask["types"]["absent"]
