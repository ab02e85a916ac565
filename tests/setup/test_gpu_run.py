"""A run on a GPU machine keeps its deadline, gives back whole pieces at any moment, and says what is missing."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.demo_models.recipes.tabletop import read_arguments as read_renderer

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


def described(monkeypatch, shared=4096, **found):
    usual = {"missing": [], "torch": "2.11.0", "transformers": "5.23.0", "gpu": "NVIDIA H100", "free_gib": 78.0}
    usual |= {"total_gib": 79.0, "bfloat16": True}
    answers = iter([json.dumps(usual | found), "NVIDIA H100/PCIe/SSE2\n"])
    monkeypatch.setattr(gpu_machine, "_asked", lambda *_: next(answers))
    monkeypatch.setattr(gpu_machine, "_free_shared_mib", lambda: shared)


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
        ({"shared": 64}, "shm has 64 MiB free, want 512 .* mount -o remount"),
    ],
)
def test_what_a_machine_lacks_is_one_line_that_says_what_to_do(monkeypatch, found, said):
    described(monkeypatch, **found)
    with pytest.raises(carried.MissingError, match=said):
        gpu_machine.report({}, need_cuda=True)


def test_a_card_that_does_not_compute_is_one_line(monkeypatch):
    monkeypatch.setattr(gpu_machine, "DESCRIBE", "raise SystemExit('CUDA driver error: not supported')")
    with pytest.raises(carried.MissingError, match=r"torch does not work here \(CUDA driver error: not supported\)"):
        gpu_machine.report(dict(os.environ), need_cuda=True)


def test_where_the_cards_driver_cannot_render_mesa_does(monkeypatch, tmp_path):
    program = "import os; print(os.environ['__EGL_VENDOR_LIBRARY_FILENAMES'])"
    monkeypatch.setattr(gpu_machine, "RENDERER", program)
    monkeypatch.setattr(gpu_machine, "MESA", tmp_path)
    env = {name: value for name, value in os.environ.items() if name != "__EGL_VENDOR_LIBRARY_FILENAMES"}
    assert gpu_machine._renderer(env) == str(tmp_path) == env["__EGL_VENDOR_LIBRARY_FILENAMES"]


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
    (place / "training.json").write_text(json.dumps({"seconds": 100.0}))
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
    first, second = (float(module[module.index("--seconds") + 1]) for module in commands)
    assert first < 20 and 100 + first - 5 < second < 100 + first, "the resumed clock begins where it was saved"
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


def test_renderers_that_cannot_work_end_the_run_at_once(gpu, capsys):
    gpu._begin = lambda *_: subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(carried.MissingError, match="no pictures came in time"):
        gpu.run(None, 0.2, [])
    assert gpu.left > 12 and capsys.readouterr().out.count("render-val: status 3") <= gpu_run.FAILURES


@pytest.mark.parametrize("world", ["simple", "rich"])
def test_every_renderer_renders_the_world_that_is_asked_for(gpu, world):
    gpu.world = world
    assert gpu.run(None, 0.0, [])
    words = [module[1:] for name, module in gpu.begun if name.startswith("render")]
    assert len(words) == 2 and {read_renderer(each).world for each in words} == {world}


def test_a_renderer_that_fails_is_begun_again_with_what_it_had_to_do(gpu):
    real, spoilt = gpu._begin, []

    def begin(name, module):
        if name == "render-0" and not spoilt:
            spoilt.append(module)
            return subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
        return real(name, module)

    gpu._begin = begin
    assert gpu.run(None, 0.0, [])
    assert [module for name, module in gpu.begun if name == "render-0"] == spoilt


def test_a_training_does_not_outlive_what_watches_it(gpu, monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(gpu, "_pack_new", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        gpu._watch(process, time.monotonic() + 60)
    assert process.poll() is not None


@pytest.mark.parametrize(("shape", "layers", "fits"), [("demo", 4, True), ("deep", 4, True), ("wide", 4, False)])
def test_a_start_that_the_shape_cannot_begin_with_is_said_before_pictures_are_waited_for(
    gpu, tmp_path, shape, layers, fits
):
    (tmp_path / "config.json").write_text(
        json.dumps({"text_config": {"hidden_size": 128, "num_hidden_layers": layers}})
    )
    gpu.shape = shape
    if fits:
        assert "--start" in gpu._reasoner_command(tmp_path, [])(1.0, 0)
        return
    with pytest.raises(carried.MissingError, match="128 wide with 4 layers, which --shape wide cannot begin with"):
        gpu.run(tmp_path, 0.2, [])


def test_wrong_options_of_the_reasoner_end_the_run_before_it_begins(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train_demo_models.main(["train", "--out", str(tmp_path / "out"), "--rehearse", "--", "--moun", "0.01"])
    assert "--muon" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_deadline_is_counted_from_the_command_and_pictures_fit_the_disk(tmp_path, monkeypatch):
    made = {}

    class Noted(gpu_run.Run):
        def run(self, *_):
            made.update(left=self.left, pictures=self.size.renderers * self.size.shards * self.size.count)
            return True

    def slow(*_, **__):
        time.sleep(0.5)
        return []

    monkeypatch.setattr(gpu_run, "Run", Noted)
    monkeypatch.setattr(gpu_machine, "report", slow)
    monkeypatch.setattr(carried, "install", lambda _: 0)
    monkeypatch.setattr(gpu_run.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9e9, 0, 4e9))
    words = ["train", "--seconds", "60", "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    assert train_demo_models.main(words) == 0
    assert made["left"] < 59.5 and 10_000 < made["pictures"] <= 0.7 * 4e9 / (4 * 196**2)


def test_states_that_do_not_fit_stay_behind_and_that_is_said(gpu, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_run, "MOST_BYTES", 10)
    assert gpu.run(None, 0.0, [])
    assert not [name for name in given_back(gpu, tmp_path) if name.endswith(".pt")]
    assert "optimiser.pt stays behind: it does not fit" in capsys.readouterr().out
