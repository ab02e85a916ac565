"""A tracker whose engines are in another process, and that process' side of it.

What is followed lives and ends with the host: after a restart ``step`` says so, and the objects are to be started anew.
"""

from __future__ import annotations

import queue
import weakref
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.host import messages
from segzero_ros.host.link import Call, Link
from segzero_ros.host.messages import Track, Tracked
from segzero_ros.matching import inner_point
from segzero_ros.pipeline import Labels, engine_faults, no_labels, paint_labels
from segzero_ros.segmenter import Masks, Tracker, Tracks, check_start

STEP_S = 15.0  # for one frame, the wait for other clients' commands included


class HostTracker:
    """``Tracker`` that asks a host; it belongs to the one that it was started on.

    ``open_link``: returns the link to open engines, or raises ``RejectedInput``.
    """

    def __init__(self, open_link: Callable[[], Link]) -> None:
        self.kind = "unknown"  # until the host has said it
        self._open_link = open_link
        self._link: weakref.ref[Link] | None = None  # its files are closed when its host ends, whoever followed by it
        self._followed: list[int] = []
        self._forget: list[int] = []

    def start(self, frame: Frame, masks: NDArray[np.bool_]) -> tuple[int, ...]:
        """See ``Tracker``; REASONER_DIED where the host has ended since the last start."""
        check_start(frame, masks, len(self._followed))
        fresh = self._link is None
        link = self._open_link() if self._link is None else self._alive(self._link)
        self._link = weakref.ref(link)
        labels = paint_labels(Masks(masks, np.ones(len(masks), np.float32)))
        reply, _ = self._ask(link, frame, len(masks), labels, fresh)
        ids = tuple(row[0] for row in reply.tracks)
        self._followed += ids
        return ids

    def step(self, frame: Frame) -> Tracks:
        """See ``Tracker``; REASONER_DIED where the host has ended: start again."""
        if self._link is None:
            return _tracks([], no_labels(frame))
        reply, labels = self._ask(self._alive(self._link), frame, 0, None, fresh=False)
        return _tracks(reply.tracks, labels)

    def forget(self, track_id: int) -> None:
        """See ``Tracker``; the host is told with the next frame."""
        if track_id in self._followed:
            self._followed.remove(track_id)
            self._forget.append(track_id)

    @staticmethod
    def _alive(link: weakref.ref[Link]) -> Link:
        alive = link()
        if alive is None:
            raise RejectedInput(Code.REASONER_DIED, "the engines' process has ended, and what it followed with it")
        return alive

    def _ask(self, link: Link, frame: Frame, starts: int, labels: Labels | None, fresh: bool) -> tuple[Tracked, Labels]:
        call = link.begin(frame)
        forget, self._forget = self._forget, []
        try:
            width = call.ring.write_labels(call.slot, labels) if labels is not None else 0
            number = call.ring.number_in(call.slot)
            link.send(Track(call.id, number, fresh, starts, width, forget))
            reply = _reply(link, call)
            if reply.code != Code.OK:
                raise RejectedInput(Code(reply.code), reply.detail)
            self.kind = reply.how
            found = call.ring.labels(call.slot, frame.size, reply.labels) if reply.labels else no_labels(frame)
            return reply, found
        finally:
            link.end(call)


def _reply(link: Link, call: Call) -> Tracked:
    try:
        reply = call.replies.get(timeout=STEP_S)
    except queue.Empty:
        link.started.kill()
        link.close()
        raise RejectedInput(Code.REASONER_DIED, "the engine hung while it followed and was ended") from None
    if not isinstance(reply, Tracked):
        raise RejectedInput(
            Code.REASONER_DIED, f"the engines' process {link.started.how_it_ended()}; what it followed is lost with it"
        )
    return reply


def _tracks(rows: list[list[float]], labels: Labels) -> Tracks:
    masks = np.zeros((len(rows), *labels.shape), np.bool_)
    for index in range(len(rows)):
        np.equal(labels, index + 1, out=masks[index])
    ids = tuple(int(row[0]) for row in rows)
    scores, presence = (np.array([row[column] for row in rows], np.float32) for column in (1, 2))
    return Tracks(ids, masks, scores, presence, points=tuple((row[3], row[4]) for row in rows))


class GuestTracker:
    """The host's side of one client's tracker; called by the engine's thread alone."""

    def __init__(self, new_tracker: Callable[[], Tracker]) -> None:
        self._new_tracker = new_tracker
        self._tracker: Tracker | None = None

    def run(self, ask: Track, frame: Frame, labels: Labels | None) -> tuple[Tracked, Labels]:
        """Do what ``ask`` wants with its picture; raises ``RejectedInput``."""
        with engine_faults(Code.SEGMENTER_FAILED):
            if ask.fresh or self._tracker is None:
                self._tracker = self._new_tracker()
            for track_id in ask.forget:
                self._tracker.forget(track_id)
            if labels is not None:
                masks = np.stack([labels == index + 1 for index in range(ask.starts)])
                rows = [[track_id, 0.0, 0.0, 0.0, 0.0] for track_id in self._tracker.start(frame, masks)]
                return Tracked(ask.id, int(Code.OK), "", self._tracker.kind, rows, 0), no_labels(frame)
            tracks = self._tracker.step(frame)
        painted = paint_labels(Masks(tracks.masks, tracks.scores)) if tracks.ids else no_labels(frame)
        rows = [
            [track_id, float(score), float(chance), *_inner_point(painted, index)]
            for index, (track_id, score, chance) in enumerate(
                zip(tracks.ids, tracks.scores, tracks.presence, strict=True), start=1
            )
        ]
        return Tracked(ask.id, int(Code.OK), "", self._tracker.kind, rows, 0), painted


def _inner_point(labels: Labels, index: int) -> tuple[float, float]:
    """Look for it here: the node then needs no OpenCV."""
    mask = labels == index
    return inner_point(mask) if mask.any() else (0.0, 0.0)


def refused(ask: messages.Track, code: Code, detail: str) -> Tracked:
    """Return the end of a ``Track`` that came to nothing."""
    return Tracked(ask.id, int(code), detail[: messages.MAX_TEXT_CHARS], "", [], 0)
