"""Every recipe's command is one that the real parsers accept, and the memory table says what its formulas give."""

import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="offline stack not installed")

from training.grpo.options import parse

RECIPES = Path(__file__).parents[3] / "training" / "recipes"
SCRIPTS = sorted(RECIPES.glob("*.sh"))


def commands(script):
    """The script's commands as lists of words: continued lines joined, variables replaced by their defaults."""
    text = script.read_text().replace("\\\n", " ")
    text = re.sub(r'"\$\{\w+:-\$\{\w+:-([^}]*)\}\}"|"\$\{\w+:-([^}]*)\}"', lambda found: found[1] or found[2], text)
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


def test_the_server_command_has_options_that_trls_server_knows():
    from dataclasses import fields

    from trl.scripts.vllm_serve import ScriptArguments

    [serve] = [words for words in commands(RECIPES / "7b-vllm-server.sh") if "vllm-serve" in words]
    known = {field.name for field in fields(ScriptArguments)}
    named = {word[2:].replace("-", "_") for word in serve if word.startswith("--")}
    assert named <= known, named - known


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
