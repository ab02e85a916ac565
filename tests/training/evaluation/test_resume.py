"""A killed evaluation goes on where it was, asks nothing twice, and never mixes two runs."""

import json
import os
import threading

import pytest

from segzero_ros.backends.fake import FakeReasoner, FakeSegmenter
from segzero_ros.errors import RejectedInput
from segzero_ros.pipeline import Pipeline
from segzero_ros.profile import get_profile
from training.evaluation import main as evaluate
from training.evaluation.main import main
from training.evaluation.page import page
from training.evaluation.record import read_samples
from training.evaluation.run import Listener, ask_all
from training.evaluation.summary import summarise

from .made_examples import MUG, Made, bad_row, example, said

GIVEN = Made(*(example(f"s{n}", MUG, question=f"mug {n}") for n in range(5)), bad_row())


class Killed(BaseException):
    """Stands for the signal that ends a process."""


@pytest.fixture
def engine(monkeypatch):
    """The engine that `segzero eval` opens, over six made samples."""
    reasoner = FakeReasoner(said(MUG))
    pipeline = Pipeline(get_profile("abstaining_v2"), reasoner, FakeSegmenter())
    monkeypatch.setattr(evaluate, "open_engines", lambda *_: pipeline)
    monkeypatch.setattr(evaluate, "open_examples", lambda *_, **__: GIVEN)
    return reasoner


@pytest.fixture
def file(tmp_path):
    return tmp_path / "samples.jsonl"


def arguments(file, *more):
    return ["--backend", "fake", "--data", "made", "--samples", str(file), *more]


def questions(engine):
    return [command.text for command in engine.commands]


def kill_after(monkeypatch, count):
    """Let the process die once so many samples are written."""
    seen = evaluate.Progress.seen

    def dying(self, record):
        seen(self, record)
        if record.number == count - 1:
            raise Killed

    monkeypatch.setattr(evaluate.Progress, "seen", dying)


def test_a_killed_run_goes_on_without_asking_again(engine, file, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        kill_after(patch, 2)
        with pytest.raises(Killed):
            main(arguments(file))
    assert len(read_samples(file)[1]) == 2
    figures = tmp_path / "figures.json"
    assert main(arguments(file, "--resume", "--out", str(figures))) == 0
    assert questions(engine) == [f"mug {n}" for n in range(5)]
    assert [record.number for record in read_samples(file)[1]] == list(range(6))
    summary = json.loads(figures.read_text())
    assert (summary["count"], summary["codes"]) == (6, {"IMAGE_UNREADABLE": 1, "OK": 5})


def test_a_line_cut_short_by_the_kill_is_asked_again(engine, file):
    main(arguments(file))
    engine.commands.clear()
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:4]) + lines[4][:50])
    main(arguments(file, "--resume"))
    assert questions(engine) == ["mug 3", "mug 4"]
    assert len(read_samples(file)[1]) == 6


@pytest.mark.parametrize("left", ["", '{"run": {"data'])
def test_a_file_that_was_only_begun_starts_anew(engine, file, left):
    file.write_text(left)
    assert main(arguments(file, "--resume")) == 0
    assert len(read_samples(file)[1]) == 6


def test_a_full_file_needs_no_engine(engine, file, monkeypatch, capsys):
    main(arguments(file))
    before = capsys.readouterr().out
    monkeypatch.setattr(evaluate, "open_engines", lambda *_: pytest.fail("nothing is left to be asked"))
    assert main(arguments(file, "--resume")) == 0
    assert capsys.readouterr().out == before


@pytest.mark.parametrize("more", [("--seed", "8"), ("--timeout", "3"), ("--split", "val")])
def test_the_file_of_another_run_is_refused_by_the_first_thing_that_differs(engine, file, more):
    main(arguments(file))
    with pytest.raises(RejectedInput, match=f"of a run with {more[0][2:]}"):
        main(arguments(file, "--resume", *more))


def test_a_file_is_never_overwritten(engine, file):
    main(arguments(file))
    kept = file.read_text()
    with pytest.raises(RejectedInput, match="add --resume"):
        main(arguments(file))
    assert file.read_text() == kept


@pytest.mark.parametrize("text", ["my thesis, in one line", "a list\nof things\nunfinished", '{"other": 1}\n{"x"'])
def test_a_file_that_is_no_evaluations_is_left_as_it_was(engine, file, text):
    file.write_text(text)
    with pytest.raises(RejectedInput, match="whose line 1 is none"):
        main(arguments(file, "--resume"))
    assert file.read_text() == text


def test_samples_left_out_are_noticed(engine, file):
    main(arguments(file))
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:2], *lines[3:]]))
    with pytest.raises(RejectedInput, match="left out or out of order"):
        main(arguments(file, "--resume"))


def test_a_folder_that_is_not_there_is_told_before_anything_is_asked(engine, tmp_path):
    with pytest.raises(RejectedInput, match="make the folder first"):
        main(arguments(tmp_path / "nowhere" / "samples.jsonl"))
    assert engine.commands == []


def test_the_commands_by_hand_are_a_group_beside_the_others(engine, file, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(evaluate, "SpokenExamples", lambda: Made(example("h", MUG), example("i", kind="absent")))
    figures = tmp_path / "figures.json"
    page = tmp_path / "page"
    assert main(arguments(file, "--also-spoken", "--out", str(figures), "--page", str(page))) == 0
    summary = json.loads(figures.read_text())
    assert (summary["spoken"]["count"], summary["spoken"]["right"]["value"]) == (2, 0.5)
    assert summary["types"]["all"]["count"] == 6, "they are not mixed into the others"
    assert "spoken, by hand" in capsys.readouterr().out
    assert "spoken, by hand" in (page / "index.html").read_text()


def test_resuming_needs_a_file(engine):
    with pytest.raises(RejectedInput, match="without --samples FILE"):
        main(["--backend", "fake", "--data", "made", "--resume"])


@pytest.mark.parametrize(
    "more", [("--server", "http://127.0.0.1:9/v1"), ("--model", "other"), ("--draft-tokens", "4"), ("--free-answers",)]
)
def test_a_run_with_other_engine_options_is_refused(engine, file, more):
    main(arguments(file))
    with pytest.raises(RejectedInput, match=f"of a run with {more[0][2:].replace('-', '_')}"):
        main(arguments(file, "--resume", *more))


def test_a_full_disk_is_one_line_and_leaves_no_partial_figures(engine, file, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left")

    monkeypatch.setattr(type(tmp_path), "replace", full)
    with pytest.raises(RejectedInput, match=r"No space left.*--resume"):
        main(arguments(file, "--out", str(tmp_path / "figures.json")))
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


JUNK = [None, [], {}, "x", 5, -1.5, True, float("nan"), 10**400, [[1]], [None], {"total_ms": "x"}, "\ud83d"]


def test_a_line_that_was_changed_by_hand_is_refused_or_is_a_record(engine, file, tmp_path):
    assert main(arguments(file)) == 0
    head, first, *_ = file.read_text().splitlines()
    values, refused = json.loads(first), []
    for name in values:
        for junk in JUNK:
            file.write_text(f"{head}\n{json.dumps({**values, name: junk})}\n")
            try:
                run, records = read_samples(file)
            except RejectedInput as error:
                refused.append(error.detail)
                continue
            figures = summarise(records)
            if isinstance(junk, str):
                page({**run, **figures}, records, GIVEN)
    assert len(refused) > 200
    assert all("line 2" in detail and len(detail) < 500 for detail in refused)


def test_data_that_was_changed_since_is_refused(engine, file, monkeypatch):
    assert main(arguments(file)) == 0
    whole = file.read_text()
    for changed in (example("s0", MUG, question="cup 0"), example("s0", (1.0, 1.0, 9.0, 9.0), question="mug 0")):
        others = (example(f"s{n}", MUG, question=f"mug {n}") for n in range(1, 5))
        made = Made(changed, *others, bad_row())
        monkeypatch.setattr(evaluate, "open_examples", lambda *_, made=made, **__: made)
        with pytest.raises(RejectedInput, match="changed since, sample 0"):
            main(arguments(file, "--resume"))
        assert file.read_text() == whole


def test_figures_are_not_written_over_samples_nor_a_page_into_a_file(engine, file, tmp_path):
    with pytest.raises(RejectedInput, match="want two"):
        main(arguments(file, "--out", f"{tmp_path}/./{file.name}"))
    file.write_text("mine")
    for place in (file, file / "page"):
        with pytest.raises(RejectedInput, match="--page"):
            main(["--backend", "fake", "--data", "made", "--page", str(place)])
    assert file.read_text() == "mine" and not engine.commands


def test_a_device_is_written_to_and_not_replaced_and_not_read_for_ever(engine, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: said_to_pipe.append(pipe.read_text()))
    said_to_pipe = []
    reader.start()
    assert main(["--backend", "fake", "--data", "made", "--out", str(pipe)]) == 0
    reader.join(30)
    assert json.loads(said_to_pipe[0])["count"] == 6 and pipe.is_fifo()
    for words in (["--compare", str(pipe), str(pipe)], arguments(pipe, "--resume")):
        with pytest.raises(RejectedInput, match="no file"):
            main(words)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_thinking_is_one_text_however_it_is_streamed(size):
    text, listener = said(MUG, thinking="one two three"), Listener()
    listener.pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert listener.thinking == "one two three"


def test_thinking_is_counted_by_what_counts_tokens_for_every_engine():
    reasoner = FakeReasoner(said(MUG, thinking="one two three"))
    pipeline = Pipeline(get_profile("abstaining_v2"), reasoner, FakeSegmenter())
    asked = ask_all(pipeline, Made(example("s", MUG)), lambda _: None, tokens_of=lambda text: 10 * len(text.split()))
    assert [record.thinking_tokens for record in asked] == [30]
