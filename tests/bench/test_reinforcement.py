"""The study's page says what its runs' answers say: shares, differences, conditions, and what was not run."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="offline stack not installed")

from bench.reinforcement import page, second
from bench.reinforcement.figures import figures, last_validations, read_rows
from bench.reinforcement.page import BEGIN, END, renew, results
from training.grpo.study.answers import CAUSAL, FILE, SAMPLED_FILE

ROOT = Path(__file__).resolve().parents[2]


def write_run(out, name, right, *, how=("own",), in_right=0.5):
    """A run whose first `right` of 40 OOD questions are answered rightly; of the ID ones every other."""
    rows = []
    for split, share in (("ood", right), ("in", in_right)):
        for way in how if split == "ood" else ("own",):
            good = 40 * share if way in ("own", "control") else 0
            rows += [
                {"split": split, "how": way, "number": n, "right": n < good, "thinks": True, "words": 4}
                | {"names_targets": True, "names_candidates": False}
                for n in range(40)
            ]
    (out / name).mkdir(parents=True)
    (out / name / FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_success_is_one_and_its_tables_say_by_how_much(tmp_path):
    write_run(tmp_path, "free-0", 0.9, how=("own", *CAUSAL))
    write_run(tmp_path, "empty-0", 0.5)
    write_run(tmp_path, "none-0", 0.4)
    found = figures(tmp_path)
    assert found["verdict"] == dict.fromkeys(found["verdict"], True)
    assert found["differences"]["free - empty"]["ood"]["value"] == pytest.approx(0.4)
    assert found["causal"]["emptied"]["value"] == pytest.approx(0.9)
    assert found["not run"] == ["supervised", "random"]
    text = results(found, {})
    assert (
        "| free | 90.0 | 50.0 |" in text
        and "| free - empty | +40.0 (" in text
        and "not run: supervised, random" in text
    )


@pytest.mark.parametrize(("name", "study"), [("reinforcement", page), ("reinforcement-2", second)])
def test_the_pages_tables_are_those_of_the_stored_figures(name, study):
    [file] = (ROOT / "bench" / "results").glob(f"*/{name}.json")
    found = json.loads(file.read_text())["figures"]
    steps = {run: rows for run, rows in found["steps"].items() if run in ("free-0", "required-0")}
    said = (ROOT / "docs" / "reinforcement.md").read_text().partition(study.BEGIN)[2].partition(study.END)[0]
    assert said.strip() == study.results(found, steps)


def test_equal_arms_are_no_success(tmp_path):
    for name in ("free-0", "empty-0", "none-0"):
        write_run(tmp_path, name, 0.5, how=("own",) if name != "free-0" else ("own", *CAUSAL))
    assert not figures(tmp_path)["verdict"]["free beats empty out of distribution"]


def test_what_was_not_run_is_said_and_nothing_is_claimed(tmp_path):
    found = figures(tmp_path)
    assert set(found["verdict"].values()) == {None}
    assert "not run: free, empty, supervised, random, none" in results(found, {})


def test_the_runs_own_answers_are_compared_question_by_question(tmp_path):
    for name, right in (("free-0", [1, 1, 1, 0]), ("empty-0", [1, 0, 1, 0])):
        folder = tmp_path / name / "held_out"
        folder.mkdir(parents=True)
        for step, hits in ((0, [0, 0, 0, 0]), (24, right)):
            lines = [json.dumps({"number": n, "hit": bool(hit)}) + "\n" for n, hit in enumerate(hits)]
            (folder / f"{step:06}.jsonl").write_text("".join(lines))
    found = last_validations(tmp_path)
    assert found["difference"]["value"] == 0.25
    assert (found["start"], found["end"]) == ({"empty": 0.0, "free": 0.0}, {"empty": 0.5, "free": 0.75})


def test_the_sampled_answers_of_both_ends_of_a_run_are_shown(tmp_path):
    (tmp_path / "free-0").mkdir()
    rows = [{"step": n + 1, "reward": float(n >= 4), "tokens/thinking": 9.0 - n} for n in range(8)]
    (tmp_path / "free-0" / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "| free-0 | 8 | 0.00 -> 1.00 | 7.5 -> 3.5 |" in results(figures(tmp_path), {})


def test_only_what_stands_between_the_marks_is_made_anew(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"plan\n{BEGIN}\nold\n{END}\nafter\n")
    renew(page, "new")
    assert page.read_text() == f"plan\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    page.write_text("plan\n")
    with pytest.raises(ValueError, match="want the lines"):
        renew(page, "new")


def test_a_success_of_the_second_study_is_one_by_its_own_conditions(tmp_path):
    write_run(tmp_path, "free-0", 0.9, how=("own", *CAUSAL), in_right=0.9)
    write_run(tmp_path, "empty-0", 0.5, in_right=0.5)
    write_run(tmp_path, "none-0", 0.4, in_right=0.4)
    for name, causal in (("free-0", True), ("none-0", False)):
        rows = read_rows(tmp_path / name / FILE)
        more = [row | {"split": "in", "how": how} for row in rows if row["split"] == "ood" for how in CAUSAL if causal]
        more = [row | {"right": row["number"] < 36 if row["how"] == "control" else False} for row in more]
        write_lines(tmp_path / name / FILE, rows + more)
        named = [row | {"how": "sampled", "names_candidates": causal} for row in rows if row["how"] == "own"]
        write_lines(tmp_path / name / SAMPLED_FILE, named)
    found = second.figures(tmp_path)
    assert found["verdict"] == dict.fromkeys(found["verdict"], True)
    assert found["differences"]["free - empty"]["all"]["value"] == pytest.approx(0.4)
    assert found["causal"]["free"]["swapped"]["value"] == pytest.approx(0.9)
    assert found["named"]["free"]["value"] == 1.0
    assert "| free - empty | +40.0 (" in second.results(found, {})


def test_the_second_study_claims_nothing_of_what_was_not_run(tmp_path):
    found = second.figures(tmp_path)
    assert set(found["verdict"].values()) == {None}
    assert "not run: free, empty, supervised, random, none, required" in second.results(found, {})


def write_lines(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
