"""Rendered pictures of the rich world, small and few."""

import json

import pytest

from segzero_ros.tabletop.render import Renderer
from training.demo_models.render_tabletop import write_shard


@pytest.fixture(scope="session")
def rich_data(tmp_path_factory):
    """A folder with train/ and val/, a shard each."""
    folder = tmp_path_factory.mktemp("rich")
    with Renderer(160, 120, world="rich") as renderer:
        write_shard(folder / "train" / "shard-00000", renderer, "train", 60, 0, "mixed")
        write_shard(folder / "val" / "shard-00000", renderer, "val", 4, 0, "mixed")
    return folder


@pytest.fixture(scope="session")
def rich_scenes(rich_data):
    """The lines of the training's scenes.jsonl."""
    lines = (rich_data / "train" / "shard-00000" / "scenes.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
