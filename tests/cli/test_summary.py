"""The figures of an evaluation, counted by hand."""

import json

import pytest

from training.evaluation_record import Record
from training.summary import summarise, table


def record(number, kind="attribute", *, code="OK", matched=True, both=1, either=1, pair=False, wording=False):
    times = {"first_token_ms": 1.0, "reasoning_ms": 2.0 + number, "segmentation_ms": 3.0, "total_ms": 6.0}
    return Record(
        number=number,
        id=f"s{number}",
        kind=kind,
        text="the mug",
        unseen_pair=pair,
        unseen_wording=wording,
        code=code,
        detail="",
        answer="",
        boxes=(),
        points=(),
        scores=(),
        true_boxes=(),
        matched=matched,
        absent=kind == "absent",
        found_pixels=either if code == "OK" else 0,
        intersection=both,
        union=either,
        filled_intersection=both,
        filled_union=either,
        tokens=40,
        thinking_tokens=20,
        milliseconds=times,
        labels="",
    )


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
