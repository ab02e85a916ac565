"""A recogniser's process without an engine: whoever is loud speaks, and the pitch of a tone says what.

`python -m tests.hearing.stand_in --fd N`, as segzero_ros.hearing.process.child.
"""

import os
import signal
import socket
import sys
import time

import numpy as np

from segzero_ros.hearing.audio import RATE_HZ
from segzero_ros.hearing.process.child import Child
from segzero_ros.hearing.recogniser import Transcript

TEXTS = {300: "The red mug.", 500: "Stop!", 700: "The blue ball.", 900: "die", 1100: "hang", 1300: "mumble"}


def tone(text, seconds=0.5, loud=0.5):
    """What the stand-in takes for ``text``."""
    pitch = next(pitch for pitch, said in TEXTS.items() if said == text)
    return (loud * np.sin(2 * np.pi * pitch * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def silence(seconds):
    return np.zeros(int(seconds * RATE_HZ), np.float32)


class Loudness:
    def probability(self, window):
        return 0.99 if np.abs(window).max() > 0.1 else 0.01


class Pitch:
    """Says which tone it hears; dies and hangs where the tone says so."""

    def __init__(self):
        self.jobs = []

    def transcribe(self, samples, *, quick):
        self.jobs.append(quick)
        loud = np.flatnonzero(np.abs(samples) > 0.1)
        voiced = samples[loud[0] : loud[-1] + 1] if len(loud) else samples
        spectrum = np.abs(np.fft.rfft(voiced * np.hanning(len(voiced))))
        pitch = spectrum.argmax() * RATE_HZ / len(voiced)
        text = TEXTS[min(TEXTS, key=lambda each: abs(each - pitch))]
        if text == "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        if text == "hang":
            time.sleep(3600)
        return Transcript(text, -2.5 if text == "mumble" else -0.2, 0.01)


if __name__ == "__main__":
    connection = socket.socket(fileno=int(sys.argv[sys.argv.index("--fd") + 1]))
    sys.exit(Child(connection, lambda settings: (Pitch(), Loudness())).run())
