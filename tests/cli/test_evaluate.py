"""`segzero eval`: rendered scenes in, figures, samples and a page out, and nothing heavy imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from segzero_ros.cli.main import main as segzero
from segzero_ros.errors import RejectedInput
from training.evaluation.main import main
from training.evaluation.record import read_samples

ROOT = Path(__file__).parents[2]


def test_the_command_scores_rendered_scenes_and_writes_all_files(tmp_path, capsys):
    pytest.importorskip("mujoco", reason="needs the demo world")
    figures, lines, page = tmp_path / "figures.json", tmp_path / "samples.jsonl", tmp_path / "page"
    arguments = ["--backend", "fake", "--count", "3", "--seed", "1", "--out", str(figures), "--samples", str(lines)]
    assert main([*arguments, "--page", str(page)]) == 0
    summary = json.loads(figures.read_text())
    assert (summary["count"], summary["seed"], summary["types"]["all"]["count"]) == (3, 1, 3)
    run, records = read_samples(lines)
    assert (run["data"], run["split"], run["count"], len(records)) == ("tabletop", "test", 3, 3)
    assert len({record.id for record in records}) == 3
    assert "single object" in capsys.readouterr().out
    assert (page / "index.html").read_text().count("data:image/jpeg") == 6


def test_composed_questions_are_evaluated_like_others(tmp_path):
    pytest.importorskip("mujoco", reason="needs the demo world")
    figures = tmp_path / "figures.json"
    assert main(["--backend", "fake", "--wording", "composed", "--count", "2", "--out", str(figures)]) == 0
    summary = json.loads(figures.read_text())
    assert (summary["wording"], summary["count"]) == ("composed", 2)


def test_the_rich_world_is_evaluated_by_name_and_its_samples_are_no_others(tmp_path):
    pytest.importorskip("mujoco", reason="needs the demo world")
    file = tmp_path / "samples.jsonl"
    rich = ["--backend", "fake", "--world", "rich", "--count", "2", "--samples", str(file)]
    assert main(rich) == 0
    run, records = read_samples(file)
    assert run["world"] == "rich" and all(record.id.startswith("rich-") for record in records)
    assert main([*rich, "--resume"]) == 0
    with pytest.raises(RejectedInput, match="of a run with world 'rich', now 'simple'"):
        main(["--backend", "fake", "--count", "2", "--samples", str(file), "--resume"])


def test_spoken_commands_are_evaluated_like_others(tmp_path):
    pytest.importorskip("mujoco", reason="needs the demo world")
    figures = tmp_path / "figures.json"
    assert main(["--backend", "fake", "--wording", "spoken", "--count", "2", "--out", str(figures)]) == 0
    summary = json.loads(figures.read_text())
    assert (summary["wording"], summary["count"], summary["seen"]["unseen wording"]["count"]) == ("spoken", 2, 2)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--wording", "spoken", "--split", "val"], "it is about tabletop's test split"),
        (["--wording", "composed", "--data", "photos"], "it is about tabletop"),
        (["--wording", "whispered"], "template"),
        (["--world", "rich", "--wording", "spoken"], "--world rich; it is for --data tabletop with --wording template"),
        (["--world", "rich", "--data", "photos"], "--world rich; it is for --data tabletop"),
        (["--data", "tabletob"], "no such file or folder"),
        (["--count", "0"], "from 1 on"),
        (["--compare", "a.jsonl"], "expected 2 arguments"),
        (["--compare", "a.jsonl", "b.jsonl"], "could not read 'a.jsonl'"),
        (["--bundle", "nowhere", "--count", "1"], "nowhere"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_a_line(arguments, said, capsys):
    try:
        status = segzero(["eval", *arguments])
    except SystemExit as leaving:
        status = leaving.code
    shown = capsys.readouterr().err
    assert status == 2
    assert said in shown
    assert "Traceback" not in shown


def test_the_evaluation_imports_neither_torch_nor_transformers():
    watch = "import sys, training.evaluation.main; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", watch], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
