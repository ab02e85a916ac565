"""The sealed test: sentences that nothing trains on, a hash of all questions, and figures that are had once."""

import json
import re
from pathlib import Path

import pytest

from segzero_ros.errors import RejectedInput
from segzero_ros.tabletop.samples import EVALUATION_SEEDS, SEEDS_PER_EVALUATION
from segzero_ros.tabletop.sampling import sample_scene
from segzero_ros.tabletop.things import COLOURS, KINDS
from tests.training.evaluation.test_spoken import is_template
from training.evaluation import main as evaluation
from training.evaluation import sealed
from training.evaluation.spoken import SpokenExamples, read_spoken

ROOT = Path(__file__).parents[3]
SENTENCES = read_spoken(sealed.SENTENCES)
SMALL = {"template": 2, "composed": 2, "spoken": 2}


@pytest.mark.parametrize("spoken", SENTENCES, ids=lambda spoken: str(spoken.seed))
def test_no_template_makes_the_sentence(spoken):
    plain = spoken.text.lower().strip(".?! ")
    assert not is_template(plain) and not is_template(plain + "?")


def test_the_sentences_are_others_than_those_of_development_about_other_scenes():
    known = read_spoken()
    assert len(SENTENCES) == 100 == len({spoken.text for spoken in SENTENCES})
    assert not {spoken.text for spoken in known} & {spoken.text for spoken in SENTENCES}
    assert not {spoken.seed for spoken in known} & {spoken.seed for spoken in SENTENCES}
    counts = {"several": range(2, 5), "absent": [0]}
    assert not [one for one in SENTENCES if len(one.targets) not in counts.get(one.kind, [1])]


def test_no_other_evaluation_has_its_seeds():
    used = {(spoken.seed - EVALUATION_SEEDS) // SEEDS_PER_EVALUATION for spoken in SENTENCES}
    assert not used & {7, 11, sealed.SEED, sealed.SEED + 1}
    said = [
        str(file.relative_to(ROOT))
        for folder in ("training", "segzero_ros", "export", "tools", "bench")
        for file in (ROOT / folder).glob("**/*.py")
        if re.search(rf"\b{sealed.SEED}\b|sealed\.jsonl|evaluation import sealed", file.read_text(encoding="utf-8"))
    ]
    assert sorted(said) == ["training/evaluation/main.py", "training/evaluation/sealed.py"]


def test_what_a_sentence_means_is_of_the_colour_and_kind_that_it_names():
    """Where it names just one of each; "not the mugs" and "tea in the red one, and" say more than a rule can read."""
    for spoken in SENTENCES:
        words = set(re.findall(r"[a-z]+", spoken.text.lower()))
        if words & {"not", "isn", "no", "neither", "hate", "from", "and", "between", "away", "matches"}:
            continue
        things = {thing.id: thing for thing in sample_scene(spoken.seed, "test").things}
        for target in spoken.targets:
            assert words & set(COLOURS) <= {things[target].colour}, spoken
            assert (words - {"can", "light"}) & set(KINDS) <= {things[target].kind}, spoken


def test_all_that_is_meant_can_be_seen():
    """Of every fourth sentence; a picture costs some seventy milliseconds."""
    pytest.importorskip("mujoco", reason="needs the demo world")
    examples = SpokenExamples(file=sealed.SENTENCES)
    for example in (examples[n] for n in range(0, len(examples), 4)):
        assert all(mask.sum() > 500 for mask in example.object_masks)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A sealed test of six questions, with a file of scores of its own."""
    pytest.importorskip("mujoco", reason="needs the demo world")
    sentences = tmp_path / "sealed.jsonl"
    sentences.write_text("".join(sealed.SENTENCES.read_text().splitlines(keepends=True)[:2]))
    monkeypatch.setattr(sealed, "PARTS", SMALL)
    monkeypatch.setattr(sealed, "SENTENCES", sentences)
    monkeypatch.setattr(sealed, "SCORES", tmp_path / "scores.jsonl")
    examples = sealed.SealedExamples()
    for n in range(len(examples)):
        examples[n]
    monkeypatch.setattr(sealed, "SEAL", examples.questions_hash)
    return sealed.SCORES


def take(*options):
    return evaluation.main(["--data", "sealed", "--bundle", "tabletop", *options])


def test_a_bundle_takes_it_once_and_its_figures_stand_in_the_file(small, capsys):
    assert take() == 0
    assert "has taken the sealed test" in capsys.readouterr().out
    [row] = [json.loads(line) for line in small.read_text().splitlines()]
    assert {name: part["count"] for name, part in row["parts"].items()} == SMALL
    assert row["types"]["all"]["count"] == 6 and row["seal"] == sealed.SEAL
    with pytest.raises(RejectedInput, match=r"took the sealed test on .*it is taken once"):
        take()
    assert len(small.read_text().splitlines()) == 1


def test_another_question_is_another_test(small, monkeypatch):
    changed = sealed.SENTENCES.read_text().replace("please", "would you", 1)
    sealed.SENTENCES.write_text(changed)
    with pytest.raises(RejectedInput, match="is another test"):
        take()
    assert not small.exists()


@pytest.mark.parametrize(
    "options", [("--samples", "a.jsonl"), ("--page", "page"), ("--count", "3"), ("--also-spoken",)]
)
def test_its_answers_are_not_shown(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RejectedInput, match="show or choose its questions"):
        take(*options)
    assert not list(tmp_path.iterdir())
