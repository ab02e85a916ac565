"""Where utterances begin and end: the probability of speech per window in, utterances out.

    quiet -- enough voiced windows --> speech -- a pause of `end_s` --> quiet

Covered: bounded memory whatever comes; speech without a pause is cut into pieces of `longest_s`.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segzero_ros.hearing.audio import RATE_HZ, Samples

WINDOW = 512  # samples per probability: Silero VAD's own at 16 kHz
WINDOW_S = WINDOW / RATE_HZ
State = Literal["going", "cut", "ended"]  # the speaker may go on; goes on in a next part; has paused for long enough

PRE_ROLL_S = 0.3  # kept from before the first voiced window: soft consonants
BEGIN_WINDOWS = 2  # voiced windows in a row that begin an utterance
HYSTERESIS = 0.15  # once begun, a window counts as voiced at so much less
PAUSE_S = 0.16  # after which what was said so far is worth a look: it may be a "stop"
LEAST_VOICED_S = 0.1  # less is a click


@dataclass(frozen=True, slots=True)
class Limits:
    """``threshold``: probability of a voiced window. ``end_s``: the pause that ends. ``longest_s``: of one piece."""

    threshold: float = 0.5
    end_s: float = 0.6
    longest_s: float = 15.0


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """What was said: ``samples`` with some silence around it; times in seconds of the stream.

    ``end_s``: of the last voiced window. ``part``: 0, or its number among the pieces of one too long. ``voiced``:
    windows, which tell whether two states of an utterance have the same words.
    """

    number: int
    samples: Samples
    start_s: float
    end_s: float
    part: int
    state: State
    voiced: int

    @property
    def key(self) -> tuple[int, int, int]:
        """The same for two states of an utterance between which nothing was said."""
        return self.number, self.part, self.voiced


class Endpointer:
    """The state machine; single-threaded."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._before: deque[Samples] = deque(maxlen=round(PRE_ROLL_S / WINDOW_S) + BEGIN_WINDOWS)
        self._windows: list[Samples] = []
        self._at = self._start = self._last_voiced = 0  # in windows of the stream
        self._run = self._voiced = self._part = self._number = 0
        self._paused = False

    @property
    def speaking(self) -> bool:
        """Whether an utterance is open."""
        return bool(self._windows)

    @property
    def pausing(self) -> bool:
        """Whether nothing was said since the last look at a pause."""
        return self._paused

    @property
    def number(self) -> int:
        """The number of the utterance at hand, or of the last one; from 1 on."""
        return self._number

    @property
    def now_s(self) -> float:
        """The stream's time."""
        return self._at * WINDOW_S

    def feed(self, window: Samples, probability: float) -> Sequence[Utterance]:
        """Take one window of WINDOW samples; return an utterance that pauses (``going``), has ended or was cut."""
        self._at += 1
        if not self.speaking:
            self._wait(window, probability)
            return ()
        self._windows.append(window)
        if probability >= self._limits.threshold - HYSTERESIS:
            self._last_voiced, self._paused = self._at, False
            self._voiced += 1
        silence_s = (self._at - self._last_voiced) * WINDOW_S
        if silence_s >= self._limits.end_s:
            return self._end()
        if len(self._windows) * WINDOW_S >= self._limits.longest_s:
            return (self._cut(),)
        if silence_s >= PAUSE_S and not self._paused and self._is_speech():
            self._paused = True
            return (self.so_far(),)
        return ()

    def finish(self) -> Sequence[Utterance]:
        """The stream is over: return the utterance that was open."""
        return self._end() if self.speaking else ()

    def so_far(self) -> Utterance:
        """Return the utterance at hand."""
        return self._utterance("going")

    def _wait(self, window: Samples, probability: float) -> None:
        self._before.append(window)
        self._run = self._run + 1 if probability >= self._limits.threshold else 0
        if self._run < BEGIN_WINDOWS:
            return
        self._windows = list(self._before)
        self._before.clear()
        self._start = self._at - len(self._windows)
        self._last_voiced, self._voiced, self._run = self._at, self._run, 0
        self._number += 1
        self._part, self._paused = 0, False

    def _is_speech(self) -> bool:
        return self._part > 0 or self._voiced * WINDOW_S >= LEAST_VOICED_S

    def _end(self) -> Sequence[Utterance]:
        """Close the utterance; a click is none, and the silence after a cut is only its end."""
        found = self._utterance("ended") if self._is_speech() else None
        self._before.extend(self._windows[-BEGIN_WINDOWS:])
        self._windows = []
        return () if found is None else (found,)

    def _cut(self) -> Utterance:
        self._part = self._part or 1
        piece = self._utterance("cut")
        self._part += 1
        self._windows = [self._windows[-1]]
        self._start, self._last_voiced, self._voiced, self._paused = self._at - 1, self._at, 0, False
        return piece

    def _utterance(self, state: State) -> Utterance:
        samples, start_s = np.concatenate(self._windows), self._start * WINDOW_S
        end_s = self._last_voiced * WINDOW_S
        return Utterance(self._number, samples, start_s, end_s, self._part, state, self._voiced)
