"""What can be set about hearing: one frozen dataclass, which the command line and the node's parameters are made of."""

from dataclasses import dataclass, field, fields
from typing import Any

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.hearing.words import prompt_of, read_phrases


def _text(default: str, description: str, *choices: str) -> Any:
    return field(default=default, metadata={"description": description, "choices": choices})


def _number(default: float, low: float, high: float, description: str) -> Any:
    return field(default=default, metadata={"description": description, "low": low, "high": high})


@dataclass(frozen=True, slots=True)
class HearingSettings:
    """Everything the recogniser's process is told; times in seconds. Raises ``RejectedInput`` CONFIG_VALUE."""

    engine: str = _text("faster_whisper", "what turns speech into text", "faster_whisper")
    model: str = _text("", "its model: a folder in CTranslate2's format, or a name that was downloaded before")
    device: str = _text("auto", "where it runs", "auto", "cpu", "cuda")
    language: str = _text("en", "the language that is spoken, in two letters")
    threads: int = _number(2, 1, 64, "CPU threads of each of the recogniser's two workers")
    words: str = _text("", "words and phrases to expect, with commas: what is on the scene, what is said of it")
    wake_phrase: str = _text("", "what a sentence has to begin with to be a command; empty = every sentence is one")
    stop_words: str = _text("stop, cancel, halt, abort", "what ends work at once, with commas; needs no wake phrase")
    pause_sec: float = _number(0.6, 0.3, 3.0, "the pause that ends a sentence")
    longest_sec: float = _number(15.0, 2.0, 28.0, "the longest sentence that is a command")
    partial_sec: float = _number(1.0, 0.3, 10.0, "how often the text so far is made")
    voice_threshold: float = _number(0.5, 0.2, 0.95, "probability of speech from which on somebody speaks")
    least_confidence: float = _number(-1.0, -5.0, 0.0, "mean log-probability per token below which no text is believed")
    most_no_speech: float = _number(0.6, 0.0, 1.0, "probability of no speech above which no text is believed")

    def __post_init__(self) -> None:
        """Check every value."""
        for each in fields(self):
            _check(each.name, getattr(self, each.name), type(each.default), each.metadata)
        stops = read_phrases(self.stop_words, "stop_words")
        prompt_of((*read_phrases(self.words, "words"), *stops))
        if not (self.language.isascii() and self.language.isalpha() and len(self.language) in (2, 3)):
            raise RejectedInput(Code.CONFIG_VALUE, f"got language = {self.language[:20]!r}, want two letters, as en")


def _check(name: str, value: object, kind: type, limits: Any) -> None:
    fits = type(value) is kind or (kind is float and type(value) is int)
    choices, low, high = limits.get("choices"), limits.get("low"), limits.get("high")
    wanted = kind.__name__
    if fits and choices:
        fits, wanted = value in choices, " or ".join(choices)
    elif fits and low is not None:
        fits, wanted = low <= value <= high, f"{low:g} to {high:g}"
    if not fits:
        raise RejectedInput(Code.CONFIG_VALUE, f"got {name} = {str(value)[:80]!r}, want {wanted}")
