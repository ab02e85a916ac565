"""docs/speech.md says what is so: every parameter with its default and range."""

import re
from dataclasses import fields
from pathlib import Path

from segzero_ros.hearing.settings import HearingSettings

PAGE = (Path(__file__).parents[2] / "docs" / "speech.md").read_text(encoding="utf-8")
NODE = Path(__file__).parents[2] / "segzero_ros" / "ros" / "hearing" / "config.py"
ROWS = {row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \| `?(.*?)`? ?\| (.*?) ?\| (.*) \|$", PAGE, re.MULTILINE)}


def test_every_setting_is_on_the_page_with_its_default_and_its_range():
    for each in fields(HearingSettings):
        default, span, about = ROWS[each.name]
        limits = each.metadata
        assert default == str(each.default)
        assert span == (
            ", ".join(limits["choices"]) if "choices" in limits else f"{limits['low']:g} to {limits['high']:g}"
        )
        assert about == limits["description"]


def test_every_parameter_of_the_node_is_on_the_page_and_no_other():
    own = set(re.findall(r"_(?:text|choice|whole)\(\s*node, \"(\w+)\"", NODE.read_text(encoding="utf-8")))
    assert ROWS.keys() == own | {each.name for each in fields(HearingSettings)}
