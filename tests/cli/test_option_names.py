"""One name per setting: what two commands both take is called the same, and old names say the new one."""

import contextlib
import io
import re
from collections import defaultdict
from pathlib import Path

import pytest

from segzero_ros.cli import built, engines, ground, host, serve
from segzero_ros.cli.main import main
from segzero_ros.cli.parser import Parser
from tests.cli.test_help_without_torch import EVERY
from training.demo_models.recipes import reasoner, segmenter
from training.evaluation.main import read_arguments as read_evaluation
from training.grpo.options import parse as read_grpo


def configured(command, words):
    """What a command of cli/ reads."""
    parser = Parser("segzero")
    command.configure(parser)
    return parser.parse_args(words)


SHARDS = ["--data", "d", "--val", "v", "--out", "o"]
READ = {
    "ground": lambda *words: configured(ground, ["a.png", "the mug", *words]),
    "host": lambda *words: configured(host, list(words)),
    "serve": lambda *words: configured(serve, list(words)),
    "engine build": lambda *words: configured(built, ["build", "b", *words]),
    "engines build": lambda *words: configured(engines, ["build", "b", *words]),
    "eval": lambda *words: read_evaluation(words),
    "train reasoner": lambda *words: reasoner.read_arguments([*SHARDS, *words])[0],
    "train segmenter": lambda *words: segmenter.read_arguments(["--data", "d", "--out", "o", *words]),
    "train grpo": lambda *words: read_grpo(["--out", "o", *words]),
}
RENAMED = [
    ("ground", "--speculate 3", "--draft-tokens 3", "draft_tokens", 3),
    ("host", "--speculate 3", "--draft-tokens 3", "draft_tokens", 3),
    ("serve", "--checkpoint here", "--model here", "model", "here"),
    ("serve", "--unconstrained", "--free-answers", "free_answers", True),
    ("engine build", "--again", "--replace", "replace", True),
    ("engines build", "--again", "--replace", "replace", True),
    ("eval", "--json f", "--out f", "out", Path("f")),
    ("eval", "--speculate 3", "--draft-tokens 3", "draft_tokens", 3),
    ("train reasoner", "--images 3", "--images-per-step 3", "images", 3),
    ("train reasoner", "--mumbled 0.5", "--word-noise 0.5", "word_noise", 0.5),
    ("train reasoner", "--turns 2", "--questions 2", "questions", 2),
    ("train segmenter", "--checkpoint c", "--segmenter c", "segmenter", Path("c")),
    ("train segmenter", "--scenes 9", "--count 9", "count", 9),
    ("train segmenter", "--json f", "--out f", "out", Path("f")),
    ("train grpo", "--mumble 0.5", "--word-noise 0.5", "word_noise", 0.5),
    ("train grpo", "--val-mumble 0.5", "--val-word-noise 0.5", "val_word_noise", 0.5),
]


@pytest.mark.parametrize(("command", "old", "new", "name", "value"), RENAMED, ids=str)
def test_an_old_name_does_what_the_new_one_does_and_says_so(command, old, new, name, value, capsys):
    assert getattr(READ[command](*new.split()), name) == value
    assert capsys.readouterr().err == ""
    assert getattr(READ[command](*old.split()), name) == value
    said = capsys.readouterr().err
    assert f"{old.split()[0]} is called {new.split()[0]} now; the old name goes in 0.3" in said
    assert said.count("\n") == 1


NESTED = [
    *(["bundle", action] for action in ("verify", "list", "use", "rollback")),
    *(["engines", action] for action in ("install", "list", "remove", "build", "verify")),
]


@pytest.fixture(scope="module")
def helps():
    """What --help of every command shows."""
    shown = {}
    for words in [*EVERY, *NESTED]:
        with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
            main([*words, "--help"])
        shown[" ".join(words)] = text.getvalue()
    return shown


def options_of(shown):
    """Each option that a help lists, with whether it takes a value, and what it is for."""
    listed = re.findall(r"^  (--[a-z0-9-]+)((?: [^ ]+)*)(?:\s{2,}|\n\s+)(.*)", shown, re.MULTILINE)
    return {name: (bool(value), what) for name, value, what in listed}


def test_an_option_takes_a_value_in_every_command_or_in_none(helps):
    seen = defaultdict(lambda: defaultdict(set))
    for command, shown in helps.items():
        for name, (takes, _) in options_of(shown).items():
            seen[name][takes].add(command)
    assert len(seen) > 90
    assert {name: dict(kinds) for name, kinds in seen.items() if len(kinds) > 1} == {}


def test_no_help_shows_an_old_name(helps):
    old = {(command, words.split()[0]) for command, words, *_ in RENAMED}
    assert [(command, name) for command, name in old if name in options_of(helps.get(command, ""))] == []


SETTINGS = {  # how an option's help begins -> its only name
    "a bundle's directory or name": "--bundle",
    "write the figures as JSON": "--out",
    "CPU threads": "--threads",
    "remote: http": "--server",
    "do not keep answers to the grammar": "--free-answers",
    "print one JSON object": "--json",
    "go on ": "--resume",
    "build also what is there": "--replace",
    "replace a bundle that is there": "--replace",
}


@pytest.mark.parametrize("words", SETTINGS)
def test_a_setting_has_one_name(words, helps):
    listed = [item for shown in helps.values() for item in options_of(shown).items()]
    assert {name for name, (_, what) in listed if what.startswith(words)} == {SETTINGS[words]}
