"""A tracker follows what is in a clip; each thing it followed is judged against the truth of every frame."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segzero_ros.frame import Frame
from segzero_ros.segmenter import Tracker
from training.clips.truth import Clip
from training.evaluation.tracking.events import gone, looks, seen
from training.evaluation.tracking.measures import Mask, boundary, region

PRESENT = 0.5
SAME = 0.5  # the IoU above which a mask is of the thing


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """What a tracker said of N things of a clip in the T - 1 frames after the first.

    masks: bool (T - 1, N, H, W); presence: float (T - 1, N), 0..1; step_ms: (T - 1,), what each step took.
    """

    masks: NDArray[np.bool_]
    presence: NDArray[np.float32]
    step_ms: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """One thing that was followed.

    j, f: means over the frames after the first, 0..1. looked, kept: how often its identity was looked at and was its
    own, by what happened before. seen, gone: in how many frames it was; present_when_seen, absent_when_gone: in how
    many of these the tracker said so.
    """

    name: str
    j: float
    f: float
    looked: dict[str, int]
    kept: dict[str, int]
    seen: int
    gone: int
    present_when_seen: int
    absent_when_gone: int


def follow(tracker: Tracker, clip: Clip, masks: NDArray[np.bool_]) -> Followed:
    """Start with masks (N, H, W) on the first frame and step through the others. ValueError for ids out of order."""
    step_ns = round(clip.script.step_s * 1e9)
    frames = [Frame(rgb, n * step_ns, "camera") for n, rgb in enumerate(clip.frames)]
    ids = tracker.start(frames[0], masks)
    found, presence, took = [], [], []
    for frame in frames[1:]:
        began = time.perf_counter()
        tracks = tracker.step(frame)
        took.append(1000 * (time.perf_counter() - began))
        if tracks.ids != ids:
            raise ValueError(f"the tracker gave ids {tracks.ids}, want those of its start, {ids}")
        found.append(tracks.masks.copy())
        presence.append(tracks.presence.copy())
    return Followed(np.stack(found), np.stack(presence), np.array(took))


def judge(clip: Clip, rows: Sequence[int], followed: Followed) -> list[Judged]:
    """Each thing that was followed; `rows`: which of the clip's things, in the order in which they were started."""
    return [_judge(clip, row, followed.masks[:, n], followed.presence[:, n]) for n, row in enumerate(rows)]


def _judge(clip: Clip, row: int, masks: NDArray[np.bool_], presence: NDArray[np.float32]) -> Judged:
    thing = clip.things[row]
    truth = clip.ids[1:] == thing.id
    frames = {reason: [t - 1 for t in times] for reason, times in looks(clip, row).items()}
    shown, away, said = seen(clip, row)[1:], gone(clip, row)[1:], presence >= PRESENT
    return Judged(
        name=f"{thing.colour} {thing.kind}",
        j=float(np.mean([region(a, b) for a, b in zip(masks, truth, strict=True)])),
        f=float(np.mean([boundary(a, b) for a, b in zip(masks, truth, strict=True)])),
        looked={reason: len(times) for reason, times in frames.items()},
        kept={reason: sum(_is(masks[t], clip, t + 1, row) for t in times) for reason, times in frames.items()},
        seen=int(shown.sum()),
        gone=int(away.sum()),
        present_when_seen=int((shown & said).sum()),
        absent_when_gone=int((away & ~said).sum()),
    )


def _is(mask: Mask, clip: Clip, frame: int, row: int) -> bool:
    """Whether the mask is this thing's: more than half of it, and more than of any other."""
    ious = [region(mask, clip.ids[frame] == thing.id) for thing in clip.things if (clip.ids[frame] == thing.id).any()]
    own = region(mask, clip.ids[frame] == clip.things[row].id)
    return own > SAME and own >= max(ious)
