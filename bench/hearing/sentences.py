"""The demo world's commands, spoken, heard, and grounded in the pictures that they are said about."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segzero_ros.demo.voice import silence, speak
from segzero_ros.frame import Frame
from segzero_ros.hearing.audio import RATE_HZ, Samples
from segzero_ros.hearing.events import Event
from segzero_ros.hearing.process.environment import find_python
from segzero_ros.hearing.process.owner import Hearing, command_line
from segzero_ros.hearing.settings import HearingSettings
from segzero_ros.hearing.words import distance, plain_words
from segzero_ros.tabletop import Instruction, LiveWorld, View, demo_script

FIRST_SEED = 64  # `make demo`'s own
PAUSE_S = 1.2


@dataclass(frozen=True, slots=True, eq=False)
class Sentence:
    """A command of the demo world, with the picture it is said about."""

    instruction: Instruction
    view: View
    frame: Frame

    @property
    def text(self) -> str:
        """As it is typed."""
        return self.instruction.text


@dataclass(frozen=True, slots=True)
class Heard:
    """What was made of a sentence: its commands joined, and why there was none."""

    command: str
    reason: str
    errors: int  # insertions, deletions and replacements of words
    words: int  # of the sentence as it was typed


def sentences(count: int) -> list[Sentence]:
    """Return the commands of as many demo worlds as it takes, none twice."""
    found: dict[str, Sentence] = {}
    seed = FIRST_SEED
    while len(found) < count:
        script = demo_script(seed)
        with LiveWorld(script.scenario, script.seed, (640, 480)) as world:
            view = world.step(0.0)
        for instruction in script.commands:
            if instruction.targets_in(view) is not None:
                found.setdefault(instruction.text, Sentence(instruction, view, Frame(view.rgb, 1)))
        seed += 1
    return list(found.values())[:count]


def stream(texts: Sequence[str]) -> tuple[Samples, list[tuple[float, float]]]:
    """Return the texts spoken one after the other, and from when to when each is."""
    pieces, spans, at = [silence(PAUSE_S)], [], PAUSE_S
    for text in texts:
        spoken = speak(text)
        spans.append((at, at + len(spoken) / RATE_HZ))
        pieces += [spoken, silence(PAUSE_S)]
        at += len(spoken) / RATE_HZ + PAUSE_S
    return np.concatenate(pieces), spans


def listen(samples: Samples, settings: HearingSettings) -> tuple[list[Event], float]:
    """Return all events of a recogniser's process that hears ``samples`` as fast as it can, and how long that took."""
    events: list[Event] = []
    states: list[str] = []
    hearing = Hearing(settings, command_line(find_python()), events.append, states.append)
    hearing.start()
    try:
        hearing.wait_ready()
        began = time.monotonic()
        hearing.feed(samples, wait=True)
        hearing.finish()
        return events, time.monotonic() - began
    finally:
        hearing.close()


def match(texts: Sequence[str], spans: Sequence[tuple[float, float]], events: Sequence[Event]) -> list[Heard]:
    """Return what was heard of each text, by the time at which it was said."""
    finals = [event for event in events if event.kind == "final"]
    found = []
    for text, (start, end) in zip(texts, spans, strict=True):
        mine = [event for event in finals if event.start_s < end and event.end_s > start]
        command = " ".join(event.text for event in mine if event.is_command)
        reason = "; ".join(event.reason for event in mine if event.reason) or ("" if mine else "nothing heard")
        said = plain_words(text)
        found.append(Heard(command, reason, distance(said, plain_words(command)), len(said)))
    return found
