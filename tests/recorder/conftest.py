"""The recorder's tests need the packages that write and read MCAP; without them they skip and say so."""

import importlib.util

import pytest

NEEDED = ("mcap", "zstandard", "mcap_ros2")
LACKING = [name for name in NEEDED if importlib.util.find_spec(name) is None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot run here."""
    for item in items:
        if LACKING and "recorder" in item.path.parent.name and "without_mcap" not in item.name:
            item.add_marker(pytest.mark.skip(reason=f"needs {', '.join(LACKING)}: requirements/dev.txt"))
