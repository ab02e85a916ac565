"""Writes into a bundle's manifest what the demo world's pictures look like.

By that the robot can say of a photo that the bundle was not made for it (segzero_ros/backends/world.py).

    python -m tools.describe_world BUNDLE
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import numpy as np

from segzero_ros.backends.world import describe_world, picture_statistics
from segzero_ros.bundle import MANIFEST, open_named_bundle
from segzero_ros.cli.parser import Parser, at_least
from segzero_ros.tabletop import Renderer, sample_scene

NAME = "the demo world (rendered tables)"
LIMIT = 5.5  # 1 of 672 pictures outside the statistics is beyond it, the next at 5.47; docs/demo-models.md
SIZE = (320, 240)


def main(arguments: Sequence[str] | None = None) -> int:
    """Render training scenes, measure them and rewrite the manifest."""
    parser = Parser("python -m tools.describe_world", (__doc__ or "").partition("\n\n")[0])
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's directory or name")
    parser.add_argument("--scenes", type=at_least(100), default=1500, metavar="N", help="pictures to measure (1500)")
    options = parser.parse_args(arguments)
    file = open_named_bundle(options.bundle).path / MANIFEST
    with Renderer(*SIZE) as renderer:
        drawn = (renderer.render(sample_scene(seed, "train")).rgb for seed in range(options.scenes))
        pictures = np.array([picture_statistics(rgb) for rgb in drawn])
    manifest = json.loads(file.read_text("utf-8"))
    manifest["provenance"]["world"] = describe_world(NAME, pictures, LIMIT)
    partial = file.with_name(f".{MANIFEST}.partial")
    partial.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", "utf-8")
    partial.replace(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
