"""The demo bundle and a few questions, rendered once."""

import pytest

from export.queries import tabletop_questions
from segzero_ros.bundle import open_bundle, resolve_bundle


@pytest.fixture(scope="session")
def bundle():
    return open_bundle(resolve_bundle("tabletop"))


@pytest.fixture(scope="session")
def questions():
    return tabletop_questions(6, seed=7)
