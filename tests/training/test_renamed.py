"""Modules that were started as `python -m OLD` still are, and say their new names."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RENAMED = {
    "export.gate": "training.evaluation.parity",
    "training.ablate": "training.grpo.ablate",
    "training.grpo_adapter": "training.grpo.adapter",
    "training.plot_grpo": "training.grpo.plot",
    "training.plot_pretraining": "training.demo_models.plot",
    "training.pretrain_reasoner": "training.demo_models.pretrain_reasoner",
    "training.pretrain_segmenter": "training.demo_models.pretrain_segmenter",
    "training.render_tabletop": "training.demo_models.render_tabletop",
}


def test_every_old_name_leads_to_a_module_that_is_there():
    for old, new in RENAMED.items():
        text = (ROOT / old.replace(".", "/")).with_suffix(".py").read_text("utf-8")
        assert f'run_renamed("{old}", "{new}")' in text
        assert (ROOT / new.replace(".", "/")).with_suffix(".py").exists()


@pytest.mark.parametrize("old", ["training.grpo_adapter", "export.gate"])
def test_an_old_name_runs_the_new_module_and_says_so(old):
    command = [sys.executable, "-m", old, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "usage: " in done.stdout
    assert done.stderr == f"python -m {old} is called python -m {RENAMED[old]} now; the old name goes in 0.3\n"


def test_quantising_on_data_of_ones_own_is_a_training_module_now(tmp_path):
    command = [sys.executable, "-m", "export.quantise", "nowhere", "--data", "nowhere", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    renamed, refused = done.stderr.splitlines()
    assert done.returncode == 2 and "python -m training.quantise now" in renamed and "no such file" in refused
