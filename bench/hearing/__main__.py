"""Measure hearing: `python -m bench.hearing [--count 100] [--out FILE.json]`. Needs espeak-ng and `make setup-spoken`.

Says the demo world's commands with espeak-ng, with and without words to expect, in quiet and in noise; grounds in their
pictures what was typed and what was heard; and lets the listener hear silence, noise and music.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.hearing.sentences import Heard, Sentence, listen, match, sentences, stream
from bench.hearing.sound import music, pink_noise, with_noise
from bench.record import record, write
from segzero_ros.backends import open_pipeline
from segzero_ros.bundle import open_named_bundle
from segzero_ros.command import Command
from segzero_ros.demo.voice import WORDS, demo_model, silence
from segzero_ros.errors import ANSWERED
from segzero_ros.hearing.audio import RATE_HZ, Samples
from segzero_ros.hearing.process.environment import find_python
from segzero_ros.hearing.settings import HearingSettings
from segzero_ros.hearing.words import plain_words
from segzero_ros.matching import mask_iou
from segzero_ros.pipeline import Pipeline

RIGHT_IOU = 0.5
NOISE_DB, SEED = 10.0, 5
EMPTY_S = 120.0  # of each sound that is no command


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write what --out asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="commands")
    parser.add_argument("--out", type=Path, help="write everything as JSON")
    options = parser.parse_args(arguments)
    model = demo_model(find_python())
    plain = HearingSettings(model=str(model))
    expecting = replace(plain, words=WORDS)
    said = sentences(options.count)
    quiet, spans = stream([sentence.text for sentence in said])
    noisy = with_noise(quiet, NOISE_DB, SEED)
    grounder = Grounder(said)
    result: dict[str, Any] = {"typed_right": grounder.typed}
    for name, samples, settings in (
        ("quiet, words expected", quiet, expecting),
        ("quiet, no words expected", quiet, plain),
        (f"{NOISE_DB:.0f} dB noise, words expected", noisy, expecting),
        (f"{NOISE_DB:.0f} dB noise, no words expected", noisy, plain),
    ):
        result[name] = heard_and_grounded(said, spans, samples, settings, grounder)
        print(name, {key: value for key, value in result[name].items() if not isinstance(value, list)}, flush=True)
    for name, samples in empty_sounds().items():
        events, _ = listen(samples, expecting)
        result[name] = [vars_of(event) for event in events if event.kind in ("final", "stop")]
        taken = [event for event in events if event.is_command or event.kind == "stop"]
        print(f"{name}, {len(samples) / RATE_HZ:.0f} s: {len(taken)} commands or stops of {len(result[name])} sounds")
    if options.out:
        command = ("python", "-m", "bench.hearing", "--count", str(options.count))
        settings_of = {"words": WORDS, "noise_db": NOISE_DB, "right_iou": RIGHT_IOU, "each_sound_s": EMPTY_S}
        write(record("speech: commands", command, settings_of, result), options.out)
    return 0


def vars_of(event: Any) -> dict[str, Any]:
    """Return an event's text, reason and figures."""
    return {"kind": event.kind, "text": event.text, "reason": event.reason, "confidence": round(event.confidence, 2)}


def empty_sounds() -> dict[str, Samples]:
    """Return what must not be taken for a command."""
    return {
        "silence": silence(EMPTY_S),
        "quiet noise": 0.01 * pink_noise(EMPTY_S, SEED),
        "loud noise": np.clip(0.2 * pink_noise(EMPTY_S, SEED), -1, 1),
        "music": music(EMPTY_S, SEED),
    }


class Grounder:
    """Grounds texts in the sentences' pictures by the demo's bundle and judges them by the truth."""

    def __init__(self, said: Sequence[Sentence]) -> None:
        self._pipeline: Pipeline = open_pipeline(open_named_bundle("tabletop"), "auto")
        self.typed = sum(self.is_right(sentence, sentence.text) for sentence in said)

    def is_right(self, sentence: Sentence, text: str) -> bool:
        """Whether ``text`` is answered with what ``sentence`` means."""
        if not text:
            return False
        result = self._pipeline.ground(sentence.frame, Command("bench", text))
        meant = np.isin(sentence.view.labels, sentence.instruction.targets_in(sentence.view) or ())
        return result.code in ANSWERED and mask_iou(result.labels > 0, meant) >= RIGHT_IOU


def heard_and_grounded(
    said: Sequence[Sentence],
    spans: Sequence[tuple[float, float]],
    samples: Samples,
    settings: HearingSettings,
    grounder: Grounder,
) -> dict[str, Any]:
    """Return the figures of one hearing, and what became of the sentences that were not heard to the letter."""
    events, took_s = listen(samples, settings)
    heard = match([sentence.text for sentence in said], spans, events)
    right = [grounder.is_right(sentence, one.command) for sentence, one in zip(said, heard, strict=True)]
    rows = [
        {"said": sentence.text, "heard": one.command, "reason": one.reason, "right": good}
        for sentence, one, good in zip(said, heard, right, strict=True)
        if one.errors or not good
    ]
    stops = sum(event.kind == "stop" for event in events)
    lasted_s = len(samples) / RATE_HZ
    return {
        **figures(said, heard),
        "stops": stops,
        "right": sum(right),
        "real_time_factor": round(took_s / lasted_s, 3),
        "not_to_the_letter_or_not_right": rows,
    }


def figures(said: Sequence[Sentence], heard: Sequence[Heard]) -> dict[str, Any]:
    """Return word error rate, and how many sentences came to the letter, wrong, or not at all."""
    exact = [plain_words(sentence.text) == plain_words(one.command) for sentence, one in zip(said, heard, strict=True)]
    return {
        "count": len(said),
        "word_error_rate": round(sum(one.errors for one in heard) / sum(one.words for one in heard), 4),
        "exact": sum(exact),
        "no_command": sum(not one.command for one in heard),
    }


if __name__ == "__main__":
    sys.exit(main())
