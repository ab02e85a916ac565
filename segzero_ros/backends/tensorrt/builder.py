"""ONNX graphs of a bundle -> TensorRT engines for this machine, or, with TensorRT-RTX, for one that is named.

Networks are strongly typed: precision is the graph's own (`segzero export --arithmetic half|float`). No timing cache is
read or written. An engine appears whole or not at all, its note (segzero_ros/backends/tensorrt/store.py) after it.
One code path for TensorRT 10.16, 11 and TensorRT-RTX 1.7, which also builds where there is neither GPU nor driver.
Needs neither torch nor onnx: this is what runs on the robot, by `segzero engines build`.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from segzero_ros.backends.tensorrt.library import Gpu, Library, new_logger
from segzero_ros.backends.tensorrt.profiles import OWN, Profile, Profiles, Range, Shape
from segzero_ros.backends.tensorrt.store import (
    Identity,
    Note,
    engine_file,
    engine_folder,
    graph_file,
    open_engine,
    profiles_of,
    wanted_identity,
)
from segzero_ros.bundle import Bundle
from segzero_ros.errors import Code, RejectedInput

_CHUNK = 1 << 24


class BuildFailed(Exception):
    """TensorRT could not parse or build a graph; the message is its own."""


def build_network(library: Library, graph: Path, profiles: Profiles, gpu: Gpu) -> Any:
    """Parse `graph` and build it; return TensorRT's serialised engine, which has the buffer protocol and `nbytes`.

    Raises BuildFailed with TensorRT's own words.
    """
    api, logger = library.api, new_logger(library)
    builder = api.Builder(logger)
    network = builder.create_network(1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = api.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        faults = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise BuildFailed(f"{graph}: not parsed: {'; '.join(faults or logger.messages)[:1000]}")
    _allow_decomposing(api, network)
    config = builder.create_builder_config()
    config.clear_flag(api.BuilderFlag.TF32)  # FP32 graphs are asked for where FP32 is wanted
    _set_target(api, config, gpu)
    for profile in profiles:
        _add_profile(builder, config, _filled(network, profile))
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BuildFailed(f"{graph}: not built: {'; '.join(logger.messages)[:1000]}")
    return engine


def _allow_decomposing(api: Any, network: Any) -> None:
    """Let every Attention fall back to plain products where no fused kernel fits (FP32, odd head sizes)."""
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == api.LayerType.ATTENTION_INPUT:
            layer.__class__ = api.IAttentionInputLayer  # get_layer returns the base class; this is the way down
            layer.attention.decomposable = True


def _set_target(api: Any, config: Any, gpu: Gpu) -> None:
    """Build for the GPU's compute capability where the flavour is told so (RTX); a card not listed gets all listed."""
    capability = getattr(getattr(api, "ComputeCapability", None), f"SM{gpu.capability.replace('.', '')}", None)
    if capability is not None and hasattr(config, "set_compute_capability"):
        config.num_compute_capabilities = 1
        config.set_compute_capability(capability, 0)


def _filled(network: Any, profile: Profile) -> Profile:
    """The profile with the graph's own sides in place of ``OWN``."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    fixed = {tensor.name: tuple(tensor.shape) for tensor in inputs}
    return {name: _range_of(shapes, fixed.get(name, ())) for name, shapes in profile.items()}


def _range_of(shapes: Range, fixed: Shape) -> Range:
    least, usual, most = (
        tuple(fixed[axis] if side == OWN else side for axis, side in enumerate(shape)) for shape in shapes
    )
    return least, usual, most


def _add_profile(builder: Any, config: Any, shapes: Any) -> None:
    profile = builder.create_optimization_profile()
    for name, (least, usual, most) in shapes.items():
        profile.set_shape(name, least, usual, most)
    if config.add_optimization_profile(profile) < 0:
        raise BuildFailed(f"TensorRT refuses the shapes {dict(shapes)}")


# ---- on disk ----


def build_engines(
    bundle: Bundle,
    roles: Sequence[str],
    engine_dir: str,
    library: Library,
    gpu: Gpu,
    *,
    again: bool = False,
    report: Callable[[str], None] = print,
) -> list[Path]:
    """Build the engines for `roles` that are not there yet (`again`: all of them); return their files.

    Raises `RejectedInput` BUNDLE_BACKEND when TensorRT cannot, or the disk is full. Nothing partial is left then.
    """
    folder = engine_folder(engine_dir, bundle)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sweep(folder)
    except OSError as error:
        why = f"cannot make the folder {folder} ({error.strerror or error}); give another --engine-dir"
        raise RejectedInput(Code.BUNDLE_BACKEND, why) from error
    files = []
    for role in roles:
        identity = wanted_identity(bundle, role, library, gpu)
        file = engine_file(folder, identity)
        files.append(file)
        if not again and _usable(bundle, role, folder, library, gpu):
            report(f"{role}: there already, {file}")
            continue
        try:
            note = _build(bundle, role, file, identity, library, gpu)
        except (BuildFailed, OSError) as error:
            raise RejectedInput(
                Code.BUNDLE_BACKEND, f"{role}: {error}; nothing of it is left; {_advice(error)}"
            ) from error
        report(f"{role}: {note.bytes / 1e6:.1f} MB in {note.seconds:.1f} s, {file}")
    return files


def _build(bundle: Bundle, role: str, file: Path, identity: Identity, library: Library, gpu: Gpu) -> Note:
    start = time.perf_counter()
    engine = build_network(library, graph_file(bundle, role), profiles_of(bundle, role), gpu)
    view = memoryview(engine).cast("B")
    note = Note(identity, hashlib.sha256(view).hexdigest(), view.nbytes, round(time.perf_counter() - start, 3))
    beside = file.with_suffix(".json")
    beside.unlink(missing_ok=True)  # from here on until the new note is there, the engine does not count
    write_whole(file, view)
    write_whole(beside, memoryview(json.dumps(asdict(note), indent=1).encode()))
    return note


def _usable(bundle: Bundle, role: str, folder: Path, library: Library, gpu: Gpu) -> bool:
    try:
        with open_engine(bundle, role, folder, library, gpu):
            return True
    except RejectedInput:
        return False


def _advice(error: Exception) -> str:
    if isinstance(error, OSError):
        return "make room or give another --engine-dir, and build again"
    return "see docs/engines.md for what builds where"


def sweep(folder: Path) -> None:
    """Remove what killed builds left where the file system has no files without a name."""
    for partial in folder.glob(".*.partial"):
        process = partial.name.split(".")[-2]
        if process.isdecimal() and not Path("/proc", process).exists():
            partial.unlink(missing_ok=True)


def write_whole(file: Path, content: memoryview) -> None:
    """Write `content` to `file` so that it is there whole or not at all, whenever this process or the machine ends."""
    with _unnamed(file) as (stream, publish):
        for first in range(0, len(content), _CHUNK):
            stream.write(content[first : first + _CHUNK])
        stream.flush()
        os.fsync(stream.fileno())
        publish()
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _unnamed(file: Path) -> Iterator[tuple[IO[bytes], Callable[[], None]]]:
    """Give a stream to a file without a name, which vanishes with this process, and what names it `file`.

    Where the file system has no such files it has a hidden name of its own until then.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        handle = os.open(file.parent, os.O_TMPFILE | os.O_WRONLY, 0o600)
        named = False
    except (OSError, AttributeError):
        handle = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        named = True
    try:
        with os.fdopen(handle, "wb") as stream:

            def publish() -> None:
                if not named:  # a dst_dir_fd makes Python call linkat, which alone follows the link of /proc
                    source, folder = f"/proc/self/fd/{stream.fileno()}", os.open(file.parent, os.O_DIRECTORY)
                    try:
                        os.link(source, partial.name, dst_dir_fd=folder, follow_symlinks=True)
                    finally:
                        os.close(folder)
                partial.replace(file)

            yield stream, publish
    finally:
        partial.unlink(missing_ok=True)


def read_target(text: str, library: Library) -> Gpu:
    """Read NAME:CAPABILITY:DRIVER, the GPU of another machine; only TensorRT-RTX builds for one.

    Raises `RejectedInput` CONFIG_VALUE or BUNDLE_BACKEND.
    """
    name, capability, driver = (*(part.strip() for part in text.split(":", 2)), "", "")[:3]
    if not (name and driver and capability.replace(".", "", 1).isdecimal()):
        raise RejectedInput(
            Code.CONFIG_VALUE, f'--target: got {text!r}, want NAME:CAPABILITY:DRIVER, say "NVIDIA L4:8.9:580.95.05"'
        )
    if library.flavour != "tensorrt_rtx":
        raise RejectedInput(Code.BUNDLE_BACKEND, "--target: got TensorRT, want TensorRT-RTX; build on the robot itself")
    return Gpu(name, capability, driver)
