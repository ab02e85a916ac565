"""A GRPO run of a few steps: it learns from its own samples, survives a kill exactly, and refuses what does not fit."""

import json
import multiprocessing
import os
import signal

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="offline stack not installed")
pytest.importorskip("trl", reason="offline stack not installed")

from safetensors.torch import load_file  # noqa: E402
from transformers import Qwen2_5_VLForConditionalGeneration  # noqa: E402

from segzero_ros.errors import RejectedInput  # noqa: E402
from tests.training.drawn_rectangles import draw_shard  # noqa: E402
from training.demo_models.reasoner_model import (  # noqa: E402
    build_model,
    demo_profile,
    train_tokenizer,
)
from training.evaluation.match_answer import match_answer  # noqa: E402
from training.grpo.main import grounded_settings, main  # noqa: E402
from training.grpo.options import DEMO, PAPER, build_parser, parse  # noqa: E402
from training.grpo.questions import (  # noqa: E402
    NoisyQuestions,
    ShardQuestions,
    draw_order,
    held_out,
    open_questions,
    parse_mix,
    split_off,
)
from training.grpo.scoring import summarise  # noqa: E402
from training.grpo.trainer import checkpoints  # noqa: E402
from training.rewards.truth import Truth  # noqa: E402

PROFILE = demo_profile()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A random model with its tokenizer, and two folders of drawn shards."""
    folder = tmp_path_factory.mktemp("world")
    draw_shard(folder / "train" / "shard-00000", 0, 12)
    draw_shard(folder / "val" / "shard-00000", 1, 4)
    torch.manual_seed(3)
    tokenizer = train_tokenizer([PROFILE.system, PROFILE.render("the red mug")] * 3, 400)
    build_model(tokenizer).save_pretrained(folder / "model")
    tokenizer.save(str(folder / "model" / "tokenizer.json"))
    return folder


def options(world, out, *more):
    """A run of four small steps. The entropy bonus moves the weights where no random answer earns a reward."""
    given = {
        "model": world / "model", "data": world / "train", "val": world / "val", "out": out, "segmenter": "",
        "steps": 4, "prompts-per-step": 2, "samples": 2, "response": 8, "save-every": 2, "evaluate-every": 2,
        "evaluate-count": 4, "entropy": 0.1, "kl": 0.01, "lr": 1e-3,
    }  # fmt: skip
    return [word for name, value in given.items() for word in (f"--{name}", str(value))] + list(more)


def weights(out):
    return load_file(checkpoints(out)[-1] / "model.safetensors")


def killed_after_its_first_checkpoint(arguments, out):
    """Run in a process of its own and kill -9 it in the step after the first checkpoint."""
    from training.grpo import trainer as grpo_trainer

    sample = grpo_trainer.GroundingTrainer._generate_single_turn

    def deadly(self, *args, **named):
        if checkpoints(out):
            os.kill(os.getpid(), signal.SIGKILL)
        return sample(self, *args, **named)

    def work():
        grpo_trainer.GroundingTrainer._generate_single_turn = deadly
        main(arguments)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(options(world, out)) == 0
    return out


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(world, whole, tmp_path):
    arguments = options(world, tmp_path / "parts")
    assert killed_after_its_first_checkpoint(arguments, tmp_path / "parts") == -signal.SIGKILL
    assert [path.name for path in checkpoints(tmp_path / "parts")] == ["checkpoint-2"]
    assert main([*arguments, "--resume"]) == 0
    start, end, resumed = load_file(world / "model" / "model.safetensors"), weights(whole), weights(tmp_path / "parts")
    assert all(torch.equal(end[name], resumed[name]) for name in end)
    assert any(not torch.equal(start[name], end[name]) for name in end)
    assert logged_steps(tmp_path / "parts") == logged_steps(whole)


def logged_steps(out):
    """Steps of a run's log, but for the summary at its end."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if "train_runtime" not in line]


def test_a_run_leaves_what_the_exporter_and_the_plots_read(whole):
    best, left = ({path.name for path in folder.iterdir()} for folder in (whole / "best", whole))
    assert {"config.json", "model.safetensors", "tokenizer.json", "validation.json"} <= best
    assert left - {".partial"} == {"best", "checkpoint-2", "checkpoint-4", "held_out", "log.jsonl", "tensorboard"}
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "reward" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    for name in (
        "reward/box",
        "groups_with_advantage/box",
        "tokens/thinking",
        "kl",
        "entropy",
        "clip_ratio/region_mean",
    ):
        assert all(name in line for line in steps), name
    validated = [line for line in lines if "held_out/all/hit" in line]
    assert [line["step"] for line in validated] == [0, 2, 4]
    assert {"held_out/all/iou", "held_out/all/n_acc", "held_out/all/tokens", "held_out/absent/hit"} <= set(validated[0])
    rows = [json.loads(line) for line in (whole / "held_out" / "000004.jsonl").read_text().splitlines()]
    assert len(rows) == validated[-1]["held_out/all/count"]
    assert np.mean([row["hit"] for row in rows]) == pytest.approx(validated[-1]["held_out/all/hit"], abs=1e-4)
    assert list((whole / "tensorboard").glob("events*"))
    assert list((whole / "checkpoint-4").glob("optimizer.pt"))


def test_sigterm_saves_and_ends(world, tmp_path, monkeypatch):
    from training.grpo import trainer as grpo_trainer

    reward, before = grpo_trainer.GroundingTrainer._reward, signal.getsignal(signal.SIGTERM)

    def interrupted(self, *args, **named):
        os.kill(os.getpid(), signal.SIGTERM)
        return reward(self, *args, **named)

    interrupted.__name__ = reward.__name__
    monkeypatch.setattr(grpo_trainer.GroundingTrainer, "_reward", interrupted)
    assert main(options(world, tmp_path / "run", "--evaluate-count", "0")) == 128 + signal.SIGTERM
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["checkpoint-1"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_frozen_tower_stays_as_it_is_and_weak_answers_are_left_out(world, tmp_path):
    more = [
        "--freeze-vision",
        "--least-advantage",
        "0.1",
        "--evaluate-count",
        "0",
        "--steps",
        "2",
        "--micro-batch",
        "2",
    ]
    assert main(options(world, tmp_path / "run", *more)) == 0
    before, after = load_file(world / "model" / "model.safetensors"), weights(tmp_path / "run")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and not [name for name in moved if "visual" in name]
    first = json.loads((tmp_path / "run" / "log.jsonl").read_text().partition("\n")[0])
    assert first["learned_from"] == 1.0  # no answer has any advantage, and never are all left out


@pytest.mark.parametrize("advantages, learned", [([0.5, -0.5, 0.01, 0.0], 0.5), ([0.05, -0.04, 0.0, 0.0], 0.25)])
def test_only_strong_answers_are_learned_from(monkeypatch, advantages, learned):
    from trl import GRPOTrainer

    from training.grpo.trainer import GroundingTrainer

    trainer = object.__new__(GroundingTrainer)
    trainer.least_advantage, trainer._metrics = 0.1, {"train": {"learned_from": []}}
    trainer.model = torch.nn.Linear(1, 1)
    output = {"advantages": torch.tensor(advantages), "completion_mask": torch.ones(4, 3)}
    monkeypatch.setattr(GRPOTrainer, "_generate_and_score_completions", lambda self, inputs: dict(output))
    mask = trainer._generate_and_score_completions([])["completion_mask"]
    assert float(mask[:, 0].mean()) == learned == trainer._metrics["train"]["learned_from"][0]


@pytest.mark.parametrize("more", [[], ["--lora", "2"]])
def test_the_path_of_a_gpu_trains_too(world, tmp_path, more):
    """Generation and log-probabilities by transformers, the vision tower shared: what larger models run."""
    if more:
        pytest.importorskip("peft", reason="adapters need peft")
    few = ["--rollouts", "transformers", "--steps", "1", "--evaluate-count", "2", "--micro-batch", "2", *more]
    assert main(options(world, tmp_path / "run", *few)) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "reward" in line] == [1]
    assert [line["grad_norm"] > 0 for line in lines if "grad_norm" in line] == [True]


def test_adapters_become_a_whole_checkpoint(world, tmp_path):
    peft = pytest.importorskip("peft", reason="adapters need peft")
    from training.grpo.adapter import main as merge_adapter

    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(world / "model")
    config = peft.LoraConfig(r=2, target_modules=r".*language_model.*\.q_proj", init_lora_weights=False)
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / "tokenizer.json").write_text((world / "model" / "tokenizer.json").read_text())
    for name in ("preprocessor_config.json", "chat_template.jinja"):  # as a run saves them beside its adapters
        (tmp_path / "adapter" / name).write_text(name)
    merge_adapter([str(tmp_path / "adapter"), "--out", str(tmp_path / "merged")])
    before, after = (load_file(folder / "model.safetensors") for folder in (world / "model", tmp_path / "merged"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert set(before) == set(after)
    assert {"tokenizer.json", "preprocessor_config.json", "chat_template.jinja"} <= {
        file.name for file in (tmp_path / "merged").iterdir()
    }
    assert changed == {name for name in before if name.endswith("q_proj.weight")}


def test_the_defaults_follow_the_profile_and_what_is_given_wins():
    demo, paper = (
        parse(["--out", "x"]),
        parse(["--out", "x", "--profile", "seg_zero_v1", "--data", "y", "--lr", "2e-6"]),
    )
    assert (demo.samples, demo.lr, demo.data) == (DEMO["samples"], DEMO["lr"], "tabletop")
    assert (paper.samples, paper.kl, paper.response, paper.lr) == (8, 5e-3, 2000, 2e-6)
    assert set(DEMO) == set(PAPER)
    assert all(action.help for group in build_parser()._action_groups for action in group._group_actions)


@pytest.mark.parametrize(
    "more, said",
    [
        (["--v3", "mask_gradding=squared"], "did you mean 'mask_grading'"),
        (["--v3", "mask=much"], "want a number"),
        (["--mix", "severall=2"], "did you mean 'several'|known: absent"),
        (["--mix", "absent=0,attribute=0"], "leaves no question"),
        (["--data", "/nowhere"], "no such file or folder"),
        (["--model", "/nowhere"], "tokenizer.json|config.json"),
        (["--save-every", "3", "--iterations", "2"], "multiple of --iterations"),
        (["--micro-batch", "3"], "multiple of devices"),
        (["--profile", "vision_reasoner_v2"], "no object.*--mix absent=0"),
    ],
)
def test_what_does_not_fit_is_one_line(world, tmp_path, capfd, more, said):
    import re

    assert main(options(world, tmp_path / "run", *more)) == 2
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert re.search(said, error), error
    assert "Traceback" not in error


def test_a_finished_folder_is_not_overwritten(world, whole, capfd):
    assert main(options(world, whole)) == 2
    assert "--resume to go on" in capfd.readouterr().err


def test_data_outside_its_frame_is_refused_with_its_row(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((60, 80, 3), np.uint8))
    rows = [
        {"image": "a.png", "question": "the cup", "boxes": [[5, 5, 30, 40]]},
        {"image": "a.png", "question": "the mug", "boxes": [[5, 5, 300, 40]]},
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RejectedInput, match=r"300"):
        open_questions(str(tmp_path), "", PROFILE, seed=0, pictures=0, cache=tmp_path)


def test_a_plain_folder_becomes_questions_in_the_profiles_frame(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), np.full((98, 392, 3), 7, np.uint8))
    row = {"image": "a.png", "question": "the cup", "boxes": [[40, 10, 80, 49]]}
    (tmp_path / "data.jsonl").write_text(json.dumps(row) + "\n")
    question = open_questions(str(tmp_path), "", PROFILE, seed=0, pictures=0, cache=tmp_path)[0]
    assert question.rgb.shape == (196, 196, 3)
    assert question.truth.boxes == ((20.0, 20.0, 40.0, 98.0),)


def test_what_is_held_out_is_not_trained_on_nor_are_its_pictures(world):
    questions = ShardQuestions(world / "train", PROFILE)
    train, kept = split_off(questions, 6, seed=0)
    assert len(kept) == 6 and not set(train.pictures) & set(kept.pictures)
    pictures = set(kept.pictures)
    assert len(train) == sum(picture not in pictures for picture in questions.pictures)
    assert kept[2].text == questions[held_out(questions, 6, seed=0)[2]].text and kept.kinds[2] == kept[2].kind
    assert np.array_equal(kept.source(2)[0], questions.source(kept.numbers[2])[0])
    with pytest.raises(RejectedInput, match="none is left to train on"):
        split_off(questions, len(questions), seed=0)


def test_a_picture_of_several_rows_is_held_out_with_all_of_them(tmp_path):
    import cv2

    for n, name in enumerate(("a.png", "b.png", "c.png")):
        cv2.imwrite(str(tmp_path / name), np.full((98, 392, 3), 7 * n, np.uint8))
    (tmp_path / "d.png").write_bytes((tmp_path / "a.png").read_bytes())
    names = ["a.png", "b.png", "c.png", "a.png", "b.png", "c.png", "d.png"]
    rows = [{"image": name, "question": f"cup {n}", "boxes": [[40, 10, 80, 49]]} for n, name in enumerate(names)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = open_questions(str(tmp_path), "", PROFILE, seed=0, pictures=0, cache=tmp_path)
    alike = [{0, 3, 6}, {1, 4}, {2, 5}]
    for seed in range(4):
        train, kept = split_off(questions, 1, seed)
        own = next(rows for rows in alike if kept.numbers[0] in rows)
        assert set(train.numbers) == set(range(7)) - own
    assert sorted(draw_order(questions, 7, {}, 1, np.random.default_rng(0))) == list(range(7))


def test_the_order_is_the_seeds_and_a_longer_one_begins_alike(world):
    questions = ShardQuestions(world / "train", PROFILE)
    short, long = (draw_order(questions, n, {"absent": 3.0}, 2, np.random.default_rng(4)) for n in (8, 40))
    assert long[:8] == short
    assert len(long) == 40
    assert all(questions.pictures[a] == questions.pictures[b] for a, b in zip(long[::2], long[1::2], strict=True))
    assert draw_order(questions, 12, {"attribute": 0.0}, 1, np.random.default_rng(4))
    assert parse_mix("several=1.5, absent=2") == {"several": 1.5, "absent": 2.0}
    none = draw_order(questions, 12, {"attribute": 0.0}, 1, np.random.default_rng(4))
    assert {questions.kinds[n] for n in none} == {"absent"}


def test_shards_know_their_objects_masks(world):
    questions = ShardQuestions(world / "train", PROFILE)
    number = questions.kinds.index("attribute")
    rgb, masks = questions.source(number)
    assert rgb.shape == (240, 320, 3)
    ys, xs = np.nonzero(masks[0])
    x0, y0, x1, y1 = questions[number].truth.boxes[0]
    want = np.array([xs.min() / 320, ys.min() / 240, (xs.max() + 1) / 320, (ys.max() + 1) / 240]) * 196
    assert np.allclose([x0, y0, x1, y1], want, atol=1e-3)
    assert questions.source(questions.kinds.index("absent"))[1].shape == (0, 240, 320)


def test_held_out_questions_are_even_over_the_kinds(world):
    questions = ShardQuestions(world / "val", PROFILE)
    chosen = held_out(questions, 10, 0)
    kinds = [questions.kinds[n] for n in chosen]
    assert kinds.count("absent") == 4  # one per picture, as many as there are
    assert held_out(questions, 10, 0) == chosen
    assert len(set(chosen)) == 10


def test_questions_with_word_noise_mean_what_they_meant(world):
    plain = ShardQuestions(world / "train", PROFILE)
    some, again = (NoisyQuestions(plain, 0.5, seed=4) for _ in range(2))
    texts = [some[n].text for n in range(len(plain))]
    assert texts == [again[n].text for n in range(len(plain))]
    changed = [n for n, text in enumerate(texts) if text != plain[n].text]
    assert 0.3 < len(changed) / len(plain) < 0.7
    assert all(some[n].truth == plain[n].truth for n in changed)
    assert NoisyQuestions(plain, 0.0, seed=4)[changed[0]].text == plain[changed[0]].text


def answer(*boxes):
    items = ", ".join(f'{{"bbox_2d": {list(box)}, "point_2d": {[box[0] + 1, box[1] + 1]}}}' for box in boxes)
    return f"<think>t</think><answer>[{items}]</answer>"


@pytest.mark.parametrize(
    "text, boxes, iou, hit",
    [
        (answer((0, 0, 10, 10)), [(0, 0, 10, 10)], 1.0, True),
        (answer((0, 0, 10, 5)), [(0, 0, 10, 10)], 0.5, False),
        (answer((0, 0, 10, 10), (50, 50, 60, 60)), [(0, 0, 10, 10)], 0.5, False),
        (answer((50, 50, 60, 60), (0, 0, 10, 10)), [(0, 0, 10, 10), (50, 50, 60, 60)], 1.0, True),
        # right by the pairing 6:10 and 60:100, though the other one has the larger mean
        (answer((0, 0, 100, 10), (0, 0, 100, 6)), [(0, 0, 100, 10), (0, 0, 60, 10)], (1 + 36 / 84) / 2, True),
        (answer(), [], 1.0, True),
        (answer(), [(0, 0, 10, 10)], 0.0, False),
        (answer((0, 0, 10, 10)), [], 0.0, False),
        ("nothing at all", [], 0.0, False),
    ],
)
def test_answers_are_judged_by_hand_computed_cases(text, boxes, iou, hit):
    truth = Truth(tuple(boxes), tuple(((1.0, 1.0),) for _ in boxes), (196, 196))
    match = match_answer(text, truth, PROFILE)
    assert (match["iou"], match["hit"]) == (pytest.approx(iou), hit)


def test_absent_objects_count_in_n_acc_only_when_nothing_is_said():
    about, truth = {"kind": "absent", "objects": 0, "tokens": 9, "thinking": 4}, Truth((), (), (196, 196))
    rows = [about | match_answer(text, truth, PROFILE) for text in (answer(), answer((0, 0, 5, 5)), "garbage")]
    assert summarise(rows)["all"]["n_acc"] == pytest.approx(1 / 3, abs=1e-4)


def test_an_option_by_its_old_name_does_what_the_new_one_does_and_says_so_once(capsys):
    assert parse(["--out", "x", "--mumble", "0.25", "--val-mumble", "0"]).word_noise == 0.25
    assert capsys.readouterr().err.splitlines() == [
        "segzero train grpo: --mumble is called --word-noise now; the old name goes in 0.3",
        "segzero train grpo: --val-mumble is called --val-word-noise now; the old name goes in 0.3",
    ]
    assert (parse(["--out", "x"]).word_noise, parse(["--out", "x", "--word-noise", "0"]).word_noise) == (0.5, 0)


def test_the_budget_is_a_switch():
    assert grounded_settings("length_slope=0.5", budget=False).length_slope == 0
    assert grounded_settings("easy_budget=32,,easy_budget=8").easy_budget == 8
    assert (
        parse(["--out", "x"]).settings and not parse(["--out", "x", "--profile", "seg_zero_v1", "--data", "y"]).settings
    )
    assert grounded_settings("mask_grading=tiered,point=0.5").mask_grading == "tiered"
