"""The pretrainings meet NaN, a power cut, Ctrl-C, a full disk and senseless numbers, and save nothing wrong."""

import json
import signal

import pytest

torch = pytest.importorskip("torch", reason="offline stack not installed")
pytest.importorskip("transformers", reason="offline stack not installed")

from safetensors.torch import load_file  # noqa: E402

from segzero_ros.errors import RejectedInput  # noqa: E402
from tests.training.drawn_rectangles import draw_shard  # noqa: E402
from training.demo_models import pretrain_reasoner, pretrain_segmenter, reasoner_model  # noqa: E402
from training.demo_models.segmenter_model import build_model, demo_config  # noqa: E402

SMALL = ["--vision-steps", "2", "--vision-images", "2", "--images-per-step", "2"]
SMALL += ["--questions", "1", "--decay-from", "1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    draw_shard(folder / "train" / "shard-00000", 2, 8)
    draw_shard(folder / "val" / "shard-00000", 3, 2)
    return folder


def reasoner(data, out, *more):
    folders = ["--data", str(data / "train"), "--val", str(data / "val"), "--out", str(out)]
    return pretrain_reasoner.main([*folders, *SMALL, *more])


def segmenter(data, out, *more):
    small = ["--images-per-step", "2", "--prompts-per-image", "2"]
    return pretrain_segmenter.main(["--data", str(data / "train"), "--out", str(out), *small, *more])


@pytest.fixture
def small_sam2(monkeypatch):
    monkeypatch.setattr(pretrain_segmenter, "build_model", lambda seed, config: build_model(seed, demo_config(64)))


def only_numbers(folder):
    return all(bool(torch.isfinite(tensor).all()) for tensor in load_file(folder / "model.safetensors").values())


def test_a_step_of_the_reasoner_without_a_usable_loss_is_left_out(data, tmp_path, monkeypatch, capfd):
    real, made = pretrain_reasoner.Learner.losses, []

    def sick(self, batch):
        losses = real(self, batch)
        made.append(1)
        return {**losses, "total": losses["total"] * float("nan")} if len(made) == 2 else losses

    monkeypatch.setattr(pretrain_reasoner.Learner, "losses", sick)
    assert reasoner(data, tmp_path, "--steps", "3") == 0
    assert "step 2: the loss or a gradient is no number" in capfd.readouterr().err
    assert only_numbers(tmp_path / "checkpoint")


def test_a_step_of_the_segmenter_without_a_usable_loss_is_left_out(data, tmp_path, monkeypatch, capfd, small_sam2):
    real, made = pretrain_segmenter.segmentation_loss, []

    def sick(*args):
        losses = real(*args)
        made.append(1)
        return {**losses, "mask": losses["mask"] * float("inf")} if len(made) == 2 else losses

    monkeypatch.setattr(pretrain_segmenter, "segmentation_loss", sick)
    assert segmenter(data, tmp_path, "--steps", "3") == 0
    assert "step 2: the loss or a gradient is no number" in capfd.readouterr().err
    assert only_numbers(tmp_path / "checkpoint")


def test_a_broken_checkpoint_of_the_reasoner_gives_way_to_the_one_before(data, tmp_path, capfd):
    assert reasoner(data, tmp_path, "--steps", "2", "--save-every", "1") == 0
    broken = tmp_path / "checkpoint" / "optimiser.pt"
    broken.write_bytes(broken.read_bytes()[:-500])
    assert reasoner(data, tmp_path, "--steps", "3", "--resume") == 0
    assert "put aside as checkpoint.broken" in capfd.readouterr().err
    assert json.loads((tmp_path / "checkpoint" / "training.json").read_text())["step"] == 3
    for name in ("checkpoint", "checkpoint.old"):
        (tmp_path / name / "training.json").write_text("{")
    with pytest.raises(RejectedInput, match="start without --resume"):
        reasoner_model.newest_whole(tmp_path)


def test_a_broken_state_of_the_segmenter_gives_way_to_the_one_before(data, tmp_path, capfd, small_sam2):
    assert segmenter(data, tmp_path, "--steps", "1") == 0
    assert segmenter(data, tmp_path, "--steps", "2", "--resume") == 0
    state = tmp_path / "state.pt"
    state.write_bytes(state.read_bytes()[:5000])
    assert segmenter(data, tmp_path, "--steps", "3", "--resume") == 0
    assert "going on from state.pt.old" in capfd.readouterr().err
    for name in ("state.pt", "state.pt.old"):
        (tmp_path / name).write_bytes(b"nothing")
    assert segmenter(data, tmp_path, "--steps", "4", "--resume") == 2
    assert "cut short or changed" in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_reasoner_is_saved_and_no_success(data, tmp_path, monkeypatch, capfd, number):
    real = pretrain_reasoner.Learner.losses

    def stopped(self, batch):
        signal.raise_signal(number)
        return real(self, batch)

    monkeypatch.setattr(pretrain_reasoner.Learner, "losses", stopped)
    before = signal.getsignal(number)
    assert reasoner(data, tmp_path, "--steps", "9") == 128 + number
    assert "stopping: what is learned so far is saved" in capfd.readouterr().err
    assert json.loads((tmp_path / "checkpoint" / "training.json").read_text())["step"] == 1
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("train", [reasoner, segmenter])
def test_a_full_disk_is_one_line_and_leaves_the_checkpoint_before(
    data, tmp_path, monkeypatch, capfd, small_sam2, train
):
    steps = ("--steps", "1") if train is segmenter else ("--steps", "2")
    assert train(data, tmp_path, *steps) == 0
    kept = sorted(path.name for path in tmp_path.iterdir())

    def full(*_, **__):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", full)
    assert train(data, tmp_path, "--steps", "3", "--resume") == 2
    assert "could not write" in capfd.readouterr().err.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    assert only_numbers(tmp_path / "checkpoint")


def test_resume_with_nothing_there_says_so(data, tmp_path, capfd):
    assert reasoner(data, tmp_path, "--steps", "1", "--resume") == 0
    assert "--resume: there is no checkpoint in" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("main", "more"),
    [
        (pretrain_reasoner.main, ["--muon", "nan"]),
        (pretrain_reasoner.main, ["--adam", "-1"]),
        (pretrain_reasoner.main, ["--images-per-step", "0"]),
        (pretrain_reasoner.main, ["--recoloured", "1.2"]),
        (pretrain_reasoner.main, ["--save-every", "0"]),
        (pretrain_reasoner.main, ["--steps", "-1"]),
        (pretrain_segmenter.main, ["--minutes", "nan"]),
        (pretrain_segmenter.main, ["--steps", "0"]),
        (pretrain_segmenter.main, ["--images-per-step", "-2"]),
        (pretrain_segmenter.main, ["--seed", "-1"]),
    ],
)
def test_numbers_nobody_can_train_with_are_one_line(tmp_path, capsys, main, more):
    with pytest.raises(SystemExit) as ended:
        main(["--data", str(tmp_path), "--val", str(tmp_path), "--out", str(tmp_path / "out"), *more])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and repr(more[1]) in error and ", want a " in error
