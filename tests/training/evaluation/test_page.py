"""The page holds everything it shows, and nothing that it shows can become a part of it."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from segzero_ros.backends.fake import FakeReasoner, FakeSegmenter
from segzero_ros.errors import RejectedInput
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from training.data.base import Example
from training.evaluation import main
from training.evaluation.page import SHOWN, best, failed, found_picture, page, truth_picture, worst, write_page
from training.evaluation.run import ask_all
from training.evaluation.summary import summarise

from .made_examples import BOWL, MUG, Made, bad_row, example, said

ROOT = Path(__file__).parents[3]
ABOUT = {"bundle": "<b>bundle</b>", "data": "made", "machine": "<i>a machine</i>", "seconds": 1.0}
HOSTILE = '<script>alert(1)</script><img src=http://x.y onerror="go()">\'&'


def asked(given, *answers):
    pipeline = Pipeline(get_profile("abstaining_v2"), FakeReasoner(*answers), FakeSegmenter())
    return list(ask_all(pipeline, given, lambda record: None))


def page_of(given, *answers):
    records = asked(given, *answers)
    return page(ABOUT | summarise(records), records, given)


class Elements(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.seen = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def test_untrusted_text_stays_text():
    hostile = example("a" + HOSTILE, MUG, question="the mug " + HOSTILE, kind="kind" + HOSTILE)
    shown = page_of(Made(hostile, hostile), said(MUG, thinking=HOSTILE), HOSTILE)
    seen = Elements(shown).seen
    assert not [tag for tag, _ in seen if tag in ("script", "b" + "undle", "iframe", "link", "i")]
    assert not [name for _, attributes in seen for name in attributes if name.startswith("on")]
    assert "alert(1)" in shown, "it is shown, as text"


def test_nothing_outside_the_page_is_asked_for():
    shown = page_of(Made(example("a", MUG)), said(MUG))
    seen = Elements(shown).seen
    sources = [attributes[name] for _, attributes in seen for name in ("src", "href") if name in attributes]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "url(" not in shown
    assert not re.search(r"https?://", shown)
    assert ("meta", "default-src 'none'") in [(tag, a.get("content", "")[:18]) for tag, a in seen]


def test_the_best_the_worst_and_the_failed_are_told_apart():
    given = Made(example("right", MUG), example("wrong", MUG), example("broken", MUG), bad_row())
    records = asked(given, said(MUG), said(BOWL), "no answer at all")
    assert [r.id for r in best(records)] == ["right"]
    assert [r.id for r in worst(records)] == ["wrong"]
    assert [r.code for r in failed(records)] == ["ANSWER_UNREADABLE", "IMAGE_UNREADABLE"]
    shown = page(ABOUT | summarise(records), records, given)
    assert "got no picture; put it there" in shown


def test_kinds_take_turns_and_the_sections_stay_short():
    many = [example(f"a{n}", MUG, kind="attribute") for n in range(30)] + [example("s", MUG, kind="spatial")]
    records = asked(Made(*many), said(BOWL))
    assert len(worst(records)) == SHOWN
    assert [r.kind for r in worst(records)[:2]] == ["attribute", "spatial"]


def test_true_and_found_masks_are_tinted_where_they_are():
    given = example("a", MUG)
    (record,) = asked(Made(given), said(BOWL))
    true, found = truth_picture(given), found_picture(record, given)
    assert true.shape == found.shape == (480, 480, 3)
    inside_mug, inside_bowl = (80, 90), (340, 310)
    assert true[inside_mug].any()
    assert not true[inside_bowl].any()
    assert found[inside_bowl].any()
    assert not found[inside_mug].any()


@pytest.mark.parametrize("height, width", [(30, 4000), (4000, 30), (1, 1), (2000, 1500)])
def test_pictures_of_any_shape_are_shown_at_a_sane_size(height, width):
    rgb = np.zeros((height, width, 3), np.uint8)
    mask = np.ones((height, width), bool)
    given = Example("a", "all of it", rgb, ((0.0, 0.0, width, height),), ((),), mask, ignore=mask)
    picture = truth_picture(given)
    assert picture.shape[1] == 480
    assert 1 <= picture.shape[0] <= 480


def test_a_truth_without_masks_or_points_is_shown_by_its_box():
    assert truth_picture(example("a", MUG, mask=None, object_masks=())).any()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    records = asked(Made(example("a", MUG)), said(MUG))
    with pytest.raises(RejectedInput, match="name another --page"):
        write_page(tmp_path / "file" / "page", ABOUT | summarise(records), records, Made(example("a", MUG)))


def test_a_page_without_matplotlib_is_refused_before_anything_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(main, "missing", list)
    with pytest.raises(RejectedInput, match=r"need matplotlib; .*pip install -r requirements/offline\.txt"):
        main.main(["--backend", "fake", "--count", "1", "--page", str(tmp_path)])


def test_only_a_page_brings_matplotlib_along():
    watch = "import sys, training.evaluation.main; print([m for m in ('matplotlib', 'scipy') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", watch], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
