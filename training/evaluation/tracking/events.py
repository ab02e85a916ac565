"""When an identity is at risk: after a thing was hidden or away, and after it met one that looks alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segzero_ros.tabletop.view import CLEAR_FRACTION, CLEAR_SIDE
from training.clips.truth import Clip

SEEN_SHARE = 0.1  # of the pixels it had in the first frame: with fewer a thing is neither seen nor gone
GONE_SHARE = 0.02
SETTLED = 5  # the identity is looked at in this frame of those in which the thing is seen again
NEAR = 0.01  # of the picture's width: things nearer than this meet


def startable(clip: Clip) -> list[int]:
    """The rows of the things that one can ask for in the first frame: large enough, and little of them hidden."""
    height, width = clip.ids.shape[1:]
    rows = []
    for row, thing in enumerate(clip.things):
        mask = clip.ids[0] == thing.id
        tall, wide = mask.any(axis=1).sum(), mask.any(axis=0).sum()
        if clip.visible[0, row] >= CLEAR_FRACTION and wide >= CLEAR_SIDE * width and tall >= CLEAR_SIDE * height:
            rows.append(row)
    return rows


def seen(clip: Clip, row: int) -> NDArray[np.bool_]:
    """In which frames (T,) the thing is seen."""
    return np.asarray(clip.pixels[:, row] >= max(1.0, SEEN_SHARE * clip.pixels[0, row]))


def gone(clip: Clip, row: int) -> NDArray[np.bool_]:
    """In which frames (T,) the thing is hidden, outside the picture, or a rest of it that says nothing."""
    return np.asarray(clip.pixels[:, row] <= GONE_SHARE * clip.pixels[0, row])


def looks(clip: Clip, row: int) -> dict[str, list[int]]:
    """The frames in which the thing's identity is looked at, by what happened before: "hidden", "outside", "met"."""
    shown, found = seen(clip, row), {"hidden": [], "outside": [], "met": []}
    for begin, end in _runs(gone(clip, row)):
        outside = any(clip.where[t][row] == "outside" for t in range(begin, end))
        _add(found["outside" if outside else "hidden"], begin, end, shown)
    for other, thing in enumerate(clip.things):
        mine = clip.things[row]
        if other != row and (thing.kind, thing.colour) == (mine.kind, mine.colour):
            for begin, end in _runs(_near(clip, row, other)):
                _add(found["met"], begin, end, shown)
    return {reason: sorted(set(frames)) for reason, frames in found.items()}


def _add(frames: list[int], begin: int, end: int, shown: NDArray[np.bool_]) -> None:
    after = end + np.flatnonzero(shown[end:])
    if begin > 0 and len(after) >= SETTLED:
        frames.append(int(after[SETTLED - 1]))


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where flags are true without a break: begin and end, half-open."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


def _near(clip: Clip, one: int, other: int) -> NDArray[np.bool_]:
    """In which frames (T,) two things touch or nearly do; they do until both are seen apart again."""
    margin = NEAR * clip.ids.shape[2]
    near = np.zeros(len(clip.ids), np.bool_)
    for t, ids in enumerate(clip.ids):
        a, b = (_box(ids == clip.things[row].id) for row in (one, other))
        near[t] = _touch(a, b, margin) if a is not None and b is not None else t > 0 and near[t - 1]
    return near


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])) if len(rows) else None


def _touch(a: tuple[int, int, int, int], b: tuple[int, int, int, int], margin: float) -> bool:
    across = max(a[0], b[0]) - min(a[2], b[2])
    down = max(a[1], b[1]) - min(a[3], b[3])
    return max(across, down) - 1 <= margin
