"""The engines: bundle, environments, backends, and at last the whole way once with a picture of known truth."""

import functools
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from segzero_ros.backends import DEFAULTS
from segzero_ros.bundle import Bundle, open_named_bundle
from segzero_ros.doctor.finding import Finding
from segzero_ros.engines.environment import Environment, environments, find_environment
from segzero_ros.errors import RejectedInput, one_line
from segzero_ros.host import messages
from segzero_ros.host.pipeline import HostPipeline
from segzero_ros.host.process import command_line, start_own
from segzero_ros.host.supervisor import HostState

LOOK_S = 120.0  # for an environment to import its engines
OPEN_S = 600.0


def examine_bundle(name: str) -> tuple[Finding, Bundle | None]:
    """Whether the bundle is whole."""
    try:
        bundle = open_named_bundle(name)
    except RejectedInput as error:
        return Finding("fail", "bundle", str(error), "segzero bundle list shows which there are"), None
    size = sum(file.stat().st_size for file in bundle.path.glob("*/**/*") if file.is_file())
    return Finding("ok", "bundle", f"{bundle.name} is whole, {size / 1e6:.0f} MB, in {bundle.path}"), bundle


def examine(bundle: Bundle, backend: str, name: str) -> Iterator[Finding]:
    """Look at environments and backends, and ground a picture. ``name``: of the environment, "" = as a node chooses."""
    for environment in environments():
        if not environment.complete:
            what = f"{environment.folder}: {environment.reason}"
            yield Finding("warn", "environment", what, f"segzero engines install {environment.name}")
    try:
        environment = find_environment(name)
    except RejectedInput as error:
        yield Finding("fail", "environment", error.detail, "segzero engines install")
        return
    yield Finding("ok", "environment", f"{environment.name or 'this Python itself'}, {environment.python}")
    yield from backends(environment, bundle)
    yield try_out(environment, bundle, backend)


def backends(environment: Environment, bundle: Bundle) -> Iterator[Finding]:
    """Ask the environment's Python which backends can run there."""
    words = [str(environment.python), "-m", "segzero_ros.doctor.inside", str(bundle.path)]
    package = str(Path(__file__).resolve().parents[2])
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", ""))))}
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LOOK_S, check=False, env=env)
        said = json.loads(done.stdout.strip().rpartition("\n")[2])
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Finding("fail", "engines", f"{environment.python} does not answer ({error})", _again(environment))
        return
    except ValueError:
        why = one_line(done.stderr.strip().rpartition("\n")[2])[:300]
        yield Finding("fail", "engines", f"{environment.python} fails: {why}", _again(environment))
        return
    versions = ", ".join(f"{package} {version}" for package, version in said["packages"].items())
    yield Finding("ok", "engines", f"Python {said['python']}, {versions}")
    taken = next((name for name, reason in said["backends"].items() if not reason), "")
    for name, reason in said["backends"].items():
        if name == taken:
            yield Finding("ok", "backend", f"{name} is taken: the fastest that can run here")
        elif reason:
            yield Finding("note", "backend", f"not {name}: {reason}")
    if not taken:
        yield Finding("fail", "backend", "no engine can run this bundle here", _again(environment))


def _again(environment: Environment) -> str:
    return f"segzero engines install {environment.name}".strip()


def try_out(environment: Environment, bundle: Bundle, backend: str) -> Finding:
    """Start the engines as a node does, self-test included, and let them answer once."""
    over = threading.Event()

    def changed(_: HostPipeline, state: HostState) -> None:
        if state.phase in ("ready", "failed"):
            over.set()

    wanted = messages.Open(str(bundle.path), backend, asdict(DEFAULTS), self_test=True)
    start = functools.partial(start_own, command_line(str(environment.python)))
    began = time.monotonic()
    engines = HostPipeline(start, wanted, name="doctor", on_change=changed)
    try:
        over.wait(OPEN_S)
        return _tried(engines.state(), time.monotonic() - began)
    finally:
        engines.close()


def _tried(state: HostState, seconds: float) -> Finding:
    if state.opened is None:
        what = str(state.fault) if state.fault is not None else f"not open after {seconds:.0f} s: {state.detail}"
        return Finding("fail", "whole way", what, "look at the lines above; then at what the engines printed")
    return Finding("ok", "whole way", f"open in {seconds:.1f} s; {state.opened.engines.partition(';')[0]}")
