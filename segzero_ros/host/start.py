"""From the node's configuration to its engines: in this process, in one of its own, or in one that others share."""

import functools
import sys
from dataclasses import asdict, fields

from segzero_ros.backends import EngineOptions, open_pipeline
from segzero_ros.bundle import expand_home, open_bundle, resolve_bundle
from segzero_ros.config import NodeConfig
from segzero_ros.engines.environment import find_environment
from segzero_ros.host import messages
from segzero_ros.host.pipeline import HostPipeline, OnChange
from segzero_ros.host.process import command_line, connect, start_own
from segzero_ros.pipeline import Pipeline


def engine_options(config: NodeConfig) -> EngineOptions:
    """Return the options of the engines: the parameters of the same name, but for the one that ROS calls ``_sec``."""
    same = {option.name for option in fields(EngineOptions)} - {"server_timeout_s"}
    return EngineOptions(**{name: getattr(config, name) for name in same}, server_timeout_s=config.server_timeout_sec)


def open_here(config: NodeConfig) -> tuple[str, Pipeline]:
    """Open the bundle in this process: its name and its pipeline; ``RejectedInput`` with a BUNDLE_ code."""
    bundle = None if config.backend == "fake" else open_bundle(resolve_bundle(config.bundle))
    options = engine_options(config)
    pipeline = open_pipeline(bundle, config.backend, budget=config.thinking_budget, label=config.label, options=options)
    if bundle is not None and config.self_test:
        from segzero_ros.backends.self_test import check_coordinates  # with OpenCV, which a node may do without

        check_coordinates(pipeline, bundle)
    return (bundle.name if bundle else config.backend), pipeline


def _python(config: NodeConfig) -> str:
    """Return the interpreter for the engines; the fake ones need nothing of it."""
    if config.backend == "fake" and not config.engines:
        return sys.executable
    return str(find_environment(config.engines).python)


def start_host(config: NodeConfig, name: str, on_change: OnChange, *, segmenter_only: bool = False) -> HostPipeline:
    """Have the engines opened elsewhere and return at once; what can be checked without an engine is refused here.

    ``name``: the node's, for the host's log. ``on_change``: see ``HostPipeline``. ``segmenter_only``: a host of our
    own is for ``HostPipeline.mask`` alone. Raises ``RejectedInput``.
    """
    if config.host:
        start = functools.partial(connect, expand_home(config.host))
        wanted = None
    else:
        where = str(resolve_bundle(config.bundle)) if config.backend != "fake" else ""
        start = functools.partial(start_own, command_line(_python(config)))
        tested = config.self_test and not segmenter_only
        options = asdict(engine_options(config))
        wanted = messages.Open(where, config.backend, options, tested, segmenter_only=segmenter_only)
    return HostPipeline(
        start, wanted, budget=config.thinking_budget, label=config.label, name=name, on_change=on_change
    )
