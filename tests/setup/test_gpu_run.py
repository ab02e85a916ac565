"""A run on a GPU machine keeps its deadline, gives back whole pieces at any moment, and says what is missing."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = str(ROOT / "tools" / "gpu")
sys.path.insert(0, TOOLS)
try:
    import carried
    import gpu_machine
    import gpu_run
    import pieces
    import train_demo_models
finally:
    sys.path.remove(TOOLS)


# ---- pieces ----


@pytest.fixture
def files(tmp_path):
    """Two files, of which the first fills several pieces of 100 bytes."""
    content = {"reasoner/model.bin": bytes(range(256)) + b"end", "run.log": b"a line\n"}
    for name, data in content.items():
        path = tmp_path / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return {name: tmp_path / "work" / name for name in content}


def test_pieces_give_the_files_back(files, tmp_path):
    names = pieces.pack(files, tmp_path / "out", piece=100)
    assert len(names) == 3 and all((tmp_path / "out" / name).stat().st_size <= 100 for name in names)
    assert len(pieces.join(tmp_path / "out", tmp_path / "back")) == 2
    for name, path in files.items():
        assert (tmp_path / "back" / name).read_bytes() == path.read_bytes()


def test_no_piece_is_larger_than_what_comes_back():
    assert pieces.PIECE < 16 * pieces.MIB and gpu_run.MOST_BYTES <= 4 * pieces.PIECE


def test_a_second_pack_replaces_the_first_and_is_whole_before_it_does(files, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = pieces.pack(files, out, piece=100)
    files["run.log"].write_bytes(b"another line\n")
    real = pieces._write

    def cut_off(path, data):
        if path.name == pieces.MANIFEST:
            raise KeyboardInterrupt
        real(path, data)

    monkeypatch.setattr(pieces, "_write", cut_off)
    with pytest.raises(KeyboardInterrupt):
        pieces.pack(files, out, piece=100)
    monkeypatch.undo()
    pieces.join(out, tmp_path / "before")
    assert (tmp_path / "before" / "run.log").read_bytes() == b"a line\n"
    names = pieces.pack(files, out, piece=100)
    pieces.join(out, tmp_path / "after")
    assert (tmp_path / "after" / "run.log").read_bytes() == b"another line\n"
    assert sorted(path.name for path in out.glob("piece-*")) == sorted(names) and not set(names) & set(first)


def spoil(out, what):
    first = sorted(out.glob("piece-*"))[0]
    manifest = json.loads((out / pieces.MANIFEST).read_text())
    if what == "missing":
        first.unlink()
    elif what == "flipped":
        first.write_bytes(b"X" + first.read_bytes()[1:])
    elif what == "no manifest":
        (out / pieces.MANIFEST).unlink()
    else:
        manifest["files"][0]["name"] = what
        (out / pieces.MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("what", ["missing", "flipped", "no manifest", "../outside", "/outside"])
def test_what_is_damaged_is_refused_in_one_line_and_nothing_is_written(files, tmp_path, capsys, what):
    pieces.pack(files, tmp_path / "out", piece=100)
    spoil(tmp_path / "out", what)
    assert train_demo_models.main(["join", str(tmp_path / "out"), "--into", str(tmp_path / "back")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "back").exists() and not list(tmp_path.glob("outside*"))


# ---- what is carried, and the machine ----


def test_every_carried_package_is_one_that_is_pinned_here():
    command = carried.download_command("3.12", Path("wheels"))
    wanted = dict(word.split("==") for word in command if "==" in word)
    assert set(wanted) == set(carried.PACKAGES)
    pins = (ROOT / "requirements" / "demo.txt").read_text() + (ROOT / "requirements" / "offline.txt").read_text()
    assert f"mujoco=={wanted['mujoco']}\n" in pins and f"transformers=={wanted['transformers']}\n" in pins
    assert "--no-deps" in command and "3.12" in command


def described(monkeypatch, **found):
    usual = {"missing": [], "torch": "2.11.0", "transformers": "5.23.0", "gpu": "NVIDIA H100", "free_gib": 78.0}
    usual |= {"total_gib": 79.0, "bfloat16": True}
    answers = iter([json.dumps(usual | found), "NVIDIA H100/PCIe/SSE2\n"])
    monkeypatch.setattr(gpu_machine, "_asked", lambda *_: next(answers))


def test_a_machine_that_has_all_is_said_in_two_lines(monkeypatch):
    described(monkeypatch)
    first, second = gpu_machine.report({}, need_cuda=True)
    assert first.startswith("NVIDIA H100, 78 of 79 GiB free, torch 2.11.0") and "NVIDIA" in second


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"missing": ["mujoco", "OpenGL"]}, "lacks mujoco, PyOpenGL; collect the wheels"),
        ({"gpu": ""}, "sees no CUDA device; --rehearse"),
        ({"free_gib": 3.0}, "has 3 GiB free, want 20"),
        ({"bfloat16": False}, "no bfloat16"),
    ],
)
def test_what_a_machine_lacks_is_one_line_that_says_what_to_do(monkeypatch, found, said):
    described(monkeypatch, **found)
    with pytest.raises(carried.MissingError, match=said):
        gpu_machine.report({}, need_cuda=True)


def test_a_machine_that_cannot_render_says_why(monkeypatch):
    monkeypatch.setattr(gpu_machine, "RENDERER", "raise SystemExit('cannot render off-screen (egl: none)')")
    with pytest.raises(carried.MissingError, match=r"cannot render off-screen .*libegl1"):
        gpu_machine._renderer(dict(os.environ))


# ---- the run ----

WRITER = """
import json, pathlib, sys, time
name, work, ends = sys.argv[1], pathlib.Path(sys.argv[2]), float(sys.argv[3])
place = work / name / "checkpoint"
place.mkdir(parents=True, exist_ok=True)
for step in range(1000):
    (place / "model.safetensors").write_text(f"{name} {step}")
    (place / "optimiser.pt").write_text("state")
    (work / name / "log.jsonl").write_text(json.dumps({"step": step}) + chr(10))
    if time.monotonic() > ends:
        sys.exit(int(sys.argv[4]))
    time.sleep(0.05)
"""


class Stubbed(gpu_run.Run):
    """A run whose processes write what trainings write; `ends`: seconds after which each does, and its status."""

    def _begin(self, name, module):
        self.begun = [*getattr(self, "begun", []), (name, module)]
        if name.startswith("render"):
            split = "val" if "val" in name else "train"
            (self.work / "data" / split / "shard-00000").mkdir(parents=True)
            return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        after, status = self.ends[name].pop(0)
        words = [name, str(self.work), str(time.monotonic() + after), str(status)]
        return subprocess.Popen([sys.executable, "-c", WRITER, *words])


@pytest.fixture
def gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_run, "LOOK_S", 0.05)
    monkeypatch.setattr(gpu_run, "LEAST_TRAINING_S", 0.1)
    size = dataclasses.replace(gpu_run.TOY, start_s=0.1, end_s=1.0)
    made = Stubbed(size, tmp_path / "work", tmp_path / "out", 20.0, dict(os.environ))
    made.ends = {"reasoner": [(0.4, 0)], "segmenter": [(0.4, 0)]}
    return made


def given_back(gpu, tmp_path):
    pieces.join(gpu.out, tmp_path / "back")
    return {path.relative_to(tmp_path / "back").as_posix() for path in (tmp_path / "back").rglob("*") if path.is_file()}


def test_both_trainings_run_and_their_weights_and_states_come_back(gpu, tmp_path):
    assert gpu.run(None, 0.2, ["--muon", "0.01"])
    kept = given_back(gpu, tmp_path)
    for name in ("reasoner", "segmenter"):
        assert {f"{name}/checkpoint/model.safetensors", f"{name}/checkpoint/optimiser.pt", f"{name}/log.jsonl"} <= kept
    commands = dict(gpu.begun)
    assert commands["reasoner"][-2:] == ["--muon", "0.01"] and "--device" in commands["segmenter"]
    seconds = float(commands["reasoner"][commands["reasoner"].index("--seconds") + 1])
    assert 10 < seconds < 0.8 * 20


def test_a_training_that_fails_goes_on_from_its_checkpoint_with_half_of_the_pictures(gpu, tmp_path, capsys):
    gpu.ends["reasoner"] = [(0.2, 2), (0.2, 0)]
    assert gpu.run(None, 0.0, [])
    commands = [module for name, module in gpu.begun if name == "reasoner"]
    pictures = [module[module.index("--images-per-step") + 1] for module in commands]
    assert pictures == ["2", "1"] and ["--resume" in module for module in commands] == [False, True]
    assert "status 2" in capsys.readouterr().out


def test_a_training_that_does_not_end_is_ended_before_the_deadline_and_its_weights_come_back(gpu, tmp_path):
    gpu.ends["reasoner"] = [(60.0, 0)]
    gpu.deadline = time.monotonic() + 3.0
    gpu.run(None, 0.0, [])
    assert gpu.left > -1.0
    assert "reasoner/checkpoint/model.safetensors" in given_back(gpu, tmp_path)


def test_a_stop_ends_all_and_packs_what_there_is(gpu, tmp_path, monkeypatch):
    gpu.ends["reasoner"] = [(60.0, 0)]
    real = gpu._pack_new
    monkeypatch.setattr(gpu, "_pack_new", lambda: (real(), gpu.stop() if gpu.packed else None))
    assert not gpu.run(None, 0.3, [])
    assert "segmenter" not in dict(gpu.begun) and gpu.left > 10
    assert "reasoner/checkpoint/model.safetensors" in given_back(gpu, tmp_path)


def test_no_pictures_in_time_is_one_line_with_the_renderers_last_words(gpu, monkeypatch):
    def silent(name, module):
        (gpu.work / f"{name}.log").write_text("cannot render off-screen\n")
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

    monkeypatch.setattr(gpu, "_begin", silent)
    gpu.deadline = time.monotonic() + 1.0
    with pytest.raises(carried.MissingError, match="no pictures came in time; cannot render off-screen"):
        gpu.run(None, 0.2, [])


def test_states_that_do_not_fit_stay_behind_and_that_is_said(gpu, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_run, "MOST_BYTES", 10)
    assert gpu.run(None, 0.0, [])
    assert not [name for name in given_back(gpu, tmp_path) if name.endswith(".pt")]
    assert "optimiser.pt stays behind: it does not fit" in capsys.readouterr().out
