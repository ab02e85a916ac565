"""Speech of espeak-ng through the real recogniser's process: commands, stops, long speech, and what is no speech."""

import numpy as np
import pytest

from bench.hearing.sentences import listen, match, stream
from bench.hearing.sound import music, pink_noise, with_noise
from segzero_ros.demo.voice import silence, spoken
from segzero_ros.hearing.settings import HearingSettings

COMMANDS = (
    "the white mug",
    "give me every yellow thing",
    "find the blue plate",
    "something to serve food on",
    "the rearmost potted plant",
    "bring me the red lamp",
    "grab the yellow bottle",
    "the plant in the black pot",
)


def error_rate(samples, spans, settings):
    heard = match(COMMANDS, spans, listen(samples, settings)[0])
    return sum(one.errors for one in heard) / sum(one.words for one in heard)


def test_few_words_of_spoken_commands_are_wrong_and_fewer_where_words_are_expected(voice, settings, model):
    samples, spans = stream(COMMANDS)
    expecting = error_rate(samples, spans, settings)
    assert expecting <= 0.15
    assert expecting < error_rate(samples, spans, HearingSettings(model=str(model)))


def test_noise_ten_decibels_below_the_speech_leaves_most_words(voice, settings):
    samples, spans = stream(COMMANDS)
    assert error_rate(with_noise(samples, 10.0, seed=5), spans, settings) <= 0.5


@pytest.mark.parametrize("word", ["stop", "stop it", "please stop", "cancel"])
def test_a_spoken_stop_is_a_stop_once_and_no_command(voice, settings, word):
    events, _ = listen(np.concatenate(list(spoken([word]))), settings)
    assert [event.kind for event in events if event.kind in ("stop", "final")] == ["stop", "final"]
    assert not any(event.is_command for event in events)


@pytest.mark.parametrize(
    "sound",
    [silence(20), 0.01 * pink_noise(20, 1), np.clip(0.2 * pink_noise(20, 2), -1, 1), music(20, 3)],
    ids=["silence", "quiet noise", "loud noise", "music"],
)
def test_what_is_no_speech_is_neither_command_nor_stop(settings, sound):
    events, _ = listen(sound, settings)
    assert [event for event in events if event.is_command or event.kind == "stop"] == []


def test_speech_without_a_pause_is_written_down_and_no_command_and_the_next_sentence_is_heard(voice, settings):
    speech = np.concatenate([part for part in spoken(list(COMMANDS) * 2, pause_s=0.1) if len(part) > 1600])
    events, _ = listen(np.concatenate([silence(0.5), speech, silence(1.5), *spoken(["the white mug"])]), settings)
    *long, last = [event for event in events if event.kind == "final"]
    assert (last.text, last.reason) == ("the white mug", "")
    assert len(long) == int((len(speech) / 16_000) // 15) + 1
    assert all(event.reason.startswith("longer than 15 s") for event in long)
    assert sum(len(event.text.split()) for event in long) >= 0.7 * 2 * sum(len(text.split()) for text in COMMANDS)
