"""Masks that belong to now: answers carried to the newest frame, and objects followed from frame to frame.

*Carrying*: while a command is at work the frames that come are kept. An answer older than ``carry_after_s`` when it is
ready is followed through them, faster than they came, until it is of the newest one.
*Following*: the objects of a command that asks for it are followed in every frame the worker has time for. One that is
not seen is hidden; a command all of whose objects have been hidden for ``lost_s`` is grounded again, at most every
``reground_s``, and is lost when that finds nothing. Each frame gives one ``Segmentation`` per followed command.

All of it runs in the worker's thread, but ``keep``, ``stop`` and ``clear``. Covered: engines that end (what they
followed is grounded again), objects too many, frames that change their size. Not covered: two cameras in one node.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from segzero_ros.command import Command
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.matching import box_of_mask, inner_point
from segzero_ros.pipeline import Instance, Segmentation, Timing, error_text, no_labels, paint_labels, unanswered
from segzero_ros.segmenter import Masks, Tracker, Tracks
from segzero_ros.tracking.kept import KeptFrames, chosen
from segzero_ros.worker import Arrival, FrameSource, Job

CARRY_AFTER_S = 0.3
LOST_S = 2.0
REGROUND_S = 5.0
ROUNDS = 3  # of carrying, each through the frames that came during the one before
SHARE = 0.5  # of an answer's age that a round of carrying may take
LEAST_S = 0.1
GONE = 0  # the number of what no tracker knows any more
_log = logging.getLogger(__name__)

Publish = Callable[[Segmentation, Frame | FrameSource], None]
Ground = Callable[[Frame, Command], Segmentation]


@dataclass(slots=True)
class _Member:
    """One followed object. ``track_id``: as everybody sees it; ``number``: as the tracker of the moment does."""

    track_id: int
    number: int
    label: str


@dataclass(slots=True)
class _Group:
    """The objects of one command. Times on the worker's clock; ``grounded_ns``: stamp of the frame looked at."""

    command: Command
    members: list[_Member]
    grounded_ns: int
    seen_at_ns: int
    regrounded_at_ns: int | None = None
    must_reground: bool = False


@dataclass(frozen=True, slots=True)
class _Settings:
    carry_after_s: float = CARRY_AFTER_S
    lost_s: float = LOST_S
    reground_s: float = REGROUND_S


@dataclass(slots=True)
class _Step:
    """What one step found: the tracks by the tracker's numbers, of which frame, and how long it took."""

    tracks: Tracks
    arrival: Arrival
    frame: Frame
    ms: float
    rows: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = {number: row for row, number in enumerate(self.tracks.ids)}


class Following:
    """``worker.Follower``: see the module."""

    def __init__(
        self,
        new_tracker: Callable[[], Tracker],
        publish: Publish,
        *,
        carry_after_s: float = CARRY_AFTER_S,
        lost_s: float = LOST_S,
        reground_s: float = REGROUND_S,
        now: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """``publish`` gets what is found of each followed command in each frame, in whichever thread finds it.

        ``carry_after_s``: 0 = every answer. ``reground_s``: 0 = never ground again.
        """
        self._new_tracker, self._publish, self._now = new_tracker, publish, now
        self._settings = _Settings(carry_after_s, lost_s, reground_s)
        self._tracker: Tracker | None = None
        self._lock = threading.Lock()
        self._groups: dict[str, _Group] = {}
        self._dropped: list[int] = []  # numbers that the tracker has still to forget
        self._kept = KeptFrames()
        self._keeps = False
        self._behind: list[Arrival] = []  # frames of a command's time in which what is followed was not looked for
        self._step_s = 0.05
        self._ids = itertools.count(1)

    # ---- from any thread ----

    @property
    def active(self) -> bool:
        """Whether anything is followed."""
        return bool(self._groups)

    def keep(self, arrival: Arrival) -> None:
        """A frame has come; it is kept while a command is at work."""
        with self._lock:
            if self._keeps:
                self._kept.add(arrival)

    def stop(self, command_id: str) -> Code:
        """Follow the objects of one command no longer, of all if it is ""; TRACK_UNKNOWN where nothing is followed.

        Each command that ends here is said to be CANCELLED.
        """
        with self._lock:
            groups = [group for group in self._groups.values() if command_id in ("", group.command.id)]
            for group in groups:
                self._drop(group)
        for group in groups:
            self._say(unanswered(group.command, Code.CANCELLED, "followed no longer, as asked"), None)
        return Code.OK if groups else Code.TRACK_UNKNOWN

    # ---- from the worker's thread ----

    def begin(self) -> None:
        """A command begins; frames are kept from here on."""
        with self._lock:
            self._keeps = True
            self._kept.clear()

    def carry(
        self, job: Job, result: Segmentation, arrival: Arrival, stopped: Callable[[], bool]
    ) -> tuple[Segmentation, Arrival]:
        """Return the answer and the frame it is of: followed to now if it is old, and from now on if that is wanted."""
        try:
            if result.code is not Code.OK:
                return result, arrival
            old = not job.given and self._now() - arrival.at_ns > self._settings.carry_after_s * 1e9
            if not (old or job.track):
                return result, arrival
            return self._carry(job, result, arrival, old, stopped)
        except RejectedInput as error:
            if error.code is Code.UNSUPPORTED and not job.track:
                return result, arrival
            _log.warning("an answer could not be followed: %s", error)
            note = f"the mask is of the frame that was looked at and is not followed: {error}"
            return replace(result, detail="; ".join(filter(None, (result.detail, note)))), arrival
        finally:
            with self._lock:
                self._keeps = False
                self._behind = self._kept.take()

    def step(self, arrival: Arrival, ground: Ground) -> None:
        """Find all that is followed in a frame and publish it; ``ground`` looks for what is lost."""
        try:
            frame = arrival.decode()
        except RejectedInput:
            return  # said already, by the camera
        self._catch_up(arrival)
        step = self._advance(arrival, frame)
        for group in [*self._groups.values()]:
            if step is None:
                group.must_reground = True
            elif self._is_followed(group):
                self._report(group, step)
            if self._is_followed(group) and (group.must_reground or self._is_lost(group)):
                self._reground(group, arrival, frame, ground)

    # ---- steps ----

    def _is_followed(self, group: _Group) -> bool:
        """Whether nobody has stopped it meanwhile."""
        return self._groups.get(group.command.id) is group

    def _catch_up(self, arrival: Arrival) -> None:
        """Step through frames that passed while a command was at work: a second's leap would lose what moves."""
        behind, self._behind = [frame for frame in self._behind if frame.at_ns < arrival.at_ns], []
        if behind:
            age_s = (self._now() - behind[0].at_ns) / 1e9
            for kept in chosen(behind, self._step_s, max(LEAST_S, SHARE * age_s)):
                self._look(kept)

    def _look(self, arrival: Arrival) -> _Step | None:
        """One step, None also for a frame that cannot be read."""
        try:
            return self._advance(arrival, arrival.decode())
        except RejectedInput:
            return None

    def _carry(
        self, job: Job, result: Segmentation, arrival: Arrival, old: bool, stopped: Callable[[], bool]
    ) -> tuple[Segmentation, Arrival]:
        began_ns = self._now()
        if self._groups:
            self._advance(arrival, result.frame)
        masks = np.stack([result.labels == one.mask_index for one in result.instances])
        numbers = self._start(result.frame, masks)
        tracker = self._tracker
        members = [
            _Member(next(self._ids) if job.track else 0, number, one.label)
            for number, one in zip(numbers, result.instances, strict=True)
        ]
        group = _Group(job.command, members, result.frame.stamp_ns, self._now())
        carried = self._to_now(arrival, stopped, job.deadline_ns) if old else None
        if self._tracker is not tracker:  # it ended on the way, and its numbers mean nothing to the next one
            _forget_numbers(group)
        answer, at = result, arrival
        if carried is not None:
            now = self._answer(group, carried, result)
            if now is None:
                detail = "what was found is hidden in the newest frame; the mask is of the frame that was looked at"
                answer = replace(result, detail="; ".join(filter(None, (result.detail, detail))))
            else:
                answer, at = now, carried.arrival
        if at is arrival:
            answer = _with_ids(answer, members)
        if job.track:
            with self._lock:
                self._groups[job.command.id] = group
        else:
            self._dropped += [member.number for member in members if member.number != GONE]
        ms = (self._now() - began_ns) / 1e6
        return replace(answer, timing=replace(answer.timing, tracking_ms=ms)), at

    def _to_now(self, arrival: Arrival, stopped: Callable[[], bool], deadline_ns: int | None) -> _Step | None:
        """Step through the frames that were kept, and those that came meanwhile; return the last step."""
        last: _Step | None = None
        for _ in range(ROUNDS):
            with self._lock:
                frames = [
                    frame for frame in self._kept.take() if frame.at_ns > (last.arrival if last else arrival).at_ns
                ]
            if not frames:
                break
            age_s = (self._now() - frames[0].at_ns) / 1e9
            for kept in chosen(frames, self._step_s, max(LEAST_S, SHARE * age_s)):
                if stopped() or (deadline_ns is not None and self._now() > deadline_ns):
                    return last
                last = self._look(kept) or last
        return last

    def _start(self, frame: Frame, masks: NDArray[np.bool_]) -> tuple[int, ...]:
        """Start objects; where the engines have ended since, on new ones, and what was followed is grounded again."""
        if self._tracker is None:
            self._tracker = self._new_tracker()
        try:
            return self._tracker.start(frame, masks)
        except RejectedInput as error:
            if error.code is Code.TRACK_REFUSED:
                raise
            self._lose_tracker(error)
            self._tracker = self._new_tracker()
            return self._tracker.start(frame, masks)

    def _advance(self, arrival: Arrival, frame: Frame) -> _Step | None:
        """One step of the tracker; None where its engines have ended."""
        if self._tracker is None:
            return None
        with self._lock:
            dropped, self._dropped = self._dropped, []
        for number in dropped:
            self._tracker.forget(number)
        began_ns = self._now()
        try:
            tracks = self._tracker.step(frame)
        except RejectedInput as error:
            self._lose_tracker(error)
            return None
        seconds = (self._now() - began_ns) / 1e9
        self._step_s += 0.3 * (seconds - self._step_s)
        return _Step(tracks, arrival, frame, 1e3 * seconds)

    def _lose_tracker(self, error: RejectedInput) -> None:
        _log.warning("what was followed is looked for anew: %s", error)
        self._tracker = None
        self._dropped.clear()
        for group in self._groups.values():
            _forget_numbers(group)

    # ---- one followed command ----

    def _report(self, group: _Group, step: _Step) -> None:
        """Say where the objects of a command are in this frame."""
        answer = self._answer(group, step, None)
        if answer is not None:
            group.seen_at_ns = self._now()
            self._say(answer, step.arrival)
        elif not group.must_reground:
            hidden_s = (self._now() - group.seen_at_ns) / 1e9
            self._say(
                self._unseen(group, step.frame, Code.TRACK_HIDDEN, f"not seen for {hidden_s:.1f} s"), step.arrival
            )

    def _is_lost(self, group: _Group) -> bool:
        return self._now() - group.seen_at_ns > self._settings.lost_s * 1e9

    def _reground(self, group: _Group, arrival: Arrival, frame: Frame, ground: Ground) -> None:
        """Look for the objects of a lost command as if it had come anew; what is not found is lost."""
        wait_ns = self._settings.reground_s * 1e9
        last = group.regrounded_at_ns
        if not wait_ns:
            self._lose(group, frame, arrival, "it was not seen any more")
            return
        if last is not None and self._now() - last < wait_ns:
            return
        group.regrounded_at_ns = self._now()
        result = ground(frame, group.command)
        if not self._is_followed(group):
            return
        if result.code in (Code.PREEMPTED, Code.CANCELLED):  # a command came between; the next frame tries again
            group.regrounded_at_ns = last
            return
        if result.code is not Code.OK:
            self._lose(group, frame, arrival, f"it was looked for again: {result.code.name} {result.detail}")
            return
        try:
            masks = np.stack([result.labels == one.mask_index for one in result.instances])
            numbers = self._start(frame, masks)
        except RejectedInput as error:
            self._lose(group, frame, arrival, error.detail)
            return
        self._dropped += [member.number for member in group.members if member.number != GONE]
        group.members = [
            _Member(known.track_id if known else next(self._ids), number, one.label)
            for number, one, known in zip(
                numbers, result.instances, [*group.members, *[None] * len(numbers)][: len(numbers)], strict=True
            )
        ]
        group.seen_at_ns, group.grounded_ns, group.must_reground = self._now(), frame.stamp_ns, False
        self._say(_with_ids(replace(result, reasoning=""), group.members), arrival)

    def _lose(self, group: _Group, frame: Frame, arrival: Arrival, why: str) -> None:
        with self._lock:
            self._drop(group)
        self._say(self._unseen(group, frame, Code.TRACK_LOST, f"{why}; send the command again"), arrival)

    def _drop(self, group: _Group) -> None:
        """Forget a command; the lock is held."""
        if self._groups.pop(group.command.id, None) is not None:
            self._dropped += [member.number for member in group.members if member.number != GONE]

    # ---- messages ----

    def _answer(self, group: _Group, step: _Step, of: Segmentation | None) -> Segmentation | None:
        """The command's objects that are seen in this frame, None without any; ``of``: the answer that is carried."""
        seen = [
            (member, step.rows[member.number])
            for member in group.members
            if member.number in step.rows and step.tracks.masks[step.rows[member.number]].any()
        ]
        if not seen:
            return None
        rows = [row for _, row in seen]
        masks, scores = step.tracks.masks[rows], step.tracks.scores[rows]
        known = step.tracks.points
        points = [known[row] if known is not None else inner_point(mask) for row, mask in zip(rows, masks, strict=True)]
        instances = tuple(
            Instance(member.label, float(score), box_of_mask(mask), point, index, member.track_id)
            for index, ((member, _), mask, score, point) in enumerate(zip(seen, masks, scores, points, strict=True), 1)
        )
        timing = of.timing if of is not None else Timing(tracking_ms=step.ms, total_ms=step.ms)
        return Segmentation(
            group.command,
            Code.OK,
            of.detail if of is not None else "",
            of.reasoning if of is not None else "",
            instances,
            paint_labels(Masks(masks, scores)),
            step.frame,
            timing,
            of.text if of is not None else "",
            tracked=True,
            grounded_ns=group.grounded_ns,
        )

    def _unseen(self, group: _Group, frame: Frame, code: Code, detail: str) -> Segmentation:
        empty = unanswered(group.command, code, detail, frame)
        return replace(empty, labels=no_labels(frame), tracked=True, grounded_ns=group.grounded_ns)

    def _say(self, answer: Segmentation, arrival: Arrival | None) -> None:
        try:
            self._publish(answer, arrival.source if arrival is not None else answer.frame)
        except Exception as error:  # noqa: BLE001 - whoever listens must not end the following
            _log.exception("what was followed could not be published: %s", error_text(error))


def _forget_numbers(group: _Group) -> None:
    """Its tracker has ended: it has to be grounded again."""
    group.must_reground = True
    for member in group.members:
        member.number = GONE


def _with_ids(answer: Segmentation, members: Sequence[_Member]) -> Segmentation:
    """The answer with its objects' ids, ``members`` being these objects."""
    ids = [member.track_id for member in members]
    return replace(
        answer,
        instances=tuple(replace(one, track_id=ids[index]) for index, one in enumerate(answer.instances)),
    )
