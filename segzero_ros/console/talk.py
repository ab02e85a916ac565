"""Push-to-talk: one page's microphone at a time goes to the listener, with a pause behind what was said."""

from collections.abc import Callable

CHUNK_S = 0.1
RATE_HZ = 16_000
PAUSE_S = 1.2  # of silence: a listener ends a sentence where it hears a pause
_SILENCE = bytes(2 * int(CHUNK_S * RATE_HZ))


class Microphone:
    """Whose turn it is to speak; ``hear`` publishes audio and says whether anybody listens."""

    def __init__(self, hear: Callable[[bytes], bool]) -> None:
        self._hear = hear
        self._holder: object | None = None

    def begin(self, speaker: object) -> str:
        """Let a page speak; returns why it may not, "" = it may."""
        if self._holder is not None and self._holder is not speaker:
            return "somebody else speaks at the moment; wait until that is over"
        self._holder = speaker
        if not self._hear(_SILENCE):
            self._holder = None
            return "nobody listens on the topic 'audio'; start segzero_listener (docs/speech.md)"
        return ""

    def speak(self, speaker: object, pcm: bytes) -> None:
        """Publish what a page's microphone heard; of a page whose turn it is not nothing is."""
        if self._holder is speaker:
            self._hear(pcm)

    def end(self, speaker: object) -> None:
        """End a page's turn, if it is that."""
        if self._holder is speaker:
            self._holder = None
            for _ in range(round(PAUSE_S / CHUNK_S)):
                self._hear(_SILENCE)
