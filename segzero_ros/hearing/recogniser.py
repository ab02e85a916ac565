"""What the ear asks of an engine: speech to text, and how probable speech is."""

from dataclasses import dataclass
from typing import Protocol

from segzero_ros.hearing.audio import Samples


@dataclass(frozen=True, slots=True)
class Transcript:
    """What an engine made of an utterance.

    ``confidence``: mean log-probability of its tokens, 0 = certain. ``no_speech``: probability that nobody spoke.
    ``cost_s``: how long the engine took.
    """

    text: str
    confidence: float
    no_speech: float
    cost_s: float = 0.0


class Recogniser(Protocol):
    """Speech to text; a quick transcript and a full one may be asked for at the same time, from two threads."""

    def transcribe(self, samples: Samples, *, quick: bool) -> Transcript:
        """Return the text of an utterance. ``quick``: worse, but in a fraction of the time, for speech of some 8 s."""


class VoiceActivity(Protocol):
    """The probability of speech, window for window of one stream."""

    def probability(self, window: Samples) -> float:
        """Return how probable speech is in the next WINDOW samples."""
