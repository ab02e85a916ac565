"""Click to correct: what a person points at on an answer's picture, masked by the segmenter of the node's bundle.

Where the node shares a host (its parameter `host`), that one is asked. Beside a node that has its engines to itself a
host with the segmenter alone is started, at the first click: a second reasoner would not fit many a robot's memory.
"""

import asyncio
import functools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.answer import Target
from segzero_ros.config import NodeConfig
from segzero_ros.console.history import KeptAnswer, Values, objects_of
from segzero_ros.console.pictures import as_text, labels_png
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.host.pipeline import HostPipeline
from segzero_ros.host.start import start_host
from segzero_ros.matching import box_of_mask, inner_point
from segzero_ros.pipeline import Segmentation, no_labels

MASK_S = 20.0  # for a mask, the wait for the node's own commands included
READY_S = 60.0  # for a segmenter to open
ENGINES = ("host", "bundle", "backend", "engines")  # parameters that say which engines those are


class Masker(Protocol):
    """What is needed of ``host/pipeline.py:HostPipeline``."""

    def mask(
        self, frame: Frame, command: Any, targets: tuple[Target, ...], *, deadline_ns: int | None = None
    ) -> Segmentation:
        """See there."""
        ...

    def close(self) -> None:
        """See there."""
        ...


@dataclass(frozen=True, slots=True)
class Correction:
    """What an answer should have been: ``result`` with the masks, ``targets`` that a person pointed at."""

    number: int
    result: Segmentation
    targets: tuple[Target, ...]

    def values(self, serial: int) -> Values:
        """Return what the page is told."""
        return {
            "type": "corrected",
            "number": self.number,
            "serial": serial,
            "objects": objects_of(self.result),
            "mask": as_text(labels_png(self.result.labels)) if self.result.instances else "",
        }

    def prompts(self) -> list[Values]:
        """Return what was pointed at, for the recording."""
        return [{"box": one.box, "on": one.points, "off": one.off} for one in self.targets]


class Corrector:
    """Asks the segmenter, one correction at a time; in the server's thread, the waiting beside it."""

    def __init__(
        self, parameters: Callable[[], Mapping[str, Any]], open_masker: Callable[[NodeConfig], Masker] | None = None
    ) -> None:
        """``parameters``: of the node, and may wait for them. ``open_masker``: gets them, checked."""
        self._parameters = parameters
        self._open = open_masker or open_host
        self._masker: Masker | None = None
        self._engines: tuple[str, ...] = ()
        self._turn = asyncio.Lock()

    async def correct(self, answer: KeptAnswer, targets: tuple[Target, ...]) -> Correction:
        """Return the masks of ``targets`` on the answer's picture; ``RejectedInput`` says why there are none."""
        if answer.shot is None:
            raise RejectedInput(Code.NO_FRAME, "the picture of this answer is not kept any more; ask again")
        async with self._turn:
            work = functools.partial(self._mask, answer, answer.shot.decode, targets)
            return Correction(answer.number, await asyncio.to_thread(work), targets)

    def close(self) -> None:
        """Leave the host."""
        masker, self._masker = self._masker, None
        if masker is not None:
            masker.close()

    def _mask(self, answer: KeptAnswer, decode: Callable[[], Frame], targets: tuple[Target, ...]) -> Segmentation:
        frame, command = decode(), answer.result.command
        check_inside(targets, frame.size)
        if not targets:
            nothing = f"a person sees nothing that matches {command.text!r}"
            return replace(
                answer.result, code=Code.NO_TARGET, detail=nothing, instances=(), labels=no_labels(frame), frame=frame
            )
        masker = self._opened()
        result = masker.mask(frame, command, targets, deadline_ns=time.monotonic_ns() + int(MASK_S * 1e9))
        if result.code is not Code.OK:
            raise RejectedInput(result.code, result.detail)
        return fitted(result)

    def _opened(self) -> Masker:
        """Return the segmenter, that of other engines where the node has been given others."""
        given = self._parameters()
        if not given:
            raise RejectedInput(Code.NOT_ACTIVE, "the node does not say which engines it has; is it running?")
        config = NodeConfig.from_mapping(given)
        engines = tuple(str(getattr(config, name)) for name in ENGINES)
        if self._masker is None or engines != self._engines:
            self.close()
            self._masker, self._engines = self._open(config), engines
        return self._masker


def open_host(config: NodeConfig) -> HostPipeline:
    """Return the host that a node with this configuration shares, or one of our own with its segmenter, once open."""
    host = start_host(config, "segzero_console", lambda _host, _state: None, segmenter_only=True)
    until = time.monotonic() + READY_S
    while host.state().phase == "loading" and time.monotonic() < until:
        time.sleep(0.01)
    return host


def check_inside(targets: tuple[Target, ...], size: tuple[int, int]) -> None:
    """Refuse (IMAGE_SIZE) a box or a point beside the picture of (width, height)."""
    width, height = size
    for target in targets:
        x0, y0, x1, y1 = target.box
        inside = all(0 <= x <= width and 0 <= y <= height for x, y in (*target.points, *target.off))
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height and inside):
            shown = f"{x0:.0f} {y0:.0f} {x1:.0f} {y1:.0f}"
            raise RejectedInput(Code.IMAGE_SIZE, f"got a box {shown} or a point beside the {width} x {height} picture")


def fitted(result: Segmentation) -> Segmentation:
    """Return the result with boxes around its masks; SEGMENTER_FAILED where nothing is left of an object.

    Pieces of a mask that lie wholly outside the box that a person gave are left out: a segmenter that is told what is
    not meant may find some of it anywhere.
    """
    instances, labels = [], np.zeros_like(result.labels)
    for one in result.instances:
        mask = pieces_in(np.equal(result.labels, one.mask_index), one.box)
        labels[mask] = one.mask_index
        if not mask.any():
            raise RejectedInput(
                Code.SEGMENTER_FAILED, f"nothing is left of object {one.mask_index}; move its points, or remove it"
            )
        instances.append(replace(one, box=box_of_mask(mask), point=inner_point(mask)))
    return replace(result, instances=tuple(instances), labels=labels)


def pieces_in(mask: NDArray[np.bool_], box: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    """Return the connected pieces of a mask (H, W) that have a pixel in the half-open box."""
    x0, y0, x1, y1 = math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])
    _, pieces = cv2.connectedComponents(mask.astype(np.uint8))
    inside = np.unique(pieces[y0:y1, x0:x1])
    return np.asarray(np.isin(pieces, inside[inside > 0]), np.bool_)
