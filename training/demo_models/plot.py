"""Draw the curve of a reasoner's pretraining from its log: losses, what the visual tokens know, held-out answers.

python -m training.demo_models.plot OUT/log.jsonl docs/images/pretraining.png
"""

import sys
from pathlib import Path

from training.curves import Rows, curve, panels, read_log, save


def draw(rows: Rows, path: Path) -> None:
    """Three panels over optimiser steps, written to `path`."""
    figure, (left, middle, right) = panels(3)
    for name, label in (("speak", "text"), ("guide", "guided attention"), ("align", "word alignment")):
        curve(left, rows, name, label=label)
    left.set(title="losses", yscale="log")
    for name, label in (("kind_right", "kind"), ("colour_right", "colour")):
        curve(middle, rows, name, label=label)
    curve(middle, rows, "place_error_px", scale=0.02, label="place error / 50 px")
    middle.set(title="visual tokens", ylim=(0, 1))
    validated = [row for row in rows if "held_out" in row]
    for kind in sorted(set(validated[-1]["held_out"]) - {"wrong", "all", "single"}) if validated else ():
        hits = [{"step": row["step"], "hit": row["held_out"][kind]["hit"]} for row in validated]
        curve(right, hits, "hit", marker="o", label=kind)
    right.set(title="held-out answers right (boxes, IoU > 0.5)", ylim=(0, 1))
    save(figure, path)


if __name__ == "__main__":
    log, picture = map(Path, sys.argv[1:])
    draw(read_log(log), picture)
