"""Words: what stops, what wakes, what is believed."""

import pytest

from segzero_ros.errors import RejectedInput
from segzero_ros.hearing.guard import Guard
from segzero_ros.hearing.recogniser import Transcript
from segzero_ros.hearing.settings import HearingSettings
from segzero_ros.hearing.words import StopWords, WakePhrase, as_command, distance, prompt_of, read_phrases

STOPS = StopWords(("stop", "cancel", "never mind"))


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Stop.", "stop"),
        ("Stop! Stop! Stop!", "stop"),
        ("Please stop it now.", "stop"),
        ("No, no, cancel that.", "cancel"),
        ("Never mind.", "never mind"),
        ("the stop sign", ""),
        ("Don't stop", ""),
        ("cancel the red mug", ""),
        ("please", ""),
        ("never", ""),
        ("", ""),
    ],
)
def test_a_stop_is_a_stop_word_and_nothing_else_that_means_something(text, phrase):
    assert STOPS.said_in(text) == phrase


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("Hey, robot, the red mug", "the red mug"),
        ("Hey robot.", ""),
        ("Hay robot the mug", "the mug"),
        ("Heyrobot the mug", "the mug"),
        ("the red mug", None),
        ("the hey robot", None),
        ("", None),
    ],
)
def test_what_follows_the_wake_phrase_is_the_command(text, rest):
    assert WakePhrase("Hey, robot!").after(text) == rest


@pytest.mark.parametrize(
    ("heard", "command"),
    [
        (" The red mug.", "the red mug"),
        ("Take the plant, standing in front.", "take the plant standing in front"),
        ("I need the ball.", "I need the ball"),
        ("I'm hungry!", "I'm hungry"),
        ("LED lamp", "LED lamp"),
        ("What can I drink from?", "what can I drink from?"),
        ("...", ""),
    ],
)
def test_a_transcript_becomes_what_people_type(heard, command):
    assert as_command(heard) == command


@pytest.mark.parametrize(
    ("transcript", "reason"),
    [
        (Transcript("The red mug.", -0.3, 0.02), ""),
        (Transcript("Thank you.", -0.3, 0.7), "probably no speech (0.70)"),
        (Transcript("The rat mug.", -1.2, 0.02), "not understood (confidence -1.20); say it again"),
        (Transcript(" ... ", -0.1, 0.0), "no words"),
        (Transcript("the red mug " * 20, -0.1, 0.0), "the recogniser repeats itself"),
        (Transcript("one two three four five six seven eight", -0.1, 0.0), "more words than one can say (8 in 1.0 s)"),
    ],
)
def test_the_guard_says_why_a_transcript_is_not_believed(transcript, reason):
    assert Guard().why_not(transcript, 1.0) == reason


@pytest.mark.parametrize(
    ("one", "other", "wanted"), [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
)
def test_the_distance_of_words(one, other, wanted):
    assert distance(one, other) == distance(other, one) == wanted


def test_words_to_expect_become_sentences():
    assert prompt_of(read_phrases("the red mug, ,robot bring it", "words")) == "The red mug. Robot bring it."
    assert prompt_of(()) == ""


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"engine": "other"}, "got engine = 'other', want faster_whisper"),
        ({"pause_sec": 9.0}, "got pause_sec = '9.0', want 0.3 to 3"),
        ({"threads": 0}, "got threads = '0', want 1 to 64"),
        ({"stop_words": "stop, ..."}, "got stop_words with '...'"),
        ({"words": "long " * 400}, "characters of words to expect, want at most 800"),
        ({"language": "english"}, "want two letters"),
        ({"model": 3}, "got model = '3', want str"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(wrong, message):
    with pytest.raises(RejectedInput) as refused:
        HearingSettings(**wrong)
    assert message in refused.value.detail
