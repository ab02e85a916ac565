"""Real shapes on a GPU: Qwen2.5-VL 3B and 7B, SAM 2 large, random weights; ours beside transformers in one run.

    python -m bench.gpu --models 3b,7b          # on a machine with a GPU; writes bench/results/<gpu>/gpu.json
    python -m bench.gpu --models 7b --engines torch_cuda,onnx,tensorrt
    python -m bench.gpu --tiny                  # a dry run on a CPU: shapes of toys, figures without meaning

One command: a picture of 900 visual tokens, 150 tokens of text, 100 new tokens. Beside each time stands what fraction
of the device's bandwidth and compute it amounts to; what is left is in the profile. Random weights are no slower.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.figures import markdown_table, spread
from bench.gpu.limits import Limits, decode_needs, measured_limits, prefill_needs, timed, vision_needs, wait
from bench.gpu.shapes import REAL, TINY, Load, reasoner, segmenter
from bench.gpu.theirs import Theirs
from bench.record import RESULTS, device_slug, record, write
from segzero_ros.backends.decoding.chat_prompt import Rotary, mrope_positions
from segzero_ros.cli.parser import Parser

ENGINES = ("torch_cuda", "onnx", "tensorrt")
ROUNDS = 5
TOP = 10  # kernels of the profile


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    options = _parser().parse_args(arguments)
    if not options.tiny and not torch.cuda.is_available():
        print("bench.gpu.main: torch sees no CUDA device; --tiny tries the script on the CPU", file=sys.stderr)
        return 2
    figures = measure(
        ["tiny"] if options.tiny else options.models.split(","),
        TINY if options.tiny else REAL,
        engines=options.engines.split(","),
        compiled=not options.no_compile,
        rounds=options.rounds,
    )
    print(table(figures))
    path = options.out or (None if options.tiny else RESULTS / device_slug() / "gpu.json")
    if path:
        words = list(sys.argv[1:] if arguments is None else arguments)
        write(record("gpu", ["python", "-m", "bench.gpu.main", *words], {"load": figures["load"]}, figures), path)
        print(f"written: {path}")
    return 0


def measure(
    names: Sequence[str],
    load: Load,
    *,
    engines: Sequence[str] = ("torch_cuda",),
    compiled: bool = True,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Measure every model of ``names`` and the segmenter; an engine that does not open is named with its reason."""
    device = "cpu" if "tiny" in names else "cuda"
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    limits = measured_limits(device, dtype, tiny=device == "cpu")
    figures: dict[str, Any] = {"load": asdict(load), "limits": asdict(limits), "dtype": str(dtype), "reasoners": {}}
    for name in names:
        model = reasoner(name, device, dtype)
        figures["reasoners"][name] = _reasoner_figures(model, load, limits, engines, compiled, rounds)
        del model
        _free(device)
    figures["segmenter"] = _segmenter_figures(
        "tiny" if device == "cpu" else "large", load, device, dtype, compiled, rounds
    )
    return figures


# ---- the reasoner ----


def _reasoner_figures(
    model: Any, load: Load, limits: Limits, engines: Sequence[str], compiled: bool, rounds: int
) -> dict[str, Any]:
    """Ask ours and theirs in turn, ``rounds`` times after a warm-up."""
    figures: dict[str, Any] = {"ms": {}, "not_opened": {}}
    contestants: dict[str, Callable[[], dict[str, float]]] = {"eager": Theirs(model, load)}
    if compiled:
        contestants["compiled"] = Theirs(model, load, compiled=True)
    with tempfile.TemporaryDirectory(prefix="segzero-gpu-") as folder:
        for name in engines:
            try:
                contestants[name] = Command(_engine(name, model, load, Path(folder)), load)
            except Exception as error:  # noqa: BLE001 - one engine missing must not lose the others' figures
                figures["not_opened"][name] = f"{type(error).__name__}: {error}"[:500]
        found: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
        for number in range(rounds + 1):
            for name, ask in contestants.items():
                measured = ask()
                if number:
                    found[name].append(measured)
        ours = contestants.get("torch_cuda")
        if isinstance(ours, Command):
            figures["profile"] = profile(ours, str(model.device.type))
    needs = {
        "vision": vision_needs(model, load.image),
        "prefill": prefill_needs(model, load.visual + load.text),
        "per_token": decode_needs(model, load.visual + load.text + load.reply // 2),
    }
    for name, rows in found.items():
        figures["ms"][name] = {
            stage: {**spread([row[stage] for row in rows]), **_fraction(stage, rows, needs, limits)}
            for stage in rows[0]
        }
    return figures


def _fraction(
    stage: str, rows: Sequence[Mapping[str, float]], needs: Mapping[str, Any], limits: Limits
) -> dict[str, float]:
    if stage not in needs:
        return {}
    fractions: dict[str, float] = needs[stage].fractions(float(np.median([row[stage] for row in rows])), limits)
    return fractions


class Command:
    """One command through one of our engines, cold and warm, as ``LocalReasoner`` drives it."""

    def __init__(self, engine: Any, load: Load) -> None:
        self._engine, self._load = engine, load
        shape, rng = engine.shape, np.random.default_rng(0)
        before, after = 24, 1  # system message and the start of the user's; the end of the picture
        prefix = mrope_positions(before, shape.token_grid, after)
        self._picture = slice(before, before + load.visual)
        self._ids = rng.integers(5, shape.vocabulary - 5, prefix.shape[1] + load.text + load.reply)
        self._start = prefix.shape[1]
        rest = np.arange(load.text + load.reply) + prefix.max() + 1
        positions = np.concatenate([prefix, np.broadcast_to(rest, (3, len(rest)))], axis=1)
        self._turns = Rotary(shape.head_dim, shape.rope_theta, shape.mrope_section).rows(positions)
        self._pixels = rng.standard_normal((3, load.image, load.image)).astype(np.float32)

    def __call__(self) -> dict[str, float]:
        """Return ms by stage; "first_token_warm" with the picture in the cache already, "total" is cold."""
        stages: dict[str, float] = {}
        with _lap(stages, "vision"):
            tokens = self._engine.encode_image(self._pixels)
            wait("cuda" if torch.cuda.is_available() else "cpu")
        with _lap(stages, "picture_prefill"):
            self.append(0, self._start, (self._picture, tokens))
        question = self._start + self._load.text - self._start_tokens
        with _lap(stages, "first_token_warm"):
            logits = self.append(self._start, question)
            self._ids[question] = int(logits[-1].argmax())
        stages["prefill"] = stages["picture_prefill"] + stages["first_token_warm"]
        stages["first_token_cold"] = stages["vision"] + stages["prefill"]
        with _lap(stages, "decode"):
            for place in range(question, question + self._load.reply - 1):
                self._ids[place + 1] = int(self.append(place, place + 1)[-1].argmax())
        stages["per_token"] = stages["decode"] / (self._load.reply - 1)
        return stages | {"total": stages["first_token_cold"] + stages["decode"]}

    @property
    def _start_tokens(self) -> int:
        return self._start - self._load.visual  # the system message's, which count as text

    def append(self, start: int, end: int, picture: tuple[slice, Any] | None = None) -> Any:
        """Write the rows ``start``..``end`` of the sequence; return the last ones' logits."""
        cos, sin = self._turns
        return self._engine.append(self._ids[start:end], cos[start:end], sin[start:end], start, picture)


def _engine(name: str, model: Any, load: Load, folder: Path) -> Any:
    """Open one of our engines on this very model."""
    size = (load.image, load.image)
    if name == "torch_cuda":
        from segzero_ros.backends.torch_cuda.engine import TorchEngine

        return TorchEngine(model, image_size=size, max_length=load.max_length)
    if name == "onnx":
        from bench.gpu.bundle import export_random_reasoner
        from segzero_ros.backends.onnx.reasoner import OnnxEngine

        return OnnxEngine(export_random_reasoner(model, load, folder))
    if name == "tensorrt":
        return _tensorrt_engine(model, load, folder)
    raise ValueError(f"got the engine {name!r}, want one of {', '.join(ENGINES)}")


def _tensorrt_engine(model: Any, load: Load, folder: Path) -> Any:
    from bench.gpu.bundle import random_bundle
    from segzero_ros.backends import EngineOptions, open_reasoner
    from segzero_ros.cli.main import main as segzero

    bundle, built = random_bundle(model, load, folder), str(folder / "engines")
    if segzero(["engines", "build", str(bundle.path), "--engine-dir", built]):
        raise RuntimeError("the engines were not built; see above")
    opened: Any = open_reasoner("tensorrt", bundle, EngineOptions(engine_dir=built))
    return opened._engine  # noqa: SLF001 - the engine alone, without prompt and tokenizer


def profile(ours: Command, device: str) -> list[dict[str, Any]]:
    """Return the kernels (or, on a CPU, operators) that one command of ours spends most of its time in."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with watch(activities=activities) as watched:
        ours()
    key = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    events = sorted(watched.key_averages(), key=lambda event: -getattr(event, key))
    whole = sum(getattr(event, key) for event in events) or 1.0
    return [
        {
            "what": event.key[:120],
            "ms": round(getattr(event, key) / 1e3, 3),
            "share": round(getattr(event, key) / whole, 3),
            "calls": event.count,
        }
        for event in events[:TOP]
    ]


# ---- the segmenter ----


def _segmenter_figures(
    name: str, load: Load, device: str, dtype: torch.dtype, compiled: bool, rounds: int
) -> dict[str, Any]:
    """Encode a picture and decode objects: FP32 as transformers loads it, then 16 bit, then compiled."""
    found = {}
    for way, kind in (("fp32_eager", torch.float32), ("eager", dtype), ("compiled", dtype)):
        if way == "compiled" and not compiled:
            continue
        model = segmenter(name, load.segmenter, device, kind)
        encode, decode = model.get_image_embeddings, model
        if way == "compiled":
            encode, decode = torch.compile(encode), torch.compile(model)
        pixels = torch.randn(1, 3, load.segmenter, load.segmenter, device=device, dtype=kind)
        box = torch.tensor([[[10.0, 10.0, 90.0, 90.0]]], device=device, dtype=kind).repeat(1, load.objects, 1)
        with torch.inference_mode():
            features = [feature.clone() for feature in encode(pixels)]
            found[way] = {
                "encode": timed(lambda encode=encode, pixels=pixels: encode(pixels), device, rounds),
                "mask_decode": timed(
                    lambda decode=decode, features=features, box=box: decode(
                        image_embeddings=features, input_boxes=box
                    ),
                    device,
                    rounds,
                ),
            }
    return {way: {stage: round(ms, 3) for stage, ms in stages.items()} for way, stages in found.items()}


# ---- showing it ----


def table(figures: Mapping[str, Any]) -> str:
    """Lay the figures out as Markdown."""
    rows = []
    for model, found in figures["reasoners"].items():
        for name, stages in found["ms"].items():
            for stage, value in stages.items():
                share = [f"{100 * value[key]:.0f} %" if key in value else "" for key in ("of_bandwidth", "of_compute")]
                rows.append([model, name, stage.replace("_", " "), f"{value['p50']:.3g}", *share])
        rows += [[model, name, f"not opened: {why}", "", "", ""] for name, why in found["not_opened"].items()]
    for name, stages in figures["segmenter"].items():
        rows += [["SAM 2", name, stage.replace("_", " "), f"{ms:.3g}", "", ""] for stage, ms in stages.items()]
    return markdown_table(["model", "engine", "stage", "ms", "of bandwidth", "of compute"], rows)


@contextmanager
def _lap(stages: dict[str, float], name: str) -> Iterator[None]:
    import time

    start = time.perf_counter()
    yield
    stages[name] = (time.perf_counter() - start) * 1e3


def _free(device: str) -> None:
    if device == "cuda":
        torch.cuda.empty_cache()


def _parser() -> Parser:
    parser = Parser("python -m bench.gpu", __doc__ or "")
    parser.add_argument("--models", default="3b,7b", help="of 3b, 7b (default both)")
    parser.add_argument("--engines", default="torch_cuda,onnx", help=f"ours, of {', '.join(ENGINES)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"commands per contestant (default {ROUNDS})")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile on their side")
    parser.add_argument("--tiny", action="store_true", help="toy shapes on the CPU: a dry run")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
