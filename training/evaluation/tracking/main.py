"""Judges a tracker on clips of the tabletop world that it was not trained on.

    python -m training.evaluation.tracking --tracker prompted --bundle tabletop --clips 40 --seed 0

J and F as DAVIS defines them, over all frames after the first; where a thing is hidden the right mask is empty.
Identities: in the fifth frame in which a thing is seen again after it was hidden, outside the picture, or next to one
that looks like it, the mask is its own (IoU above 0.5 and more than with any other). Presence: of the frames in which
a thing is seen, those said to show it; of those in which it is gone, those said not to.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("LP_NUM_THREADS", "1")

import cv2
import numpy as np

from segzero_ros.cli.parser import Parser, at_least, number_in
from segzero_ros.errors import RejectedInput
from segzero_ros.tabletop.scene import SPLITS
from training.clips.script import MOTIONS, SETS, Motion
from training.clips.truth import Clip
from training.evaluation.intervals import interval
from training.evaluation.tracking.clips import MOST_CLIPS, evaluation_clips
from training.evaluation.tracking.events import startable
from training.evaluation.tracking.judge import Judged, follow, judge
from training.evaluation.tracking.sheet import contact_sheet
from training.evaluation.tracking.trackers import TRACKERS, open_tracker


@dataclass(frozen=True, slots=True)
class JudgedClip:
    """A clip's things, and how long a step took in the middle, ms."""

    seed: int
    motion: Motion
    things: tuple[Judged, ...]
    step_ms: float


def judge_clip(clip: Clip, tracker: Any, sheet: Path | None = None) -> JudgedClip:
    """Follow all things that can be asked for in the first frame, from their true masks."""
    rows = startable(clip)
    followed = follow(tracker, clip, np.stack([clip.ids[0] == clip.things[row].id for row in rows]))
    if sheet is not None:
        sheet.mkdir(parents=True, exist_ok=True)
        picture = contact_sheet(clip, rows, followed)
        cv2.imwrite(str(sheet / f"{clip.script.motion}-{clip.script.seed}.png"), picture[..., ::-1])
    return JudgedClip(
        clip.script.seed, clip.script.motion, tuple(judge(clip, rows, followed)), float(np.median(followed.step_ms))
    )


def figures(clips: list[JudgedClip]) -> dict[str, Any]:
    """What is reported of some clips; intervals over clips, whose things depend on each other."""

    def share(above: Any, below: Any) -> dict[str, float] | None:
        tops, bottoms = (np.array([float(sum(map(take, c.things))) for c in clips]) for take in (above, below))
        return interval(tops, bottoms) | {"of": int(bottoms.sum())} if bottoms.sum() else None

    one = lambda thing: 1.0  # noqa: E731
    return {
        "clips": len(clips),
        "things": sum(len(clip.things) for clip in clips),
        "J&F": share(lambda t: (t.j + t.f) / 2, one),
        "J": share(lambda t: t.j, one),
        "F": share(lambda t: t.f, one),
        "identity": share(lambda t: sum(t.kept.values()), lambda t: sum(t.looked.values())),
        **{
            f"identity after {reason}": share(lambda t, r=reason: t.kept[r], lambda t, r=reason: t.looked[r])
            for reason in ("hidden", "outside", "met")
        },
        "present when seen": share(lambda t: t.present_when_seen, lambda t: t.seen),
        "absent when gone": share(lambda t: t.absent_when_gone, lambda t: t.gone),
        "step_ms": round(float(np.median([clip.step_ms for clip in clips])), 1),
    }


COLUMNS = ("J&F", "J", "F", "identity", "present when seen", "absent when gone")


def table(clips: list[JudgedClip]) -> str:
    """The figures by motion and of all, as Markdown."""
    lines = ["| motion | clips, things | " + " | ".join(COLUMNS) + " | ms |", "|---" * (len(COLUMNS) + 3) + "|"]
    for motion in (*dict.fromkeys(clip.motion for clip in clips), "all"):
        made = figures([clip for clip in clips if motion in (clip.motion, "all")])
        cells = [_cell(made[column], column == "identity") for column in COLUMNS]
        lines.append(
            f"| {motion} | {made['clips']}, {made['things']} | " + " | ".join(cells) + f" | {made['step_ms']} |"
        )
    return "\n".join(lines)


def _cell(figure: dict[str, float] | None, counted: bool) -> str:
    if figure is None:
        return ""
    return f"{figure['value']:.3f}" + (f" of {figure['of']}" if counted else "")


SET, SECONDS = at_least(0, SETS - 1), number_in(0.0, 60.0, above=True)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = Parser("python -m training.evaluation.tracking", __doc__ or "")
    parser.add_argument("--tracker", choices=TRACKERS, required=True, help="stay: masks stay where they were")
    parser.add_argument("--bundle", help="name or folder of the bundle whose tracker it is")
    parser.add_argument("--clips", type=at_least(1, MOST_CLIPS), default=40, help="how many (default 40)")
    parser.add_argument("--seed", type=SET, default=0, help="another one gives other clips (default 0)")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--frames", type=at_least(1, 10_000), default=60, help="of a clip (default 60)")
    parser.add_argument("--step", type=SECONDS, default=0.1, help="seconds between frames (default 0.1)")
    parser.add_argument("--motion", choices=MOTIONS, help="only this one")
    parser.add_argument("--json", type=Path, help="write the figures, and those of every thing, there")
    parser.add_argument("--sheets", type=Path, help="write a picture of each clip into this folder")
    options = parser.parse_args(arguments)
    try:
        new_tracker = open_tracker(options.tracker, options.bundle)
    except RejectedInput as error:
        print(error, file=sys.stderr)
        return 2
    motions = (options.motion,) if options.motion else MOTIONS
    made = evaluation_clips(
        options.clips, options.seed, split=options.split, frames=options.frames, step_s=options.step, motions=motions
    )
    judged = []
    for clip in made:
        judged.append(judge_clip(clip, new_tracker(), options.sheets))
        print(f"\r{len(judged)}/{options.clips} clips", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(table(judged))
    if options.json:
        asked = {name: str(value) for name, value in vars(options).items() if value is not None}
        report = {"asked": asked, "figures": figures(judged), "clips": [asdict(clip) for clip in judged]}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0
