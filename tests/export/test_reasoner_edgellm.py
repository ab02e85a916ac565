"""Edge-LLM's exporter is called rightly, its output appears whole or not at all, the device's scripts are shell.

The exporter itself runs when SEGZERO_EDGELLM names an environment made by `export.reasoner_edgellm` (or one to make):
its packages and one export of a small model take minutes, so it is not part of every `make test`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from export import reasoner_edgellm
from export.reasoner_edgellm import (
    PACKAGES,
    STAMP,
    ExportFailed,
    Sizes,
    build_commands,
    build_script,
    check_checkpoint,
    export_edgellm,
    main,
    make_environment,
    serve_command,
    serve_script,
)
from tests.export.small_reasoner import random_model, small_config, small_tokenizer

SIZES = Sizes.of((168, 168), 512)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In half precision, without a chat template."""
    folder, tokenizer = tmp_path_factory.mktemp("edgellm") / "small", small_tokenizer()
    random_model(small_config(tokenizer, tied=False)).half().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def stand_in(folder: Path, program: str) -> Path:
    """An environment whose exporter is a few lines of Python."""
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text("")
    wanted = {"packages": list(PACKAGES), "python": sys.version.split()[0]}
    (folder / STAMP).write_text(json.dumps(wanted))
    script = folder / "bin" / "tensorrt-edgellm-export"
    script.write_text(f"#!{sys.executable}\nimport pathlib, sys\n{textwrap.dedent(program)}")
    script.chmod(0o755)
    return folder


WRITES = """
    source, out = map(pathlib.Path, sys.argv[1:])
    assert (source / "model.safetensors").is_file()
    for part in ("llm", "visual"):
        (out / part).mkdir(parents=True)
        (out / part / "model.onnx").write_text(part)
    (out / "llm" / "chat_template.jinja").write_text((source / "chat_template.jinja").read_text())
    print("exported", *sys.argv[1:])
"""


# ---- exporting ----


def test_an_export_is_graphs_scripts_and_a_manifest_of_them(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = export_edgellm(checkpoint, out, stand_in(tmp_path / "env", WRITES), SIZES)
    assert json.loads((out / "edgellm.json").read_text()) == manifest
    listed = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} - {"edgellm.json"}
    assert set(manifest["files"]) == listed
    assert listed >= {"onnx/llm/model.onnx", "onnx/visual/model.onnx", "build_on_device.sh", "export.log"}
    assert list(manifest["checkpoint"]["sha256"]) == ["model.safetensors"]
    assert manifest["sampling"]["temperature"] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["env", "out"]


def test_a_checkpoint_without_a_chat_template_gets_qwens(checkpoint: Path, tmp_path: Path) -> None:
    """Rendered, it is the prompt that the other backends make."""
    import jinja2

    export_edgellm(checkpoint, tmp_path / "out", stand_in(tmp_path / "env", WRITES), SIZES)
    template = jinja2.Template((tmp_path / "out" / "onnx" / "llm" / "chat_template.jinja").read_text())
    user = [{"type": "image"}, {"type": "text", "text": "Find it."}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": user}]
    assert template.render(messages=messages, add_generation_prompt=True) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
        "<|vision_start|><|image_pad|><|vision_end|>Find it.<|im_end|>\n<|im_start|>assistant\n"
    )
    assert not (checkpoint / "chat_template.jinja").exists()


def test_a_failing_exporter_leaves_its_log_and_nothing_else(checkpoint: Path, tmp_path: Path) -> None:
    environment = stand_in(tmp_path / "env", "print('loading'); sys.exit('ValueError: no such layer')")
    with pytest.raises(ExportFailed, match="status 1: ValueError: no such layer"):
        export_edgellm(checkpoint, tmp_path / "out", environment, SIZES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["env", "out.log"]


def test_an_exporter_that_writes_nothing_has_failed(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="no llm and no visual"):
        export_edgellm(checkpoint, tmp_path / "out", stand_in(tmp_path / "env", "pass"), SIZES)
    assert not (tmp_path / "out").exists()


def test_an_export_is_replaced_only_when_asked(checkpoint: Path, tmp_path: Path) -> None:
    environment, out = stand_in(tmp_path / "env", WRITES), tmp_path / "out"
    export_edgellm(checkpoint, out, environment, SIZES, name="first")
    with pytest.raises(FileExistsError, match="--replace"):
        export_edgellm(checkpoint, out, environment, SIZES)
    assert export_edgellm(checkpoint, out, environment, SIZES, name="second", replace=True)["name"] == "second"


@pytest.mark.parametrize(
    "change, error",
    [
        ({"architectures": ["LlamaForCausalLM"]}, "want .*Qwen2_5_VL"),
        ({"dtype": "float32"}, "want float16 or bfloat16"),
    ],
)
def test_a_checkpoint_the_exporter_would_choke_on_is_refused_first(
    checkpoint: Path, tmp_path: Path, change: dict[str, object], error: str
) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    for name in ("tokenizer.json", "model.safetensors"):
        (tmp_path / name).symlink_to(checkpoint / name)
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ValueError, match=error):
        check_checkpoint(tmp_path)


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(checkpoint: Path, tmp_path: Path, missing: str) -> None:
    for path in checkpoint.iterdir():
        if path.name != missing:
            (tmp_path / path.name).symlink_to(path)
    with pytest.raises(FileNotFoundError, match=missing.rpartition(".")[2]):
        check_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "processor_config.json", "chat_template.json"])
def test_a_chat_template_of_the_checkpoint_is_left_alone(checkpoint: Path, tmp_path: Path, name: str) -> None:
    for path in checkpoint.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / name).write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert check_checkpoint(tmp_path)


def test_the_command_line_fails_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(tmp_path / "nothing"), str(tmp_path / "out"), "--environment", str(tmp_path / "env")]
    assert main(arguments) == 1
    assert main([*arguments, "--profile", "vision_reasoner"]) == 1
    assert main([*arguments, "--image-size", "850"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and "config.json: missing" in lines[0]
    assert "vision_reasoner_v2" in lines[1] and "multiples of 28" in lines[2]


# ---- the environment ----


def test_an_environment_that_could_not_be_filled_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = iter([[sys.executable, "-c", "raise SystemExit('no network: Error')"], [sys.executable, "-c", ""]])
    monkeypatch.setattr(reasoner_edgellm, "install_command", lambda directory: next(commands))
    with pytest.raises(ExportFailed, match="pip failed"):
        make_environment(tmp_path / "env")
    assert not (tmp_path / "env" / STAMP).exists()
    make_environment(tmp_path / "env")
    make_environment(tmp_path / "env")  # a third call of pip would end the iterator
    assert json.loads((tmp_path / "env" / STAMP).read_text())["packages"] == list(PACKAGES)


def test_an_environment_looks_on_here_for_torch_but_first_in_its_own_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reasoner_edgellm, "install_command", lambda directory: [sys.executable, "-c", ""])
    monkeypatch.setattr(reasoner_edgellm, "has_torch", lambda: True)
    make_environment(tmp_path / "env")
    own = next((tmp_path / "env" / "lib").glob("python3*/site-packages"))
    (own / "transformers.py").write_text("where = 'own'")
    program = "import importlib.util, transformers; print(transformers.where, bool(importlib.util.find_spec('torch')))"
    python = tmp_path / "env" / "bin" / "python"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["own", "True"]


def test_a_directory_that_is_no_environment_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(ExportFailed, match="no environment"):
        make_environment(tmp_path / "photos")
    assert (tmp_path / "photos").is_dir()


# ---- for the device ----


def test_sizes_follow_from_picture_and_length() -> None:
    assert Sizes.of((840, 840), 4096) == Sizes(900, 1924, 4096)
    assert Sizes.of((168, 168), 512) == Sizes(36, 512, 512)
    with pytest.raises(ValueError, match="more than the picture's 900"):
        Sizes.of((840, 840), 900)


def test_the_builds_are_for_one_picture_of_the_profiles_size() -> None:
    llm, visual = (dict(zip(command[1::2], command[2::2], strict=True)) for command in build_commands(SIZES))
    assert llm == {
        "--onnxDir": "onnx/llm",
        "--engineDir": "$ENGINES/llm",
        "--maxBatchSize": "1",
        "--maxInputLen": "512",
        "--maxKVCacheCapacity": "512",
    }
    assert visual["--maxImageTokens"] == visual["--maxImageTokensPerImage"] == "36"


def test_the_server_listens_here_only_and_leaves_the_tags_alone() -> None:
    command = serve_command(SIZES, "small")
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--reasoning-parser") + 1] == "none"


@pytest.mark.parametrize("script", [build_script(SIZES), serve_script(SIZES, "small")])
def test_the_scripts_are_shell(script: str) -> None:
    done = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_build_script_calls_both_builders(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("llm_build", "visual_build"):
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "$CALLS"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "build_on_device.sh").write_text(build_script(SIZES))
    calls, engines = tmp_path / "calls", tmp_path / "my engines"
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CALLS": str(calls), "ENGINES": str(engines)}
    subprocess.run(["sh", tmp_path / "build_on_device.sh"], env=environment, check=True)
    called = calls.read_text().splitlines()
    wanted = [" ".join(command).replace("$ENGINES", str(engines)) for command in build_commands(SIZES)]
    assert called == wanted


def test_without_the_builders_the_script_says_so(tmp_path: Path) -> None:
    (tmp_path / "build_on_device.sh").write_text(build_script(SIZES))
    command = ["/bin/sh", tmp_path / "build_on_device.sh"]
    done = subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "llm_build: not on PATH" in done.stderr


@pytest.mark.parametrize("name", ["a name; rm -rf x", "two\nlines", "$HOME", "-x"])
def test_a_name_that_a_shell_could_read_otherwise_is_refused(checkpoint: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="--name"):
        export_edgellm(checkpoint, tmp_path / "out", tmp_path / "env", SIZES, name=name)


# ---- the exporter itself ----


@pytest.mark.skipif("SEGZERO_EDGELLM" not in os.environ, reason="takes minutes; SEGZERO_EDGELLM=DIR runs it")
def test_the_exporter_exports_a_small_random_model(checkpoint: Path, tmp_path: Path) -> None:
    import onnx

    manifest = export_edgellm(checkpoint, tmp_path / "out", Path(os.environ["SEGZERO_EDGELLM"]), SIZES)
    assert manifest["versions"]["tensorrt-edgellm"] == "0.11.0"
    assert {"onnx/llm/tokenizer.json", "onnx/llm/config.json", "onnx/visual/config.json"} <= set(manifest["files"])
    decoder = onnx.load(tmp_path / "out" / "onnx" / "llm" / "model.onnx", load_external_data=False)
    names = {value.name for value in decoder.graph.input}
    assert any("past_key" in name or "kv" in name.lower() for name in names), names
    vision = json.loads((tmp_path / "out" / "onnx" / "visual" / "config.json").read_text())
    assert "qwen2_5_vl" in json.dumps(vision)
