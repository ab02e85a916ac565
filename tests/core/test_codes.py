"""Every code is explained once, with the number and name of the enum."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segzero_ros.errors import Code, RejectedInput, nearest, one_line

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (\d+) \| `([A-Z_]+)` \| (.+?) \| (.+?) \|$", re.MULTILINE)


def test_the_table_of_codes_is_the_enum() -> None:
    rows = ROW.findall((ROOT / "docs/codes.md").read_text("utf-8"))
    assert [(int(number), name) for number, name, _, _ in rows] == [(code.value, code.name) for code in Code]


def test_the_message_has_the_same_constants() -> None:
    message = ROOT / "msg/Segmentation.msg"
    if not message.exists():
        pytest.skip("msg/Segmentation.msg is not there")
    constants = re.findall(r"^uint16 +([A-Z_]+) *= *(\d+)", message.read_text("utf-8"), re.MULTILINE)
    assert {name: int(number) for name, number in constants} == {code.name: code.value for code in Code}


def test_a_rejection_carries_code_and_detail() -> None:
    error = RejectedInput(Code.BUSY, "got two, want one; wait")
    assert (error.code, error.detail, str(error)) == (
        Code.BUSY,
        "got two, want one; wait",
        "BUSY: got two, want one; wait",
    )


@pytest.mark.parametrize(
    ("name", "hint"), [("onx", "did you mean 'onnx'?"), ("zzz", "known: fake, onnx"), ("", "known: fake, onnx")]
)
def test_an_unknown_name_gets_the_nearest_one_or_all(name: str, hint: str) -> None:
    assert nearest(name, ["onnx", "fake"]) == "; " + hint


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain, ü 🍵", "plain, ü 🍵"),
        ("a\nb\r\nc\td\x0be\u2028f\u2029g\x85h\u00a0i", "a b  c d e f g h i"),
        ("\x1b[31mred\x9b2J\x00\x7f", "[31mred2J"),
        ("\u202eexe.gpj\u200b\ufeff", "exe.gpj"),
        ("\ud83c\udf75 \ud83d", "🍵 \ufffd"),
    ],
)
def test_what_an_input_says_of_itself_is_one_printable_line(text: str, line: str) -> None:
    error = RejectedInput(Code.CONFIG_VALUE, text)
    assert error.detail == one_line(text) == line
    assert str(error) == f"CONFIG_VALUE: {line}"


@given(st.text(st.characters(codec=None, categories=None)))
def test_any_text_becomes_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    line.encode("utf-8")
    assert one_line(line) == line
