"""`segzero serve`: one bundle's reasoner for several robots, by the OpenAI protocol."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import logging
import os
import ssl
import sys

from segzero_ros.backends import EngineOptions
from segzero_ros.bundle import open_named_bundle
from segzero_ros.cli.options import BACKENDS, DEFAULT_BUNDLE
from segzero_ros.cli.parser import OK, Parser, Renamed, at_least, missing, refuse
from segzero_ros.engines.environment import find_environment
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.host.messages import MAX_WAITING, Open
from segzero_ros.host.process import command_line, start_own

ABOUT = (
    "Answer the questions of several robots (backend:=remote server:=http://HOST:PORT/v1) with one bundle's reasoner. "
    "Robots take turns. Listens on this machine only, unless another address is given."
)
EXAMPLES = ("segzero serve", "SEGZERO_API_KEY=$(cat key) segzero serve --bundle visionreasoner-7b --host 10.0.0.5")
LOCAL = tuple(name for name in BACKENDS if name not in ("remote", "fake"))
HERE = ("127.0.0.1", "::1", "localhost")
NEEDED = ("starlette", "uvicorn")


def configure(parser: Parser) -> None:
    """Add the options."""
    parser.describe(ABOUT, EXAMPLES)
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, metavar="DIR", help="a bundle's directory or name")
    parser.add_argument("--backend", choices=LOCAL, default="auto", metavar="NAME", help=", ".join(LOCAL))
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="to listen on (default 127.0.0.1)")
    parser.add_argument(
        "--port", type=at_least(0, 65535), default=8000, metavar="N", help="default 8000; 0 = any free one"
    )
    parser.add_argument("--name", default="", metavar="NAME", help="of the model, for clients (default the bundle's)")
    parser.add_argument(
        "--queue", type=at_least(1, MAX_WAITING), default=16, metavar="N", help="questions that may wait (default 16)"
    )
    parser.add_argument(
        "--threads", type=at_least(0, 1024), default=0, metavar="N", help="CPU threads, 0 = the engine's choice"
    )
    parser.add_argument("--model", default="", metavar="DIR", help="a checkpoint, for tensorrt_llm and torch_cuda")
    parser.add_argument("--checkpoint", dest="model", action=Renamed, new="--model")
    environment = "for the engines: a name of `segzero engines list` or a path (default the fastest there is)"
    parser.add_argument("--engines", default="", metavar="NAME", help=environment)
    parser.add_argument("--free-answers", action="store_true", help="do not keep answers to the grammar")
    parser.add_argument("--unconstrained", dest="free_answers", nargs=0, action=Renamed, new="--free-answers")
    parser.add_argument("--no-self-test", action="store_true", help="do not ask the bundle's self-test at the start")
    parser.add_argument("--tls-cert", default="", metavar="FILE", help="a certificate: serve https")
    parser.add_argument("--tls-key", default="", metavar="FILE", help="its private key")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    absent = missing(NEEDED)
    if absent:
        return refuse("segzero serve", f"{' and '.join(absent)} not installed; pip install starlette uvicorn")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if options.host not in HERE and not os.environ.get("SEGZERO_API_KEY", "").strip():
        print(
            f"segzero serve: anybody who reaches {options.host} may ask; set SEGZERO_API_KEY to want a key",
            file=sys.stderr,
        )
    if bool(options.tls_cert) != bool(options.tls_key):
        return refuse("segzero serve", "got one of --tls-cert and --tls-key, want both or none")
    if not options.host.strip():
        return refuse("segzero serve", "got an empty --host, want the address to listen on, say 127.0.0.1")
    if options.tls_cert:
        check_tls_files(options.tls_cert, options.tls_key)
    serve(options)
    return OK


def check_tls_files(certificate: str, key: str) -> None:
    """Raise ``RejectedInput`` CONFIG_VALUE for files that no https can be served with."""
    try:
        # The empty password keeps OpenSSL from asking for one on the terminal: a key with one is refused.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise RejectedInput(
            Code.CONFIG_VALUE,
            f"cannot serve https with --tls-cert {certificate!r} and --tls-key {key!r} ({why}); give a certificate and "
            "its own private key as PEM files, the key without a password",
        ) from None


def serve(options: argparse.Namespace) -> None:
    """Serve the bundle by engines in a process of their own; raises ``RejectedInput``."""
    from segzero_ros.server import server

    # The manifest alone: the files are checked by whoever opens them.
    bundle = open_named_bundle(options.bundle, verify=False)
    engines = EngineOptions(threads=options.threads, constrained=not options.free_answers, model=options.model)
    wanted = Open(
        str(bundle.path.absolute()),
        options.backend,
        dataclasses.asdict(engines),
        self_test=not options.no_self_test,
        reasoner_only=True,
        most_waiting=options.queue,
    )
    start = functools.partial(start_own, command_line(str(find_environment(options.engines).python)))
    name = options.name or bundle.name
    settings = server.Settings(options.host, options.port, name, options.tls_cert, options.tls_key)
    server.serve(start, wanted, bundle.profile, settings, announce=name)
