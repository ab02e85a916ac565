"""The options that several commands have: which bundle, and how its engines are opened."""

import argparse
import sys
from dataclasses import replace

from segzero_ros.backends import DEFAULTS, EngineOptions, open_pipeline
from segzero_ros.bundle import open_named_bundle
from segzero_ros.cli.parser import Renamed, at_least
from segzero_ros.config import BACKENDS as ENGINES
from segzero_ros.pipeline import Pipeline

DEFAULT_BUNDLE = "tabletop"
BACKENDS = ("auto", *ENGINES)


def add_backend_option(parser: argparse.ArgumentParser) -> None:
    """Add --backend."""
    parser.add_argument("--backend", choices=BACKENDS, default="auto", metavar="NAME", help=", ".join(BACKENDS))


def add_bundle_options(parser: argparse.ArgumentParser) -> None:
    """Add --bundle and --backend."""
    where = f"a bundle's directory or name (default {DEFAULT_BUNDLE}, which knows the demo world only)"
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, metavar="DIR", help=where)
    add_backend_option(parser)


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add --bundle, --backend and what the backends take."""
    add_bundle_options(parser)
    add = parser.add_argument
    cores = "CPU threads per engine; 0 = one per core, and one for small models"
    add("--threads", type=at_least(0, 1024), default=0, metavar="N", help=cores)
    add("--server", default="", metavar="URL", help="remote: http://HOST:PORT/v1")
    add("--model", default="", metavar="NAME", help="a checkpoint's directory, or the server's name of its model")
    add("--provider", default="auto", metavar="NAME", help="of ONNX Runtime: auto, cpu, cuda, tensorrt")
    add("--draft-tokens", type=at_least(0), default=0, metavar="N", help="tokens guessed ahead from the prompt")
    add("--speculate", dest="draft_tokens", type=at_least(0), action=Renamed, new="--draft-tokens")
    add("--free-answers", action="store_true", help="do not keep answers to the grammar")


def open_engines(options: argparse.Namespace) -> Pipeline:
    """Open the bundle and the engines that `add_engine_options` read; the fake ones need no bundle."""
    engines = engine_options(options)
    if options.backend == "fake" and options.bundle == DEFAULT_BUNDLE:
        return open_pipeline(None, options.backend, options=engines)
    return open_pipeline(open_named_bundle(options.bundle), options.backend, options=engines)


def check_opened(pipeline: Pipeline, options: argparse.Namespace) -> None:
    """Ask what `open_engines` opened the bundle's self-test; the line about it goes to standard error."""
    if options.backend == "fake":
        return
    from segzero_ros.backends.self_test import check_coordinates

    print(check_coordinates(pipeline, open_named_bundle(options.bundle)), file=sys.stderr)


def engine_options(options: argparse.Namespace) -> EngineOptions:
    """Return what `add_engine_options` read for the engines."""
    return replace(
        DEFAULTS,
        threads=options.threads,
        server=options.server,
        model=options.model,
        provider=options.provider,
        draft_tokens=options.draft_tokens,
        constrained=not options.free_answers,
    )
