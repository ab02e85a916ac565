"""What bench.hearing.stop counts: from the end of the word, also where the answer comes before all was published."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS, `make test` installs it")

from bench.hearing import stop
from segzero_ros.demo.voice import silence
from segzero_ros.errors import Code
from segzero_ros.hearing.audio import RATE_HZ

AFTER_S = 0.4  # of silence that espeak-ng puts behind a word


class Speaker:
    """Publishes when it is told to; the word before was finished half a minute ago."""

    def __init__(self):
        self.finished = threading.Event()
        self.finished.set()
        self.finished_s = time.monotonic() - 30.0

    def say(self, samples):
        self.finished.clear()
        threading.Timer(0.2, self.finish).start()

    def finish(self):
        self.finished_s = time.monotonic()
        self.finished.set()


def test_a_stop_found_in_the_silence_after_the_word_is_not_counted_from_the_word_before(monkeypatch):
    word = np.concatenate([np.full(RATE_HZ // 2, 0.5, np.float32), silence(AFTER_S)])
    monkeypatch.setattr(stop, "speak", lambda _word: word)
    speaker = Speaker()

    def answer_at_once(_text, *, timeout_s, on_text):
        on_text("hm")
        return SimpleNamespace(code=Code.CANCELLED)

    code, late_s = stop.stop_once(SimpleNamespace(publish_command=answer_at_once), speaker, "stop")
    assert code == "CANCELLED"
    assert 0.0 < late_s < AFTER_S + 0.2  # as the audio has it; the old count said 30 s


def test_what_was_not_ended_by_the_word_is_counted_and_no_lateness():
    found = stop.summary([("CANCELLED", 0.4), ("CANCELLED", 1.2), ("CANCELLED", -3.0), ("BUSY", 0.1)])
    assert (found["within_1_s"], found["longest_s"], found["ended_before_the_word"]) == (1, 1.2, 1)
    assert found["codes"] == {"CANCELLED": 3, "BUSY": 1}
