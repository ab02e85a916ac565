"""Checkpoint -> TensorRT Edge-LLM: NVIDIA's exporter run, and scripts written that build and serve on a Jetson.

    python -m export.reasoner_edgellm VisionReasoner-7B OUT --environment ~/edgellm --profile vision_reasoner_v2

    OUT/onnx/llm, OUT/onnx/visual   what `tensorrt-edgellm-export` wrote
    OUT/build_on_device.sh          llm_build and visual_build with this profile's sizes
    OUT/serve_on_device.sh          tensorrt-edgellm-serve, on this machine's own address only
    OUT/edgellm.json                versions, sizes, commands, the SHA-256 of every file
    OUT/export.log                  what the exporter said

The exporter pins its own torch, transformers and numpy, so it runs in an environment of its own, which is made on first
use. Where the Python that runs this has the pinned torch already, the environment looks on there for what it lacks and
torch is not installed twice. OUT appears whole or not at all. Quantised checkpoints (AWQ, FP8, NVFP4) go in as they
are: the exporter reads their quantisation from their own files.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import Qwen2_5_VLForConditionalGeneration

from export.checks import BATCH, LENGTH, SIDE
from segzero_ros.backends.torch_cuda.weights import (
    PIXELS_PER_TOKEN,
    check_cache,
    check_whole,
    read_json,
    read_tokenizer,
)
from segzero_ros.bundle import hash_file
from segzero_ros.cli.parser import Parser
from segzero_ros.errors import RejectedInput
from segzero_ros.profile import PROFILES, get_profile

VERSION = "0.11.0"
TORCH = "2.13.0"
# The extra leaves out two that the exporter imports: ModelOpt, whose version it names elsewhere, and requests.
PACKAGES = (f"tensorrt-edgellm[export]=={VERSION}", "nvidia-modelopt==0.45.0", "requests")
ARCHITECTURE = "Qwen2_5_VLForConditionalGeneration"
PROMPT_TOKENS = 1024  # beside the picture: question, and thinking that is handed back to be answered
LEAST_IMAGE_TOKENS = 4
STAMP = "segzero_edgellm.json"

# Qwen2.5-VL's conversation, for checkpoints that were saved without one. The default system message is the profile's
# to give, so there is none here.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] -%}
{%- if part['type'] == 'image' or 'image' in part or 'image_url' in part -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif 'text' in part -%}
{{ part['text'] }}
{%- endif -%}
{%- endfor %}{% endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""


class ExportFailed(Exception):
    """The exporter or the making of its environment failed; the message is one line that says where to look."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What engines are built for: ``image_tokens`` of one picture, prompt and cache in tokens, requests at once."""

    image_tokens: int
    max_input: int
    max_cache: int
    max_batch: int = 1

    @classmethod
    def of(cls, image_size: tuple[int, int], max_length: int, max_batch: int = 1) -> Sizes:
        """``image_size``: (width, height), multiples of 28; ``max_length``: picture, prompt and reply together."""
        if min(image_size) < PIXELS_PER_TOKEN or any(side % PIXELS_PER_TOKEN for side in image_size):
            raise ValueError(f"image size: got {image_size}, want multiples of {PIXELS_PER_TOKEN}")
        tokens = (image_size[0] // PIXELS_PER_TOKEN) * (image_size[1] // PIXELS_PER_TOKEN)
        if max_length <= tokens:
            raise ValueError(f"max length: got {max_length}, want more than the picture's {tokens} tokens")
        return cls(tokens, min(max_length, tokens + PROMPT_TOKENS), max_length, max_batch)


def export_edgellm(
    checkpoint: Path, out: Path, environment: Path, sizes: Sizes, *, name: str = "", replace: bool = False
) -> dict[str, Any]:
    """Export `checkpoint` into `out` with the exporter in `environment` (made when it is not there); the manifest.

    FileNotFoundError, ValueError or RejectedInput for a checkpoint that the exporter cannot take, FileExistsError when
    `out` is there and `replace` is not set, ExportFailed when the exporter or pip fails. A failure leaves OUT.log and
    nothing else.
    """
    name = name or checkpoint.name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(f"name: got {name[:100]!r}, want letters, digits, '.', '_' and '-'; give --name")
    template = check_checkpoint(checkpoint)
    if out.exists() and not replace:
        raise FileExistsError(f"{out}: already there; give --replace or another place")
    make_environment(environment)
    out.parent.mkdir(parents=True, exist_ok=True)
    log = out.parent / f"{out.name}.log"
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as made:
        made_out = Path(made) / "out"
        made_out.mkdir()
        source = checkpoint.absolute() if template else with_template(checkpoint, Path(made) / "checkpoint")
        run(export_command(environment, source, made_out / "onnx"), log, "the exporter")
        missing = [part for part in ("llm", "visual") if not (made_out / "onnx" / part / "model.onnx").is_file()]
        if missing:
            raise ExportFailed(f"the exporter wrote no {' and no '.join(missing)}/model.onnx; see {log}")
        log.rename(made_out / "export.log")
        write_script(made_out / "build_on_device.sh", build_script(sizes))
        write_script(made_out / "serve_on_device.sh", serve_script(sizes, name))
        manifest = describe(made_out, checkpoint, environment, sizes, name)
        (made_out / "edgellm.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        made_out.rename(out)
    return manifest


# ---- the checkpoint ----


def check_checkpoint(checkpoint: Path) -> bool:
    """Refuse what the exporter would choke on; return whether the checkpoint brings a chat template."""
    for needed in ("config.json", "tokenizer.json"):
        if not (checkpoint / needed).is_file():
            raise FileNotFoundError(f"{checkpoint / needed}: missing; give a directory written by save_pretrained")
    config = read_json(checkpoint / "config.json")
    if config.get("architectures") != [ARCHITECTURE]:
        raise ValueError(f"got a checkpoint of {config.get('architectures')}, want {[ARCHITECTURE]}")
    precision = config.get("dtype") or config.get("torch_dtype")
    if precision not in ("float16", "bfloat16") and "quantization_config" not in config:
        raise ValueError(f"got weights in {precision}, want float16 or bfloat16; save the model in one of them")
    if not list(checkpoint.glob("*.safetensors")):
        raise FileNotFoundError(f"{checkpoint}: no *.safetensors; save the weights with safe_serialization")
    check_whole(Qwen2_5_VLForConditionalGeneration, checkpoint, quantised=True)
    read_tokenizer(checkpoint / "tokenizer.json")
    return has_template(checkpoint)


def has_template(checkpoint: Path) -> bool:
    """Whether the exporter will find a chat template: a file, or the one in the tokenizer's or processor's settings."""
    if (checkpoint / "chat_template.jinja").is_file() or (checkpoint / "chat_template.json").is_file():
        return True
    settings = [checkpoint / name for name in ("tokenizer_config.json", "processor_config.json")]
    return any("chat_template" in json.loads(path.read_text("utf-8")) for path in settings if path.is_file())


def with_template(checkpoint: Path, staged: Path) -> Path:
    """Return a directory of links to the checkpoint's files with a chat template beside them."""
    staged.mkdir()
    for path in checkpoint.absolute().iterdir():
        (staged / path.name).symlink_to(path.resolve())
    (staged / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    return staged


# ---- the environment ----


def make_environment(directory: Path) -> None:
    """Make the exporter's environment, or leave it as it is if it was made for this version; ExportFailed otherwise."""
    stamp = directory / STAMP
    wanted = {"packages": list(PACKAGES), "python": sys.version.split()[0]}
    if stamp.is_file() and json.loads(stamp.read_text("utf-8")) == wanted:
        return
    if directory.exists() and not (directory / "pyvenv.cfg").is_file():
        raise ExportFailed(f"{directory} is there and no environment; name a directory that does not exist")
    directory.parent.mkdir(parents=True, exist_ok=True)
    log = directory.parent / f"{directory.name}.log"
    run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(directory)], log, "venv")
    if has_torch():
        look_on_here(directory)
    run(install_command(directory), log, "pip")
    log.unlink()
    stamp.write_text(json.dumps(wanted) + "\n", encoding="utf-8")  # last: an interrupted environment is made anew


def has_torch() -> bool:
    """Whether this Python has the torch that the exporter pins."""
    try:
        return importlib.metadata.version("torch").partition("+")[0] == TORCH
    except importlib.metadata.PackageNotFoundError:
        return False


def look_on_here(directory: Path) -> None:
    """Let an environment look in this Python's packages for what it has not got itself."""
    libraries = next((directory / "lib").glob("python3*/site-packages"))
    (libraries / "zz_segzero_ros.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")


def install_command(directory: Path) -> list[str]:
    """Install with this Python's pip into the other environment."""
    return [sys.executable, "-m", "pip", "--python", str(directory / "bin" / "python"), "install", *PACKAGES]


def export_command(environment: Path, checkpoint: Path, onnx: Path) -> list[str]:
    """Return the exporter's command line."""
    return [str(environment.absolute() / "bin" / "tensorrt-edgellm-export"), str(checkpoint), str(onnx)]


def run(command: Sequence[str], log: Path, what: str) -> None:
    """Run a command, all it says going to the end of `log`; ExportFailed with its last line when it fails."""
    try:
        with log.open("ab") as file:
            done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    except OSError as error:
        raise ExportFailed(f"{what} cannot be started ({error}); remove the environment and try again") from None
    if done.returncode:
        said = log.read_text("utf-8", "replace").strip().splitlines()
        errors = [line for line in said if "error" in line.lower()] or said or ["nothing"]
        raise ExportFailed(f"{what} failed with status {done.returncode}: {errors[-1].strip()[:300]}; see {log}")


# ---- for the device ----


def build_commands(sizes: Sizes) -> list[list[str]]:
    """The two builds, from the directory of the script; $ENGINES is where the engines go."""
    common = {"batch": str(sizes.max_batch), "input": str(sizes.max_input), "cache": str(sizes.max_cache)}
    tokens, least = str(sizes.image_tokens), str(min(LEAST_IMAGE_TOKENS, sizes.image_tokens))
    return [
        [
            *("llm_build", "--onnxDir", "onnx/llm", "--engineDir", "$ENGINES/llm", "--maxBatchSize", common["batch"]),
            *("--maxInputLen", common["input"], "--maxKVCacheCapacity", common["cache"]),
        ],
        [
            *("visual_build", "--onnxDir", "onnx/visual", "--engineDir", "$ENGINES/visual"),
            *("--minImageTokens", least, "--maxImageTokens", tokens, "--maxImageTokensPerImage", tokens),
        ],
    ]


def serve_command(sizes: Sizes, name: str) -> list[str]:
    """The server, which builds its own engines from the checkpoint on first use and keeps them in $CACHE.

    The tags must reach us, so no reasoning parser takes them out. Sampling is not the server's to settle: left alone a
    request gets temperature 0.7, top_p 0.9 and top_k 50, so the remote backend asks for temperature 0 every time, which
    the server takes as top_k 1.
    """
    tokens = str(sizes.image_tokens)
    return [
        *(
            "tensorrt-edgellm-serve",
            "$CHECKPOINT",
            "--served-model-name",
            name,
            "--host",
            "127.0.0.1",
            "--port",
            "8000",
        ),
        *("--max-batch-size", str(sizes.max_batch), "--max-input-len", str(sizes.max_input)),
        *("--max-kv-cache-capacity", str(sizes.max_cache), "--max-image-tokens", tokens),
        *("--max-image-tokens-per-image", tokens, "--reasoning-parser", "none", "--enable-context-reuse"),
        *("--cache-dir", "$CACHE"),
    ]


def build_script(sizes: Sizes) -> str:
    """A POSIX shell script; it needs TensorRT Edge-LLM's C++ builders on PATH."""
    lines = "\n".join(shell_line(command) for command in build_commands(sizes))
    return f"""\
#!/bin/sh
# Builds this directory's engines on the device that will run them (an engine fits one GPU and one TensorRT only).
# Needs llm_build and visual_build of TensorRT Edge-LLM {VERSION} on PATH: build/examples/llm and
# build/examples/multimodal of its source tree. ENGINES: where the engines go.
set -eu
cd "$(dirname "$0")"
ENGINES="${{ENGINES:-$PWD/engines}}"
for program in llm_build visual_build; do
    command -v "$program" > /dev/null || {{ echo "$program: not on PATH; see docs/deploy" >&2; exit 2; }}
done
mkdir -p "$ENGINES"
{lines}
"""


def serve_script(sizes: Sizes, name: str) -> str:
    """A POSIX shell script; it needs the package with its [server] extra."""
    return f"""\
#!/bin/sh
# Serves the checkpoint on 127.0.0.1:8000 with TensorRT Edge-LLM {VERSION} (pip install "tensorrt-edgellm[server]").
# CHECKPOINT: the directory that was exported here. CACHE: where its engines go. For the node:
#   backend:=remote server:=http://127.0.0.1:8000/v1 model:={name}
# Greedy decoding is asked for by the node with every request (temperature 0).
set -eu
CHECKPOINT="${{CHECKPOINT:?set CHECKPOINT to the checkpoint directory}}"
CACHE="${{CACHE:-$HOME/.cache/segzero_ros/edgellm}}"
exec {shell_line(serve_command(sizes, name))}
"""


def shell_line(command: Sequence[str]) -> str:
    """Quote a command for a shell; words with a $ are expanded there, as one word."""
    return " ".join(f'"{word}"' if "$" in word else shlex.quote(word) for word in command)


def write_script(path: Path, text: str) -> None:
    """Write an executable file."""
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def describe(out: Path, checkpoint: Path, environment: Path, sizes: Sizes, name: str) -> dict[str, Any]:
    """The manifest: what was made of what, with what, for which sizes."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {
        "format": 1,
        "name": name,
        "exporter": f"tensorrt-edgellm {VERSION}",
        "versions": installed_versions(environment),
        "checkpoint": {
            "path": str(checkpoint.absolute()),
            "sha256": {path.name: hash_file(path) for path in sorted(checkpoint.glob("*.safetensors"))},
        },
        "sizes": asdict(sizes),
        "sampling": {"temperature": 0.0, "top_k": 1, "top_p": 1.0},
        "build": build_commands(sizes),
        "serve": serve_command(sizes, name),
        "files": {
            str(path.relative_to(out)): {"sha256": hash_file(path), "bytes": path.stat().st_size} for path in files
        },
    }


def installed_versions(environment: Path) -> dict[str, str]:
    """Versions of what decides about the export, as the environment has them."""
    paths = [str(path) for path in (environment / "lib").glob("python3*/site-packages")]
    found = {each.metadata["Name"].lower(): each.version for each in importlib.metadata.distributions(path=paths)}
    names = ("tensorrt-edgellm", "transformers", "onnx", "onnxscript", "nvidia-modelopt", "numpy")
    return {"torch": TORCH, **{name: found[name] for name in names if name in found}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Export from the command line; one line on standard error and status 1 or 2 when it fails."""
    parser = Parser("python -m export.reasoner_edgellm", (__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--environment", type=Path, required=True, help="the exporter's own; made when not there")
    parser.add_argument("--profile", default="vision_reasoner_v2", help=f"its picture's size; {', '.join(PROFILES)}")
    parser.add_argument("--image-size", type=SIDE, help="side in pixels in place of the profile's")
    parser.add_argument("--max-length", type=LENGTH, default=4096, help="tokens: picture, prompt and reply together")
    parser.add_argument("--max-batch", type=BATCH, default=1, help="requests served at once: robots on one device")
    parser.add_argument("--name", default="", help="by which the server knows it; default: the checkpoint's directory")
    parser.add_argument("--replace", action="store_true", help="replace OUT if it is there")
    options = parser.parse_args(arguments)
    side = options.image_size
    try:
        size = (side, side) if side else get_profile(options.profile).image_size
        sizes = Sizes.of(size, options.max_length, options.max_batch)
        check_checkpoint(options.checkpoint)
        check_cache(options.checkpoint / "tokenizer.json", size, options.max_length, get_profile(options.profile))
        export_edgellm(
            options.checkpoint, options.out, options.environment, sizes, name=options.name, replace=options.replace
        )
    except (ExportFailed, RejectedInput, OSError, ValueError) as error:
        print(f"export.reasoner_edgellm: {error}", file=sys.stderr)
        return 1
    print(f"{options.out}: bring it to the device, then build_on_device.sh or serve_on_device.sh")
    return 0


if __name__ == "__main__":
    sys.exit(main())
