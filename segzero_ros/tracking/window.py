"""Which part of the picture is encoded for which things: windows of its shape, in which small things are large.

A window is as much of the picture as its things need: each takes at most ``SHARE`` of a side that is large enough for
all, and things that fit into one window share it. Its size stays while its things ask for nearly the same (``HOLD``);
its place follows them: what an object remembers is of its surroundings, and stays where it was within the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHARE = 0.35  # of the window's side that the thing's longer side takes
SMALLEST = 0.34  # of the picture's side
MARGIN = 0.1  # of the window's side around what several things share
HOLD = 1.3  # a size is kept until another that is larger or smaller by this is wanted

Box = NDArray[np.float64]
"""x0 y0 x1 y1 in pixels of the picture; it may lie outside."""


@dataclass(frozen=True, slots=True)
class Window:
    """``slices``: rows and columns of the picture. ``rows``: which things are looked for in it."""

    slices: tuple[slice, slice]
    rows: tuple[int, ...]


def size_for(box: Box, picture: tuple[int, int], held: float = 0.0) -> float:
    """The share of the picture's side that a thing's window wants; the one that is held (above 0) while it will do."""
    wide, tall = (box[2] - box[0]) / picture[0], (box[3] - box[1]) / picture[1]
    wanted = float(np.clip(max(wide, tall) / SHARE, SMALLEST, 1.0))
    return held if held and 1 / HOLD < wanted / held < HOLD else wanted


def plan(boxes: Sequence[Box], sizes: Sequence[float], picture: tuple[int, int]) -> list[Window]:
    """Windows for all things: ``boxes`` where they are thought to be, ``sizes`` the shares that each wants."""
    groups: list[_Group] = []
    for row in sorted(range(len(boxes)), key=lambda row: -sizes[row]):
        box = _inside(boxes[row], picture)
        for place, group in enumerate(groups):
            joined = _Group(
                np.concatenate([np.minimum(group.box[:2], box[:2]), np.maximum(group.box[2:], box[2:])]),
                max(group.size, sizes[row]),
                (*group.rows, row),
            )
            if joined.fits(picture):
                groups[place] = joined
                break
        else:
            groups.append(_Group(box, sizes[row], (row,)))
    return [Window(group.slices(picture), tuple(sorted(group.rows))) for group in groups]


@dataclass(frozen=True, slots=True)
class _Group:
    box: Box
    size: float
    rows: tuple[int, ...]

    def fits(self, picture: tuple[int, int]) -> bool:
        wide, tall = (self.box[2] - self.box[0]) / picture[0], (self.box[3] - self.box[1]) / picture[1]
        return self.size >= 1.0 or max(wide, tall) <= self.size * (1 - 2 * MARGIN)

    def slices(self, picture: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of the window around the middle of the box, moved into the picture."""
        width, height = (max(1, round(self.size * side)) for side in picture)
        x = int(np.clip(round((self.box[0] + self.box[2] - width) / 2), 0, picture[0] - width))
        y = int(np.clip(round((self.box[1] + self.box[3] - height) / 2), 0, picture[1] - height))
        return slice(y, y + height), slice(x, x + width)


def first_of(windows: Sequence[Window], waited: Sequence[int], most: int) -> list[Window]:
    """The ``most`` windows whose things have waited longest; ``waited``: steps, one for each thing."""
    return sorted(windows, key=lambda window: -max(waited[row] for row in window.rows))[:most]


def _inside(box: Box, picture: tuple[int, int]) -> Box:
    """The box, or the border's nearest place to it where it lies outside: what left comes back there."""
    far = np.array([*picture, *picture], np.float64)
    return np.clip(box, 0, far)
