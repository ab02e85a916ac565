"""The command `segzero listen`."""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path

from segzero_ros.cli.parser import NOT_OK, OK, Parser
from segzero_ros.errors import RejectedInput
from segzero_ros.hearing.audio import CHUNK_S, RATE_HZ, Samples, read_wav
from segzero_ros.hearing.events import Event, to_json
from segzero_ros.hearing.process.environment import find_python
from segzero_ros.hearing.process.owner import Hearing, command_line
from segzero_ros.hearing.settings import HearingSettings

ABOUT = "Hear what is said and print the commands: a first try of a microphone and a model, without ROS."
EXAMPLES = (
    "segzero listen --wav said.wav --model ~/models/whisper-base.en",
    'segzero listen --microphone --model base.en --words "the red mug, the plant in the black pot"',
    'segzero ground table "$(segzero listen --wav said.wav --model base.en --commands)"',
)


def configure(parser: Parser) -> None:
    """Add the options: where the sound comes from, and what can be set about hearing."""
    parser.describe(ABOUT, EXAMPLES)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--wav", type=Path, metavar="FILE", help="a WAV file of PCM samples; any rate, any channels")
    source.add_argument("--microphone", nargs="?", const="", metavar="NAME", help="needs the package sounddevice")
    parser.add_argument("--engines", default="", metavar="NAME", help="environment of the recogniser (default speech)")
    parser.add_argument("--real-time", action="store_true", help="feed the file as fast as it was spoken, no faster")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print an event per line as JSON")
    form.add_argument("--commands", action="store_true", help="print the commands alone, one per line")
    for each in fields(HearingSettings):
        about = f"{each.metadata['description']} ({each.default})"
        name = f"--{each.name.replace('_', '-')}"
        parser.add_argument(name, type=type(each.default), default=each.default, metavar="X", help=about)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what is heard; 1 where no command was."""
    settings = HearingSettings(**{each.name: getattr(options, each.name) for each in fields(HearingSettings)})
    commands: list[str] = []

    def hear(event: Event) -> None:
        if event.is_command:
            commands.append(event.text)
        if event.is_command or not options.commands:
            print(event.text if options.commands else to_json(event) if options.json else line_of(event), flush=True)

    def say(state: str) -> None:
        print(state or f"listening, {source_name(options)}", file=sys.stderr, flush=True)

    hearing = Hearing(settings, command_line(find_python(options.engines)), hear, say)
    hearing.start()
    try:
        hearing.wait_ready()
        feed(hearing, options)
        hearing.finish()
    finally:
        hearing.close()
    return OK if commands else NOT_OK


def source_name(options: argparse.Namespace) -> str:
    """Return where the sound comes from."""
    return str(options.wav) if options.wav else f"microphone {options.microphone or '(default)'}"


def feed(hearing: Hearing, options: argparse.Namespace) -> None:
    """Feed a file to its end, or a microphone until Ctrl-C; what was heard of a broken file is not lost."""
    if options.wav:
        chunks: Iterable[Samples] = read_wav(options.wav)
        if options.real_time:
            chunks = paced(chunks)
        try:
            for chunk in chunks:
                hearing.feed(chunk, wait=True)
        except RejectedInput:
            hearing.finish()
            raise
        return
    from segzero_ros.hearing.microphone import microphone

    with contextlib.suppress(KeyboardInterrupt), microphone(options.microphone, hearing.feed):
        while True:
            time.sleep(1.0)


def paced(chunks: Iterable[Samples], now: Callable[[], float] = time.monotonic) -> Iterator[Samples]:
    """Yield pieces of CHUNK_S, each when it would have been spoken."""
    began, sent = now(), 0
    for chunk in chunks:
        for start in range(0, len(chunk), int(CHUNK_S * RATE_HZ)):
            piece = chunk[start : start + int(CHUNK_S * RATE_HZ)]
            sent += len(piece)
            time.sleep(max(0.0, began + sent / RATE_HZ - now()))
            yield piece


def line_of(event: Event) -> str:
    """Return an event as a line for people."""
    said = f"{event.start_s:7.2f} s  {event.kind:<7}  {event.text}"
    return f"{said}  (no command: {event.reason})" if event.reason else said
