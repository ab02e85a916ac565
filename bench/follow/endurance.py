"""Whether following costs memory as time goes by: `python -m bench.follow.endurance --frames 72000`.

The bundle's own tracker on a clip of the demo world that runs to and fro, 640 x 480. Every ``CHANGE`` frames it is told
to forget the object it has followed longest, and to follow one that is in the picture, from its true mask: one, two or
three objects at once. What the process holds (RSS) is noted every ``SAMPLE`` frames.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("LP_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from bench.record import record
from segzero_ros.errors import RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.segmenter import Tracker
from training.clips.truth import Clip
from training.evaluation.tracking.clips import evaluation_clips
from training.evaluation.tracking.trackers import open_tracker

CHANGE, SAMPLE = 97, 100  # frames; 97 is prime, so that objects change in each place of the clip
WARM = 0.1  # share of the frames in which allocators and caches fill
LEAST_PIXELS = 50
HOUR_AT_20_HZ = 72_000


@dataclass(slots=True)
class Endured:
    """What was seen: RSS by frame, in MB, how many objects were started, and the time all steps took."""

    frames: int = 0
    started: int = 0
    seconds: float = 0.0
    rss: list[tuple[int, float]] = field(default_factory=list)


def to_and_fro(length: int) -> Iterator[int]:
    """0 .. length - 1 and back, without an end."""
    number, step = 0, 1
    while True:
        yield number
        if not 0 <= number + step < length:
            step = -step
        number += step if length > 1 else 0


def endure(
    clip: Clip, tracker: Tracker, frames: int, *, until_s: float = float("inf"), report: Callable[[str], None] = print
) -> Endured:
    """Follow for ``frames``, or until the clock says ``until_s``. RuntimeError when an id is missing or used again."""
    seen, followed = Endured(), deque[int]()
    for number in islice(to_and_fro(len(clip.frames)), frames):
        if time.monotonic() > until_s:
            break
        frame = Frame(clip.frames[number], seen.frames * 50_000_000)
        before = time.perf_counter()
        if seen.frames % CHANGE == 0 or not followed:
            _change(tracker, followed, frame, clip.ids[number], seen)
        told = tracker.step(frame).ids
        seen.seconds += time.perf_counter() - before
        if told != tuple(followed):
            raise RuntimeError(f"got tracks {told} in frame {seen.frames}, want {tuple(followed)}")
        if seen.frames % SAMPLE == 0:
            seen.rss.append((seen.frames, rss_mb()))
        if seen.frames % (100 * SAMPLE) == 0:
            report(f"{seen.frames} frames, {seen.rss[-1][1]:.1f} MB, {seen.started} objects")
        seen.frames += 1
    return seen


def _change(tracker: Tracker, followed: deque[int], frame: Frame, ids: np.ndarray, seen: Endured) -> None:
    """Follow one more, and forget the oldest before it, so that one, two, three are followed in turn."""
    while len(followed) > seen.started % 3:
        tracker.forget(followed.popleft())
    numbers, pixels = np.unique(ids[ids > 0], return_counts=True)
    there = numbers[pixels >= LEAST_PIXELS]
    (new,) = tracker.start(frame, (ids == there[seen.started % len(there)])[None])
    if new != seen.started + 1:
        raise RuntimeError(f"got the id {new} for object {seen.started + 1}: ids count up and are never used again")
    seen.started += 1
    followed.append(new)


def rss_mb() -> float:
    """What this process holds at present, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def growth(rss: Sequence[tuple[int, float]]) -> dict[str, float]:
    """Slope in MB per 1,000 frames after the first tenth, what it held then and at the end, and the most it held."""
    late = [(frame, mb) for frame, mb in rss if frame >= WARM * rss[-1][0]]
    frames, held = (np.array(column, float) for column in zip(*late, strict=True))
    slope = float(np.polyfit(frames, held, 1)[0]) if len(late) > 1 else 0.0
    tenth = max(1, len(held) // 10)
    return {
        "mb_per_1000_frames": round(1000 * slope, 4),
        "first_mb": round(float(np.median(held[:tenth])), 1),
        "last_mb": round(float(np.median(held[-tenth:])), 1),
        "most_mb": round(float(held.max()), 1),
    }


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracker", choices=("memory", "prompted"), default="memory")
    parser.add_argument("--bundle", default="tabletop", help="whose tracker it is (default: tabletop)")
    parser.add_argument("--frames", type=int, default=HOUR_AT_20_HZ, help=f"default: {HOUR_AT_20_HZ}, an hour at 20 Hz")
    parser.add_argument("--minutes", type=float, default=1440.0, help="end after so long, whatever is left")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    until_s = time.monotonic() + 60 * options.minutes
    try:
        tracker = open_tracker(options.tracker, options.bundle)()
        cv2.setNumThreads(1)
        (clip,) = evaluation_clips(1, 0)
    except (RejectedInput, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    seen = endure(clip, tracker, options.frames, until_s=until_s)
    found: dict[str, Any] = {
        "frames": seen.frames,
        "objects": seen.started,
        "ms_a_step": 1e3 * seen.seconds / seen.frames,
    }
    found |= growth(seen.rss)
    print(json.dumps(found, indent=1))
    if options.out:
        asked = ["--tracker", options.tracker, "--bundle", options.bundle, "--frames", str(options.frames)]
        settings = {"frames_asked": options.frames, "minutes": options.minutes, "change_every": CHANGE}
        made = record(
            "endurance", ["python", "-m", "bench.follow.endurance", *asked], settings, found | {"rss": seen.rss}
        )
        options.out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
