"""The command `segzero replay`."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segzero_ros.backends import open_pipeline
from segzero_ros.bundle import MANIFEST, Bundle, hash_file, open_named_bundle
from segzero_ros.cli.options import BACKENDS
from segzero_ros.cli.parser import NOT_OK, OK, Parser
from segzero_ros.config import NodeConfig, parameters
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.host.start import engine_options
from segzero_ros.pipeline import Pipeline
from segzero_ros.recorder.commands import RecordedCommand, read_commands
from segzero_ros.recorder.reader import open_recording
from segzero_ros.replay.compare import Verdict, replay

ABOUT = (
    "Ask the commands of recordings again and compare: code, raw text, boxes, scores, masks. Bundle, backend and what "
    "else changes answers are those of the recording, unless they are given here. Answers that came of the moment "
    "(a timeout, a cancel, no picture) are not asked. Exit status 1 where an answer is different."
)
EXAMPLES = (
    "segzero replay ~/.local/state/segzero_ros/recordings/*.mcap",
    "segzero replay mug.mcap --bundle ./fixed --json",
)


def configure(parser: Parser) -> None:
    """Add the options."""
    parser.describe(ABOUT, EXAMPLES)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a recording, .mcap")
    parser.add_argument("--bundle", default="", metavar="DIR", help="another bundle than the recorded one")
    names = ", ".join(BACKENDS)
    parser.add_argument("--backend", choices=BACKENDS, default="", metavar="NAME", help=f"another backend: {names}")
    parser.add_argument("--json", action="store_true", help="print one JSON object per command instead of text")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Replay each file; 1 where an answer is different."""
    engines = Engines(options.bundle, options.backend)
    counts: Counter[str] = Counter()
    for path in options.files:
        for recorded, verdict in _replay_file(path, engines):
            counts[verdict.kind] += 1
            print(_as_json(path, recorded, verdict) if options.json else _line(recorded, verdict), flush=True)
    if not counts:
        raise RejectedInput(Code.CONFIG_VALUE, "no recorded command in it; record with the node's parameter `record`")
    if not options.json:
        print(", ".join(f"{counts[kind]} {kind}" for kind in ("same", "different", "not asked") if counts[kind]))
    return NOT_OK if counts["different"] else OK


def _replay_file(path: Path, engines: "Engines") -> Iterator[tuple[RecordedCommand, Verdict]]:
    recording = open_recording(path)
    if recording.is_cut:
        print(f"{path} was cut while it was written; replaying what is whole", file=sys.stderr)
    for recorded in read_commands(recording):
        yield recorded, replay(recorded, engines.of(recorded.about))


class Engines:
    """The engines that a recording names, opened once for all commands of the same ones."""

    def __init__(self, bundle: str = "", backend: str = "") -> None:
        """``bundle``, ``backend``: in place of the recorded ones, "" = those."""
        self._bundle, self._backend = bundle, backend
        self._about: Mapping[str, str] | None = None
        self._pipeline: Pipeline | None = None

    def of(self, about: Mapping[str, str]) -> Pipeline:
        """Return the pipeline for what was recorded under ``about``; ``RejectedInput`` where it does not open."""
        if self._pipeline is None or about != self._about:
            self._about, self._pipeline = about, self._open(about)
        return self._pipeline

    def _open(self, about: Mapping[str, str]) -> Pipeline:
        config = recorded_config(about)
        backend = self._backend or config.backend
        bundle = None
        if backend != "fake":
            bundle = open_named_bundle(self._bundle or config.bundle)
            _warn_of_another(bundle, about)
        options = engine_options(config)
        budget, label = config.thinking_budget, config.label
        pipeline = open_pipeline(bundle, backend, budget=budget, label=label, options=options)
        print(f"engines: {pipeline.engines}", file=sys.stderr)
        return pipeline


def recorded_config(about: Mapping[str, str]) -> NodeConfig:
    """Return the node's configuration at the recording; what this version does not know keeps its default."""
    try:
        given = json.loads(about.get("parameters", "{}"))
        known = {parameter.name for parameter in parameters()}
        return NodeConfig.from_mapping({name: value for name, value in given.items() if name in known})
    except (ValueError, AttributeError, RecursionError) as error:
        raise RejectedInput(Code.CONFIG_VALUE, f"the recording's parameters cannot be read ({error})") from None


def _warn_of_another(bundle: Bundle, about: Mapping[str, str]) -> None:
    recorded, now = about.get("bundle_sha256", ""), hash_file(bundle.path / MANIFEST)
    if recorded and recorded != now:
        what = f"{about.get('bundle', '?')} {recorded[:12]}, now {bundle.name} {now[:12]}"
        print(f"another bundle than the recorded one: {what}; answers may differ", file=sys.stderr)


def _line(recorded: RecordedCommand, verdict: Verdict) -> str:
    words = recorded.text or recorded.words
    return f"{verdict.kind:9} {words[:80]!r}" + (f": {'; '.join(verdict.changes)}" if verdict.changes else "")


def _as_json(path: Path, recorded: RecordedCommand, verdict: Verdict) -> str:
    code = recorded.code.name if recorded.code is not None else None
    what: dict[str, Any] = {"file": str(path), "id": recorded.id, "command": recorded.text or recorded.words}
    return json.dumps({**what, "code": code, "result": verdict.kind, "changes": list(verdict.changes)})
