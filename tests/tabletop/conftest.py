"""Pictures shared by the tests of the demo world: they cost some twenty milliseconds each."""

from collections.abc import Iterator
from dataclasses import replace

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
def rich_renderer() -> Iterator[Renderer]:
    with Renderer(320, 240, world="rich") as opened:
        yield opened


@pytest.fixture(scope="session")
def rich_views(rich_renderer: Renderer) -> dict[str, list[View]]:
    """By split; without what the sensor does to them, so that depth is true."""
    scenes = {split: [sample_scene(seed, split, world="rich") for seed in range(SEEDS)] for split in ("train", "test")}
    return {
        split: [rich_renderer.render(replace(scene, shot=None), depth=True) for scene in some]
        for split, some in scenes.items()
    }


@pytest.fixture(scope="session")
def test_views(renderer: Renderer) -> list[View]:
    return [renderer.render(sample_scene(seed, "test")) for seed in range(SEEDS)]
