"""Draw what GRPO did: reward parts, held-out answers, abstaining and tokens over the steps, one line per run.

python -m training.grpo.plot RUN1/log.jsonl RUN2/log.jsonl docs/images/grpo.png
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from training.curves import Rows, curve, panels, read_log, save

PARTS = ("box", "mask", "point", "abstain", "count", "format", "length")
STYLES = ("-", "--", ":", "-.")
SMOOTH = 15  # steps


def draw(runs: Sequence[Rows], path: Path) -> None:
    """Four panels over optimiser steps, written to `path`; line styles tell the runs apart."""
    figure, (parts, hits, masks, tokens) = panels(4)
    lines = {
        parts: {f"reward/{part}": part for part in PARTS},
        hits: {f"held_out/{kind}/hit": kind for kind in ("single", "several", "absent")},
        masks: {"held_out/all/mask": "mask IoU", "held_out/all/iou": "box IoU"},
        tokens: {"held_out/all/tokens": "all", "held_out/all/thinking": "thinking"},
    }
    for number, (rows, style) in enumerate(zip(runs, STYLES, strict=False)):
        for axes, keys in lines.items():
            for at, (key, label) in enumerate(keys.items()):
                name = {} if number else {"label": label}
                curve(axes, rows, key, smooth=SMOOTH if axes is parts else 1, ls=style, c=f"C{at}", lw=1.4, **name)
    parts.set(title=f"reward parts, mean of {SMOOTH} steps")
    hits.set(title="held out: right (boxes; absent: N-Acc)", ylim=(0, 1))
    masks.set(title="held out: mean IoU, all kinds alike")
    tokens.set(title="held out: tokens per answer", ylim=(0, None))
    save(figure, path)


def newest(rows: Rows) -> Rows:
    """Return rows in order of steps; of a step that a resumed run did again the last one counts."""
    kept = {(row["step"], any(key.startswith("held_out/") for key in row)): row for row in rows}
    return [kept[key] for key in sorted(kept)]


if __name__ == "__main__":
    *logs, picture = map(Path, sys.argv[1:])
    draw([newest(read_log(log)) for log in logs], picture)
