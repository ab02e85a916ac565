"""The ear: which events follow from which audio, with a stand-in for the engine."""

import numpy as np
import pytest

from segzero_ros.hearing.audio import RATE_HZ
from segzero_ros.hearing.ear import Ear
from segzero_ros.hearing.recogniser import Transcript
from segzero_ros.hearing.settings import HearingSettings
from tests.hearing.stand_in import Loudness, Pitch, silence, tone


class Listening:
    """An ear with its recogniser at hand: every job is done as soon as there is one."""

    def __init__(self, **settings):
        self.ear, self.pitch, self.events = Ear(HearingSettings(**settings), Loudness()), Pitch(), []

    def hear(self, *pieces, chunk=1600):
        whole = np.concatenate(pieces)
        for start in range(0, len(whole), chunk):
            self.events += self.ear.feed(whole[start : start + chunk])
            self.work()
        return self

    def work(self):
        while (job := self.ear.next_look() or self.ear.next_text()) is not None:
            self.events += self.ear.take(job, self.pitch.transcribe(job.samples, quick=job.quick))

    def finish(self):
        self.events += self.ear.finish()
        self.work()
        return self

    def said(self, kind):
        return [(event.text, event.reason) for event in self.events if event.kind == kind]

    @property
    def commands(self):
        return [event.text for event in self.events if event.is_command]


def test_a_sentence_with_pauses_around_it_is_one_command_without_punctuation():
    heard = Listening().hear(silence(1), tone("The red mug."), silence(1))
    assert heard.commands == ["the red mug"]
    (final,) = [event for event in heard.events if event.kind == "final"]
    assert final.start_s == pytest.approx(0.7, abs=0.1)  # 0.3 s from before it are kept
    assert final.end_s == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize("chunk", [1, 511, 512, 513, 16_000])
def test_the_size_of_the_chunks_makes_no_difference(chunk):
    audio = silence(0.5), tone("The red mug."), silence(0.9), tone("The blue ball."), silence(0.9)
    assert Listening().hear(*audio, chunk=chunk).commands == ["the red mug", "the blue ball"]


def test_the_end_of_a_sentence_costs_no_second_transcript():
    heard = Listening().hear(silence(0.5), tone("The red mug."), silence(1))
    assert heard.pitch.jobs == [True, False]  # the look in the pause, and the transcript ahead of its end


def test_a_pause_in_the_middle_does_not_end_a_sentence():
    heard = Listening().hear(tone("The red mug."), silence(0.4), tone("The red mug."), silence(1))
    assert len(heard.said("final")) == 1


def test_what_is_said_as_the_stream_ends_is_not_lost():
    assert Listening().hear(silence(0.5), tone("The red mug.")).finish().commands == ["the red mug"]


def test_stop_is_told_in_the_pause_after_it_once_and_is_no_command():
    heard = Listening().hear(silence(0.5), tone("Stop!", 0.4), silence(0.25))
    assert heard.said("stop") == [("stop", "")]
    assert heard.said("final") == []
    heard.hear(silence(1))
    assert heard.said("stop") == [("stop", "")]
    assert heard.said("final") == [("stop", "it is a stop")]


def test_stop_is_told_while_somebody_goes_on_speaking():
    heard = Listening(partial_sec=0.5).hear(silence(0.5), tone("Stop!", 3.0))
    assert heard.said("stop") == [("stop", "")]


def test_stop_needs_no_wake_phrase_and_a_command_does():
    heard = Listening(wake_phrase="hey robot").hear(
        silence(0.5), tone("Stop!", 0.4), silence(1), tone("The red mug."), silence(1)
    )
    assert heard.said("stop") == [("stop", "")]
    assert heard.said("final")[-1] == ("the red mug", "it does not begin with 'hey robot'")
    assert heard.commands == []


def test_after_the_wake_phrase_alone_the_next_sentence_is_a_command_and_no_other():
    heard = Listening(wake_phrase="the red mug").hear(
        tone("The red mug."), silence(1), tone("The blue ball."), silence(1)
    )
    assert heard.commands == ["the blue ball"]
    assert heard.hear(tone("The blue ball."), silence(1)).commands == ["the blue ball"]


def test_what_was_not_understood_is_no_command_and_says_so():
    heard = Listening().hear(tone("mumble"), silence(1))
    assert heard.commands == []
    assert heard.said("final")[0][1].startswith("not understood (confidence -2.50)")


def test_a_click_is_nothing():
    heard = Listening().hear(silence(0.5), tone("The red mug.", 0.07), silence(1))
    assert [event.kind for event in heard.events if event.kind != "began"] == []


def test_ten_minutes_without_a_pause_are_no_command_but_every_piece_is_told():
    heard = Listening(longest_sec=15.0, partial_sec=10.0).hear(tone("The red mug.", 600), chunk=16_000).finish()
    finals = heard.said("final")
    assert len(finals) == 41  # of 15 s each but for one window, which two pieces share
    assert {reason for _, reason in finals} == {
        "longer than 15 s; a command is one short sentence, with a pause after it"
    }
    assert heard.commands == []
    assert heard.hear(silence(1), tone("The blue ball."), silence(1)).commands == ["the blue ball"]


def test_silence_after_a_piece_that_was_cut_is_not_transcribed():
    heard = Listening(longest_sec=2.0, partial_sec=10.0).hear(silence(0.3), tone("The red mug.", 1.71), silence(1))
    assert [text for text, _ in heard.said("final")] == ["the red mug", ""]


def test_ended_speech_that_waits_is_counted_so_that_the_owner_can_hold_back():
    ear = Ear(HearingSettings(), Loudness())
    for _ in range(3):
        ear.feed(np.concatenate([tone("The red mug.", 2.0), silence(1)]))
    assert ear.backlog_s == pytest.approx(3 * 2.6, abs=1.0)
    assert len(ear.feed(silence(60))) == 0


@pytest.mark.parametrize("seed", range(20))
def test_every_utterance_that_began_ends_once_whatever_comes(seed):
    rng = np.random.default_rng(seed)
    print("seed", seed)
    heard = Listening(partial_sec=float(rng.uniform(0.3, 3)), longest_sec=2.0)
    for _ in range(30):
        loud = rng.random() < 0.5
        seconds = float(rng.exponential(0.6)) + 0.12
        heard.hear(tone("The red mug.", seconds) if loud else silence(seconds), chunk=int(rng.integers(1, 8000)))
    heard.finish()
    ended = [
        event.utterance for event in heard.events if event.kind == "final" and not event.reason.startswith("longer")
    ]
    assert len(ended) == len(set(ended))
    began = {event.utterance for event in heard.events if event.kind == "began"}
    assert {event.utterance for event in heard.events if event.kind == "final"} <= began
    assert heard.ear.backlog_s == 0


def test_half_a_chunk_at_the_end_is_heard():
    ear = Ear(HearingSettings(), Loudness())
    ear.feed(tone("The red mug.", 0.5)[: 7 * 512 + 100])
    assert ear.finish() == []
    assert ear.backlog_s * RATE_HZ == 8 * 512


# ---- looks beside transcripts ----


def test_a_stop_is_looked_for_while_a_transcript_is_at_work():
    heard = Listening()
    ear, pitch = heard.ear, heard.pitch
    heard.events += ear.feed(np.concatenate([silence(0.5), tone("The red mug."), silence(1)]))
    slow = ear.next_text()
    assert not slow.quick
    heard.events += ear.feed(np.concatenate([tone("Stop!", 0.4), silence(0.25)]))
    look = ear.next_look()
    heard.events += ear.take(look, pitch.transcribe(look.samples, quick=True))
    assert heard.said("stop") == [("stop", "")]
    assert heard.commands == [], "the sentence before is still being written down"
    heard.events += ear.take(slow, pitch.transcribe(slow.samples, quick=False))
    assert heard.commands == ["the red mug"]


def test_a_stop_is_written_down_by_the_look_that_found_it():
    heard = Listening().hear(silence(0.5), tone("Stop!", 0.4), silence(1))
    assert heard.pitch.jobs == [True], "a full transcript would hold up nobody's stop but takes a core for a second"
    assert heard.said("final") == [("stop", "it is a stop")]


def test_a_stop_after_which_somebody_goes_on_is_written_down_as_a_whole():
    heard = Listening().hear(silence(0.5), tone("Stop!", 0.4), silence(0.3), tone("The red mug.", 2.0), silence(1))
    assert heard.said("stop") == [("stop", "")]
    assert heard.pitch.jobs[-1] is False
    assert heard.commands == ["the red mug"]


def test_a_transcript_waits_for_the_look_at_its_own_sentence_and_for_no_other():
    ear = Listening().ear
    ear.feed(np.concatenate([silence(0.5), tone("The red mug."), silence(0.3)]))
    look = ear.next_look()
    assert ear.next_look() is None, "one at a time"
    assert ear.next_text() is None
    ear.feed(silence(0.7))
    assert ear.next_text() is None, "it may be a stop"
    ear.take(look, Pitch().transcribe(look.samples, quick=True))
    ear.feed(np.concatenate([tone("The blue ball."), silence(0.3)]))
    assert ear.next_look().utterance.number == 2
    assert ear.next_text().utterance.number == 1
    assert ear.next_text() is None, "one at a time"


def test_the_ear_is_idle_when_everything_is_told_and_not_before():
    ear = Listening().ear
    assert ear.is_idle
    ear.feed(np.concatenate([silence(0.5), tone("The red mug."), silence(1)]))
    assert not ear.is_idle
    job = ear.next_text()
    assert not ear.is_idle, "it is at work"
    ear.take(job, Pitch().transcribe(job.samples, quick=False))
    assert ear.is_idle


def test_the_wake_phrase_and_a_stop_are_no_command():
    heard = Listening(wake_phrase="the red", stop_words="mug").hear(silence(0.5), tone("The red mug."), silence(1))
    assert heard.said("stop") == [("mug", "")]
    assert heard.commands == []
    assert heard.said("final") == [("the red mug", "it is a stop")]


def test_a_stop_behind_a_sentence_that_is_still_written_down_is_told_once_and_costs_no_transcript():
    heard = Listening()
    ear, pitch = heard.ear, heard.pitch
    heard.events += ear.feed(np.concatenate([silence(0.5), tone("The red mug."), silence(1)]))
    slow = ear.next_text()
    heard.events += ear.feed(np.concatenate([tone("Stop!", 0.4), silence(0.25)]))
    look = ear.next_look()
    heard.events += ear.take(look, pitch.transcribe(look.samples, quick=True))
    heard.events += ear.feed(silence(1))
    heard.events += ear.take(slow, pitch.transcribe(slow.samples, quick=False))
    assert ear.is_idle, "both sentences have their text"
    assert heard.said("stop") == [("stop", "")]
    assert heard.said("final") == [("the red mug", ""), ("stop", "it is a stop")]


def test_an_older_stop_that_is_understood_late_ends_nothing_newer():
    heard = Listening()
    ear = heard.ear
    heard.events += ear.feed(np.concatenate([silence(0.5), tone("Stop!", 0.4), silence(0.25)]))
    missed = ear.next_look()
    heard.events += ear.take(missed, Transcript("Stock", -0.2, 0.01))
    heard.events += ear.feed(np.concatenate([silence(1), tone("Stop!", 0.4), silence(0.25)]))
    slow, look = ear.next_text(), ear.next_look()
    heard.events += ear.take(look, Transcript("Stop!", -0.2, 0.01))
    heard.events += ear.take(slow, Transcript("Stop!", -0.2, 0.01))
    assert [event.utterance for event in heard.events if event.kind == "stop"] == [2]
    assert heard.said("final")[0] == ("stop", "it is a stop")
