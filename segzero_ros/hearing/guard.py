"""Which transcripts are believed: a recogniser writes something for silence, music and noise, too.

Thresholds for confidence and no-speech as in Whisper's paper (Radford et al. 2022, section 4.5); where they are set
here is in docs/speech.md.
Covered: silence, music, noise, text that repeats itself. Not covered: speech that is not meant for the robot.
"""

import zlib
from dataclasses import dataclass

from segzero_ros.hearing.recogniser import Transcript
from segzero_ros.hearing.words import plain_words

MOST_COMPRESSION = 2.4  # Whisper's own threshold: a text that packs better than this repeats itself
MOST_WORDS_PER_S = 7.0  # people say three, hurried ones five


@dataclass(frozen=True, slots=True)
class Guard:
    """``least_confidence``: mean log-probability per token. ``most_no_speech``: probability that nobody spoke."""

    least_confidence: float = -1.0
    most_no_speech: float = 0.6

    def is_sure(self, transcript: Transcript) -> bool:
        """Whether somebody spoke and was understood, whatever was said: a "stop" may well be repeated."""
        return transcript.no_speech <= self.most_no_speech and transcript.confidence >= self.least_confidence

    def why_not(self, transcript: Transcript, spoken_s: float) -> str:
        """Return why a transcript of ``spoken_s`` seconds of speech is not believed, "" if it is."""
        words = plain_words(transcript.text)
        if not words:
            return "no words"
        if transcript.no_speech > self.most_no_speech:
            return f"probably no speech ({transcript.no_speech:.2f})"
        if transcript.confidence < self.least_confidence:
            return f"not understood (confidence {transcript.confidence:.2f}); say it again"
        if is_repetitive(transcript.text):
            return "the recogniser repeats itself"
        if len(words) > 3 and len(words) > MOST_WORDS_PER_S * max(spoken_s, 0.1):
            return f"more words than one can say ({len(words)} in {spoken_s:.1f} s)"
        return ""


def is_repetitive(text: str) -> bool:
    """Whether ``text`` says the same over and over."""
    raw = text.strip().encode("utf-8", "replace")
    return len(raw) > 40 and len(raw) / len(zlib.compress(raw)) > MOST_COMPRESSION
