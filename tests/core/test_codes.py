"""Every code is explained once, with the number and name of the enum."""

import re
from pathlib import Path

import pytest

from segzero_ros.errors import Code, RejectedInput, nearest

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
