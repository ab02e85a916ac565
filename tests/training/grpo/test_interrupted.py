"""A GRPO run meets NaN, a power cut, Ctrl-C, a full disk and senseless numbers: nothing wrong is learned or saved."""

import math
import os
import re
import signal

import pytest

torch = pytest.importorskip("torch", reason="offline stack not installed")
pytest.importorskip("trl", reason="offline stack not installed")

import json  # noqa: E402

from safetensors.torch import load_file, save_file  # noqa: E402

from segzero_ros.errors import RejectedInput  # noqa: E402
from tests.training.drawn_rectangles import draw_shard  # noqa: E402
from training.demo_models.reasoner_model import build_model, demo_profile, train_tokenizer  # noqa: E402
from training.grpo import trainer as grpo_trainer  # noqa: E402
from training.grpo.main import main  # noqa: E402
from training.grpo.options import parse  # noqa: E402
from training.grpo.resume import checkpoints, newest_whole  # noqa: E402
from training.saving import recover_folder, replace_folder, score_in  # noqa: E402

Trainer = grpo_trainer.GroundingTrainer
PROFILE = demo_profile()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A random model with its tokenizer, and a folder of drawn shards."""
    folder = tmp_path_factory.mktemp("world")
    draw_shard(folder / "train" / "shard-00000", 5, 12)
    torch.manual_seed(4)
    tokenizer = train_tokenizer([PROFILE.system, PROFILE.render("the red mug")] * 3, 400)
    build_model(tokenizer).save_pretrained(folder / "model")
    tokenizer.save(str(folder / "model" / "tokenizer.json"))
    return folder


def options(world, out, *more):
    given = {
        "model": world / "model", "data": world / "train", "out": out, "segmenter": "", "steps": 3,
        "prompts-per-step": 2, "samples": 2, "response": 8, "save-every": 1, "entropy": 0.1, "lr": 1e-3,
    }  # fmt: skip
    return [word for name, value in given.items() for word in (f"--{name}", str(value))] + list(more)


def steps_of(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines() if '"reward"' in line]


def poison(monkeypatch, when, value):
    """Make the loss of some steps no number."""
    real = Trainer.compute_loss

    def sick(self, *args, **named):
        loss = real(self, *args, **named)
        return loss * value if self.state.global_step in when else loss

    monkeypatch.setattr(Trainer, "compute_loss", sick)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_without_a_usable_loss_changes_nothing_and_says_so(world, tmp_path, monkeypatch, capfd, value):
    poison(monkeypatch, {1}, value)
    assert main(options(world, tmp_path / "run", "--save-every", "1")) == 0
    assert "step 2: the loss or a gradient is no number" in capfd.readouterr().err
    assert [row.get("skipped", 0) for row in steps_of(tmp_path / "run")] == [0, 1, 0]
    for folder in checkpoints(tmp_path / "run"):
        assert all(bool(torch.isfinite(tensor).all()) for tensor in load_file(folder / "model.safetensors").values())


def test_a_run_in_which_no_step_is_usable_ends_in_one_line(world, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(grpo_trainer.StepGuard, "MOST_SKIPPED", 2)
    poison(monkeypatch, {0, 1, 2}, float("nan"))
    assert main(options(world, tmp_path / "run")) == 2
    assert "got 2 steps in a row without a usable loss" in capfd.readouterr().err.splitlines()[-1]


def test_weights_that_are_no_numbers_are_never_saved(world, tmp_path, monkeypatch, capfd):
    def ruined(self, *_, **__):
        with torch.no_grad():
            next(self.model.parameters()).view(-1)[0] = float("inf")

    monkeypatch.setattr(grpo_trainer.StepGuard, "on_optimizer_step", lambda self, *_, **__: ruined(self.trainer))
    assert main(options(world, tmp_path / "run")) == 2
    assert "weights that are no numbers after step 1" in capfd.readouterr().err.splitlines()[-1]
    assert not checkpoints(tmp_path / "run")


def cut(file):
    file.write_bytes(file.read_bytes()[:-2000])


def poisoned(file):
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    save_file(tensors, file, {"format": "pt"})


@pytest.fixture(scope="module")
def two_saves(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("saves") / "run"
    assert main(options(world, out, "--steps", "2")) == 0
    return out


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("model.safetensors", cut),
        ("model.safetensors", poisoned),
        ("optimizer.pt", cut),
        ("optimizer.pt", lambda file: file.unlink()),
        ("scheduler.pt", lambda file: file.write_bytes(b"")),
        ("config.json", cut),
        (
            "config.json",
            lambda file: file.write_text(re.sub('"num_hidden_layers": .', '"num_hidden_layers": 7', file.read_text())),
        ),
        ("trainer_state.json", lambda file: file.write_text("[" * 100_000)),
        ("trainer_state.json", cut),
        ("trainer_state.json", lambda file: file.unlink()),
    ],
)
def test_a_broken_newest_checkpoint_is_put_aside_for_the_one_before(two_saves, tmp_path, capfd, name, harm):
    import shutil

    out = shutil.copytree(two_saves, tmp_path / "run")
    harm(out / "checkpoint-2" / name)
    assert newest_whole(out).name == "checkpoint-1"
    assert "checkpoint-2 is not whole" in capfd.readouterr().err and (out / "broken-2").is_dir()
    harm(out / "checkpoint-1" / name)
    with pytest.raises(RejectedInput, match="no whole checkpoint"):
        newest_whole(out)


def test_a_run_goes_on_from_the_checkpoint_before_a_broken_one(world, two_saves, tmp_path):
    import shutil

    out = shutil.copytree(two_saves, tmp_path / "run")
    cut(out / "checkpoint-2" / "model.safetensors")
    assert main(options(world, out, "--resume")) == 0
    assert [path.name for path in checkpoints(out)] == ["checkpoint-2", "checkpoint-3"]


def test_resume_with_nothing_there_says_so(world, tmp_path, capfd):
    assert main(options(world, tmp_path / "run", "--resume", "--steps", "1")) == 0
    assert "--resume: there is no checkpoint in" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_within_a_rollout_saves_the_last_step_at_once_and_is_no_success(
    world, tmp_path, monkeypatch, capfd, number
):
    drawn, real = [], Trainer._go_on

    def stopped(self):
        drawn.append(self.state.global_step)
        if self.state.global_step == 2:
            os.kill(os.getpid(), number)
        real(self)

    monkeypatch.setattr(Trainer, "_go_on", stopped)
    assert main(options(world, tmp_path / "run", "--save-every", "50")) == 128 + number
    assert drawn.count(2) == 1, "the stop is seen at once"
    said = capfd.readouterr()
    assert "stopping: what is learned so far is saved" in said.err and "checkpoint-2 is saved" in said.out
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["checkpoint-2"]


def test_a_full_disk_ends_the_run_in_one_line_and_leaves_nothing_partial(world, tmp_path, monkeypatch, capfd):
    def full(*_, **__):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", full)
    assert main(options(world, tmp_path / "run")) == 2
    error = capfd.readouterr().err
    assert "Traceback" not in error and "checkpoint-1 (PytorchStreamWriter" in error.splitlines()[-1]
    assert not checkpoints(tmp_path / "run") and not (tmp_path / "run" / ".partial").exists()


def test_one_pass_is_one_pass_however_many_updates_a_rollout_gets(world, tmp_path):
    once, twice = tmp_path / "once", tmp_path / "twice"
    more = ["--steps", "0", "--prompts-per-step", "12", "--save-every", "100"]
    assert main(options(world, once, *more)) == main(options(world, twice, *more, "--iterations", "2")) == 0
    assert len(steps_of(twice)) == len(steps_of(once)) > 1, "rollouts"
    last = [json.loads((out / "log.jsonl").read_text().splitlines()[-1])["step"] for out in (once, twice)]
    assert last[1] == 2 * last[0], "updates"


@pytest.mark.parametrize("text", ["", "[]", '{"score": null}', '{"sco', "[" * 100_000])
def test_a_note_of_the_best_that_cannot_be_read_ends_no_training(tmp_path, capsys, text):
    (tmp_path / "validation.json").write_text(text)
    assert score_in(tmp_path / "validation.json") == -math.inf
    assert "the best is found anew" in capsys.readouterr().err
    assert score_in(tmp_path / "none.json") == -math.inf and not capsys.readouterr().err


def test_a_replaced_folder_is_there_whole_whenever_the_power_is_cut(tmp_path):
    place = tmp_path / "best"
    for n in range(2):
        (tmp_path / "fresh").mkdir()
        (tmp_path / "fresh" / "weights").write_text(str(n))
        replace_folder(tmp_path / "fresh", place)
    assert (place / "weights").read_text() == "1" and [path.name for path in tmp_path.iterdir()] == ["best"]
    place.replace(tmp_path / "best.old")  # where a cut between the two renames leaves it
    assert (recover_folder(place) / "weights").read_text() == "1"


@pytest.mark.parametrize(
    "more",
    [
        ["--samples", "1"], ["--prompts-per-step", "0"], ["--per-picture", "-1"], ["--iterations", "0"],
        ["--save-every", "0"], ["--evaluate-every", "0"], ["--micro-batch", "-4"], ["--response", "0"],
        ["--lr", "nan"], ["--lr", "-0.0001"], ["--lr", "inf"], ["--temperature", "0"], ["--temperature", "nan"],
        ["--threads", "0"], ["--steps", "-1"], ["--kl", "-1"], ["--clip", "0"], ["--word-noise", "1.5"],
        ["--mumble", "2"], ["--beta2", "1"], ["--weight-decay", "-0.1"], ["--seed", "-1"], ["--warmup", "-2"],
        ["--vllm-memory", "0"], ["--least-advantage", "nan"], ["--entropy", "inf"], ["--evaluate-count", "-1"],
    ],
)  # fmt: skip
def test_numbers_nobody_can_train_with_are_one_line(tmp_path, capsys, more):
    with pytest.raises(SystemExit) as ended:
        parse(["--out", str(tmp_path / "run"), *more])
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert repr(more[1]) in error and ", want a " in error and "Traceback" not in error
