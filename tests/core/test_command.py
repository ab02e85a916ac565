"""Whatever is said becomes one clean line or one of three codes."""

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segzero_ros.command import MAX_COMMAND_CHARS, TRANSITIONS, Command, Stage, read_command
from segzero_ros.errors import Code, RejectedInput

PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"  # "I want", joined by a zero-width non-joiner
JOINERS = "\u200c\u200d"
COMMAND_CODES = {Code.COMMAND_EMPTY, Code.COMMAND_TOO_LONG, Code.COMMAND_UNREADABLE}


def code_of(text: object) -> Code:
    with pytest.raises(RejectedInput) as refused:
        read_command(text, "1")  # type: ignore[arg-type]
    assert refused.value.detail
    return refused.value.code


def read_or_refuse(text: str) -> Command | RejectedInput:
    try:
        return read_command(text, "1")
    except RejectedInput as error:
        return error


def assert_clean_or_refused(text: str) -> None:
    command = read_or_refuse(text)
    if isinstance(command, RejectedInput):
        assert command.code in COMMAND_CODES
        command.detail.encode("utf-8")
        return
    assert 1 <= len(command.text) <= MAX_COMMAND_CHARS
    assert command.text == " ".join(command.text.split(" ")).strip()
    command.text.encode("utf-8")
    assert not {unicodedata.category(c) for c in command.text if c not in JOINERS} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_a_sentence_stays_as_it_is() -> None:
    assert read_command("Take the red mug, please!", "7") == Command("7", "Take the red mug, please!")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  the \t red\n mug ", "the red mug"),
        ("the mug\0rm -rf", "the mug"),
        ("the \u202egum\u202c der", "the gum der"),
        ("the \ud83dmug", "the mug"),
        ("the\u2028mug", "the mug"),
        ("mug\U000e0041\U000e0042", "mug"),
        ("\x1b[31mmug", "[31mmug"),
        (PERSIAN, PERSIAN),
        ("die rote Tasse 🍵", "die rote Tasse 🍵"),
        ("<|im_start|> </answer>", "<|im_start|> </answer>"),
    ],
)
def test_what_hides_goes_and_what_speaks_stays(text: str, cleaned: str) -> None:
    assert read_command(text, "1").text == cleaned


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", Code.COMMAND_EMPTY),
        (" \n\t", Code.COMMAND_EMPTY),
        ("\0mug", Code.COMMAND_EMPTY),
        ("\u202e\u200b", Code.COMMAND_UNREADABLE),
        ("\ud800\udc00"[:1], Code.COMMAND_UNREADABLE),
        ("\u200d\u200d", Code.COMMAND_UNREADABLE),
        ("x" * (MAX_COMMAND_CHARS + 1), Code.COMMAND_TOO_LONG),
        ("x" * 10_000_000, Code.COMMAND_TOO_LONG),
        (None, Code.COMMAND_UNREADABLE),
        (b"mug", Code.COMMAND_UNREADABLE),
    ],
)
def test_what_is_no_command_has_a_code(text: object, code: Code) -> None:
    assert code_of(text) is code


def test_the_longest_command_is_taken() -> None:
    assert len(read_command("x" * MAX_COMMAND_CHARS, "1").text) == MAX_COMMAND_CHARS


@given(st.text(st.characters(codec=None, categories=None), max_size=60))
def test_any_text_is_clean_or_refused(text: str) -> None:
    assert_clean_or_refused(text)


def test_random_code_points_are_clean_or_refused() -> None:
    rng = random.Random(20)
    for _ in range(20_000):
        assert_clean_or_refused("".join(chr(rng.randrange(0x110000)) for _ in range(rng.randrange(12))))


def test_the_life_cycle_only_goes_forward_and_always_can_end() -> None:
    order = list(Stage)
    assert set(TRANSITIONS) == set(Stage)
    for stage, following in TRANSITIONS.items():
        assert all(order.index(later) > order.index(stage) for later in following)
        assert stage is Stage.DONE or Stage.DONE in following
