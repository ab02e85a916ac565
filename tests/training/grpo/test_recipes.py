"""Every recipe's command is one that the real parsers accept, and the memory table says what its formulas give."""

import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="offline stack not installed")

from training.grpo import main as grpo
from training.grpo.main import PROMPT_TOKENS
from training.grpo.options import HELD_OUT, parse

RECIPES = Path(__file__).parents[3] / "training" / "recipes"
SCRIPTS = sorted(RECIPES.glob("*.sh"))


def commands(script):
    """The script's commands as lists of words: continued lines joined, variables replaced by their defaults."""
    text = script.read_text().replace("\\\n", " ")
    text = re.sub(r'"\$\{\w+:?-([^}]*)\}"', lambda found: found[1], text)
    return [shlex.split(line.replace('"$@"', ""), comments=True) for line in text.splitlines()]


def training_command(script):
    [found] = [words for words in commands(script) if "training.grpo" in words]
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_training_command_parses(script):
    words = training_command(script)
    args = parse(words[words.index("training.grpo") + 1 :])
    assert args.out
    answers = args.prompts_per_step * args.samples
    assert args.rollouts == "vllm" or args.profile == "demo"
    assert not args.micro_batch or answers % args.micro_batch == 0


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.stem != "demo-cpu"], ids=lambda path: path.stem)
def test_accelerate_takes_the_launch_and_its_configuration(script):
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    words = training_command(script)
    launch = words[words.index("launch") + 1 :]
    args, _ = launch_command_parser().parse_known_args(launch)
    assert args.module and args.training_script == "training.grpo"
    config = load_config_from_file(str(RECIPES.parents[1] / args.config_file))
    world = args.num_processes or config.num_processes
    given = parse(words[words.index("training.grpo") + 1 :])
    answers = given.prompts_per_step * given.samples
    local = given.micro_batch * (answers // (world * given.micro_batch))
    assert answers % (world * given.micro_batch) == 0
    assert local % given.samples == 0  # whole groups on each device
    assert world % given.vllm_tensor_parallel == 0


def test_the_server_is_started_as_trl_would_start_it(monkeypatch):
    from trl.scripts import vllm_serve

    monkeypatch.setattr(vllm_serve, "is_vllm_available", lambda **_: True)
    script = RECIPES / "7b-vllm-server.sh"
    [serve] = [words for words in commands(script) if words[:3] == ["exec", "vllm", "serve"]]
    given = dict(zip(serve[4:], [*serve[5:], ""], strict=True))
    model, tensor_parallel, longest = serve[3], int(given["--tensor-parallel-size"]), int(given["--max-model-len"])
    asked = vllm_serve.ScriptArguments(model=model, tensor_parallel_size=tensor_parallel, max_model_len=longest)
    theirs = vllm_serve.build_command(asked)
    theirs = dict(zip(theirs, [*theirs[1:], ""], strict=True))
    for needed in ("--weight-transfer-config", "--logprobs-mode", "--max-logprobs"):
        assert given[needed] == theirs[needed]
    assert {"--enable-scale-out", "--max-model-len", "--tensor-parallel-size"} <= theirs.keys() & given.keys()
    assert theirs["serve"] == model and "VLLM_SERVER_DEV_MODE=1" in script.read_text()
    training = parse(training_command(script)[training_command(script).index("training.grpo") + 1 :])
    assert longest >= PROMPT_TOKENS + training.response
    assert (given["--host"], given["--port"]) == (training.vllm_host, str(training.vllm_port))


def test_a_recipe_takes_the_papers_data_which_have_one_split_and_val_can_be_left_empty():
    for script in SCRIPTS:
        if script.stem != "demo-cpu":
            assert '--val "${VAL-held-out}"' in script.read_text()
    words = training_command(RECIPES / "7b-4x80gb.sh")
    assert parse(words[words.index("training.grpo") + 1 :]).val == HELD_OUT


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.stem != "demo-cpu"], ids=lambda path: path.stem)
def test_vllm_has_room_for_one_question_and_not_for_128_000_tokens(script):
    words = training_command(script)
    args = parse(words[words.index("training.grpo") + 1 :])
    config = grpo._config(args)
    assert config.vllm_max_model_length == 1300 + args.response
    assert config.vllm_importance_sampling_mode == "token_truncate"
    assert (config.vllm_mode, config.vllm_enable_sleep_mode) == (args.vllm_mode, args.vllm_mode == "colocate")


def test_fsdp_wraps_layers_that_the_model_has():
    import yaml
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as modules

    config = yaml.safe_load((RECIPES / "fsdp.yaml").read_text())["fsdp_config"]
    assert all(hasattr(modules, name) for name in config["fsdp_transformer_layer_cls_to_wrap"].split(","))


def test_every_script_stands_in_the_table_and_is_executable():
    table = (RECIPES / "README.md").read_text()
    assert SCRIPTS
    assert all(f"`{script.name}`" in table and script.stat().st_mode & 0o111 for script in SCRIPTS)


def test_the_memory_tables_arithmetic():
    text, parameters = (RECIPES / "README.md").read_text(), 8.29
    rows = {row.split("|")[1].strip(): row for row in text.splitlines() if row.startswith("|")}

    def figures(row):
        return [float(cell.strip(" *")) for cell in rows[row].split("|")[3:6]]

    shares = {"weights, bf16": 2, "gradients, bf16": 2, "weights in 32 bits and Adam's two moments": 12}
    for row, bytes_each in shares.items():
        assert figures(row) == [pytest.approx(bytes_each * parameters / n, abs=0.06) for n in (4, 8, 16)]
    head = 2 * 152064 * 3584 * 2 / 1e9
    assert figures("**sum of the state**") == [pytest.approx(18 * parameters / n + head, abs=0.06) for n in (4, 8, 16)]
    for row in (row for row in rows.values() if " of 80 " in row or " of 48 " in row):
        cells = [cell.strip() for cell in row.split("|")[2:-1]]
        state = sum(map(float, cells[0].split("+")))
        vllm = float(cells[1].partition("=")[2] or cells[1])
        total, card = map(float, cells[5].split(" of "))
        assert total == pytest.approx(state + vllm + float(cells[4]), abs=0.06)
        assert total < card
