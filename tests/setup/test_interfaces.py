"""The message definitions say the same as the code, field by field where a client depends on it."""

import re
from pathlib import Path

import pytest

from segzero_ros.errors import Code

ROOT = Path(__file__).resolve().parents[2]
INTERFACES = sorted([*ROOT.glob("msg/*.msg"), *ROOT.glob("action/*.action")])
CONSTANT = re.compile(r"uint16 ([A-Z_]+)=(\d+)\s+# \S.*")
FIELD = re.compile(r"[A-Za-z][\w/]*(\[\])?\s+[a-z][a-z0-9_]*\b")


def definition_lines(path: Path) -> list[str]:
    """Return the lines of an interface that are neither empty, nor a comment, nor a separator."""
    texts = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [text for text in texts if text and not text.startswith("#") and text != "---"]


def test_the_messages_codes_are_the_codes_of_the_core() -> None:
    found = [CONSTANT.fullmatch(line) for line in definition_lines(ROOT / "msg" / "Segmentation.msg")]
    constants = {match[1]: int(match[2]) for match in found if match}
    assert constants == {code.name: code.value for code in Code}


@pytest.mark.parametrize("path", INTERFACES, ids=lambda path: path.name)
def test_every_field_says_what_it_is(path: Path) -> None:
    """A field has its own comment, or belongs to a group of fields right below one."""
    lines = path.read_text(encoding="utf-8").splitlines()
    explained = False
    for line in lines:
        if line.startswith("#"):
            explained = not line.startswith("# --")
        elif FIELD.match(line):
            assert explained or "#" in line, line
        elif not line.strip():
            explained = False


def test_the_built_messages_carry_the_codes() -> None:
    messages = pytest.importorskip(
        "segzero_ros.msg", reason="the interfaces are not built: run make demo or colcon build"
    )
    assert {code.name: getattr(messages.Segmentation, code.name) for code in Code} == {c.name: c.value for c in Code}


def test_a_new_message_is_no_answer_by_accident() -> None:
    messages = pytest.importorskip(
        "segzero_ros.msg", reason="the interfaces are not built: run make demo or colcon build"
    )
    empty = messages.Segmentation()
    assert not empty.instances
    assert (empty.mask.width, empty.mask.height) == (0, 0)
