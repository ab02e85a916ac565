"""The ear: samples in, events out, with jobs for a recogniser in between; no I/O, no thread, no clock.

    feed(samples) -> endpointer -> next_look(), next_text() -> the owner's recogniser -> take(job, transcript) -> events

A pause makes two jobs: a quick look, in which a "stop" is found before the sentence has ended, and the full transcript
ahead of its end; if nothing more is said, that is the final one and the end costs nothing. Looks wait for nothing, so
the owner has one look and one full transcript at work at the same time. A transcript waits for the look at its own
sentence: where that finds a stop, it is not made at all.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from segzero_ros.hearing.audio import RATE_HZ, Samples
from segzero_ros.hearing.endpoint import WINDOW, Endpointer, Limits, Utterance
from segzero_ros.hearing.events import Event, Kind
from segzero_ros.hearing.guard import Guard
from segzero_ros.hearing.recogniser import Transcript, VoiceActivity
from segzero_ros.hearing.settings import HearingSettings
from segzero_ros.hearing.words import StopWords, WakePhrase, as_command, read_phrases

AWAKE_S = 8.0  # after the wake phrase alone, for the sentence to begin
STOP_LENIENCE = 1.0  # of a stop word's confidence: one too many costs a command, one too few may cost more
QUICK_S = 8.0  # speech that a quick look takes; of more, its end
_TOO_LONG = "longer than {:g} s; a command is one short sentence, with a pause after it"


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """An utterance to be transcribed."""

    utterance: Utterance
    quick: bool

    @property
    def samples(self) -> Samples:
        """What is to be transcribed."""
        samples = self.utterance.samples
        return samples[-int(QUICK_S * RATE_HZ) :] if self.quick else samples


class Ear:
    """One stream of audio; its owner may call it from several threads, one at a time."""

    def __init__(self, settings: HearingSettings, voice: VoiceActivity) -> None:
        self._settings = settings
        self._voice = voice
        self._endpointer = Endpointer(Limits(settings.voice_threshold, settings.pause_sec, settings.longest_sec))
        self._guard = Guard(settings.least_confidence, settings.most_no_speech)
        self._stop_guard = Guard(settings.least_confidence - STOP_LENIENCE, settings.most_no_speech)
        self._stops = StopWords(read_phrases(settings.stop_words, "stop_words"))
        self._wake = WakePhrase(settings.wake_phrase)
        self._rest = np.zeros(0, np.float32)
        self._finals: deque[Utterance] = deque()
        self._look: Utterance | None = None
        self._ahead: Utterance | None = None
        self._ready: dict[tuple[int, int, int], Transcript] = {}  # by the utterance's key, until that is told
        self._looked_s = self._awake_until_s = 0.0
        self._began = self._stopped = 0  # numbers of utterances
        self._partial = ""
        self._looking: Utterance | None = None  # at work
        self._writing: Utterance | None = None

    @property
    def backlog_s(self) -> float:
        """Seconds of speech that have ended and wait for the recogniser; the owner feeds no more beyond its bound."""
        return sum(len(utterance.samples) for utterance in self._finals) / RATE_HZ

    # ---- audio in ----

    def feed(self, samples: Samples) -> list[Event]:
        """Take samples; return what is known without a recogniser."""
        held = np.concatenate([self._rest, samples])
        whole = len(held) // WINDOW * WINDOW
        events: list[Event] = []
        for window in held[:whole].reshape(-1, WINDOW):
            for utterance in self._endpointer.feed(window, self._voice.probability(window)):
                events += self._came(utterance)
            events += self._look_again()
        self._rest = held[whole:]
        return events

    def finish(self) -> list[Event]:
        """The stream is over; an utterance at hand ends here."""
        events = self.feed(np.zeros(-len(self._rest) % WINDOW, np.float32))
        for utterance in self._endpointer.finish():
            events += self._came(utterance)
        return events

    def _came(self, utterance: Utterance) -> list[Event]:
        if utterance.state == "going":
            self._look = self._ahead = utterance
            return []
        self._look = self._ahead = None
        self._finals.append(utterance)
        return self._finish_ready()

    def _look_again(self) -> list[Event]:
        """Say that an utterance has begun, and look at it from time to time."""
        if not self._endpointer.speaking:
            return []
        now_s = self._endpointer.now_s
        so_far = self._endpointer.number
        if so_far != self._began:
            self._began, self._partial, self._looked_s = so_far, "", now_s
            return [Event("began", so_far, start_s=now_s)]
        if now_s - self._looked_s >= self._settings.partial_sec and not self._endpointer.pausing:
            self._look, self._looked_s = self._endpointer.so_far(), now_s
        return []

    # ---- the recogniser's work ----

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be transcribed, and nothing at work."""
        waiting = (self._look, self._looking, self._ahead, self._writing)
        return not self._finals and all(each is None for each in waiting)

    def next_look(self) -> Job | None:
        """Return what to look at next, while no look is at work."""
        if self._look is None or self._looking is not None:
            return None
        self._looking, self._look = self._look, None
        return Job(self._looking, quick=True)

    def next_text(self) -> Job | None:
        """Return what to write down next, while nothing is being written down.

        The same utterance is looked at first; of one that may go on, anything.
        """
        looks = [each for each in (self._look, self._looking) if each is not None]
        if self._writing is not None:
            return None
        if self._finals:
            if any(look.number == self._finals[0].number for look in looks):
                return None
            self._writing = self._finals[0]
        elif not looks:
            self._writing, self._ahead = self._ahead, None
        return Job(self._writing, quick=False) if self._writing is not None else None

    def take(self, job: Job, transcript: Transcript) -> list[Event]:
        """Take the transcript of a job; return what follows from it."""
        events = self._stop_in(job.utterance, transcript)
        if not job.quick:
            self._writing = None
            self._ready[job.utterance.key] = transcript
            return events + self._finish_ready()
        self._looking = None
        if not events:
            return self._partial_of(job.utterance, transcript)
        self._ready[job.utterance.key] = transcript  # who says no more than "stop" has said it all
        if self._ahead is not None and self._ahead.key == job.utterance.key:
            self._ahead = None
        return events + self._finish_ready()

    def _finish_ready(self) -> list[Event]:
        """End the oldest utterance if its transcript is there, or if nobody spoke in it."""
        events: list[Event] = []
        while self._finals:
            utterance = self._finals[0]
            if utterance.part and not utterance.voiced:  # the silence after a cut
                transcript = Transcript("", 0.0, 1.0)
            elif utterance.key in self._ready:
                transcript = self._ready[utterance.key]
            else:
                break
            self._finals.popleft()
            self._ready = {key: ready for key, ready in self._ready.items() if key[:2] > utterance.key[:2]}
            events.append(self._final(utterance, transcript))
        return events

    def _stop_in(self, utterance: Utterance, transcript: Transcript) -> list[Event]:
        """Tell a stop once, and none that was said before one that is told: what it was to end has ended."""
        phrase = self._stop_of(transcript.text)
        if not phrase or utterance.number <= self._stopped or not self._stop_guard.is_sure(transcript):
            return []
        self._stopped = utterance.number
        return [self._event("stop", utterance, transcript, phrase)]

    def _stop_of(self, text: str) -> str:
        """Return the stop phrase that ``text`` says, after the wake phrase or without it, "" if none."""
        phrase = self._stops.said_in(text)
        if not phrase and self._wake:
            phrase = self._stops.said_in(self._wake.after(text) or "")
        return phrase

    def _partial_of(self, utterance: Utterance, transcript: Transcript) -> list[Event]:
        text = as_command(transcript.text)
        if text == self._partial or self._guard.why_not(transcript, utterance.end_s - utterance.start_s):
            return []
        self._partial = text
        return [self._event("partial", utterance, transcript, text)]

    def _final(self, utterance: Utterance, transcript: Transcript) -> Event:
        text, reason = as_command(transcript.text), ""
        if utterance.part:
            reason = _TOO_LONG.format(self._settings.longest_sec)
        elif self._stop_of(text) and utterance.number <= self._stopped:
            reason = "it is a stop"
        else:
            reason = self._guard.why_not(transcript, utterance.end_s - utterance.start_s)
        if not reason and self._wake:
            text, reason = self._woken(utterance, text)
        return self._event("final", utterance, transcript, text, reason)

    def _woken(self, utterance: Utterance, text: str) -> tuple[str, str]:
        """Return the text without the wake phrase, and why it is no command."""
        after = self._wake.after(text)
        if after:
            return after, ""
        if after is not None:
            self._awake_until_s = utterance.end_s + AWAKE_S
            return text, "the wake phrase alone; now say what to find"
        is_awake, self._awake_until_s = utterance.start_s <= self._awake_until_s, 0.0
        return text, "" if is_awake else f"it does not begin with {self._settings.wake_phrase!r}"

    def _event(self, kind: Kind, heard: Utterance, transcript: Transcript, text: str, reason: str = "") -> Event:
        return Event(
            kind,
            heard.number,
            text,
            reason,
            transcript.confidence,
            transcript.no_speech,
            heard.start_s,
            heard.end_s,
            max(0.0, self._endpointer.now_s - heard.end_s),
        )
