"""Pictures shared by the tests of the demo world: they cost some twenty milliseconds each."""

from collections.abc import Iterator

import pytest

from segzero_ros.tabletop import Renderer, View, sample_scene

SEEDS = 40


@pytest.fixture(scope="session")
def renderer() -> Iterator[Renderer]:
    with Renderer(320, 240) as opened:
        yield opened


@pytest.fixture(scope="session")
def train_views(renderer: Renderer) -> list[View]:
    return [renderer.render(sample_scene(seed, "train")) for seed in range(SEEDS)]


@pytest.fixture(scope="session")
def test_views(renderer: Renderer) -> list[View]:
    return [renderer.render(sample_scene(seed, "test")) for seed in range(SEEDS)]
