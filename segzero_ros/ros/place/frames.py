"""Where frames are to each other: what `/tf` and `/tf_static` say, interpolated at the moment of a picture.

A small buffer of our own, since tf2's is C++. Covered: chains of any order, moving and fixed; loops; transforms that
are late, out of order, not numbers. Bounded: KEPT_S of at most KEPT transforms of each of MAX_FRAMES frames.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from std_msgs.msg import Header

from segzero_ros.ros.convert import stamp_ns

KEPT, KEPT_S = 1000, 10.0  # as tf2: ten seconds; of a frame at 100 Hz
MAX_FRAMES = 1000
MAX_CHAIN = 64  # frames from one to the root: more is a loop
HOLD_NS = 100_000_000  # how far a moving transform is believed beyond the moments it is known for

Floats = NDArray[np.float64]


class NoTransformError(LookupError):
    """Two frames whose relation at that moment is not known; the message says which part is missing."""


@dataclass(frozen=True, slots=True, eq=False)
class Transform:
    """p in the parent = ``rotation`` (3, 3) @ p in the child + ``shift`` (3,), metres."""

    rotation: Floats
    shift: Floats

    def __matmul__(self, inner: "Transform") -> "Transform":
        """First ``inner``, then this one."""
        return Transform(self.rotation @ inner.rotation, self.rotation @ inner.shift + self.shift)

    def inverse(self) -> "Transform":
        """From the parent to the child."""
        return Transform(self.rotation.T, -self.rotation.T @ self.shift)


IDENTITY = Transform(np.eye(3), np.zeros(3))


class _Track:
    """One child's transforms to its parent over time, by stamp: (7,) quaternion x y z w and shift."""

    def __init__(self, parent: str, fixed: bool) -> None:
        self.parent = parent
        self.fixed = fixed
        self._stamps: list[int] = []
        self._values: list[Floats] = []

    def add(self, stamp: int, value: Floats) -> None:
        if self.fixed:
            self._stamps, self._values = [stamp], [value]
            return
        at = bisect_left(self._stamps, stamp)
        if at < len(self._stamps) and self._stamps[at] == stamp:
            self._values[at] = value
            return
        self._stamps.insert(at, stamp)
        self._values.insert(at, value)
        oldest = self._stamps[-1] - int(KEPT_S * 1e9)
        gone = max(len(self._stamps) - KEPT, bisect_left(self._stamps, oldest))
        del self._stamps[:gone], self._values[:gone]

    def at(self, stamp: int) -> Floats | None:
        """Return the value at ``stamp``, None when that is further than HOLD_NS from what is known."""
        after = bisect_left(self._stamps, stamp)
        if self.fixed:
            return self._values[-1]
        if after == 0 or after == len(self._stamps):
            end = 0 if after == 0 else -1
            return self._values[end] if abs(self._stamps[end] - stamp) <= HOLD_NS else None
        one, two = self._values[after - 1], self._values[after].copy()
        share = (stamp - self._stamps[after - 1]) / (self._stamps[after] - self._stamps[after - 1])
        if one[:4] @ two[:4] < 0:
            two[:4] *= -1  # the same turn, the short way round
        return (1 - share) * one + share * two  # normalised when it is used: a slerp, as near as small steps need


class Transforms:
    """Every frame's way to its parent; any thread may call."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}
        self._lock = threading.Lock()

    def add(self, transforms: Iterable[TransformStamped], *, fixed: bool = False) -> None:
        """Keep them; those that are not numbers or lead a frame to itself are passed over."""
        with self._lock:
            for one in transforms:
                turn, shift = one.transform.rotation, one.transform.translation
                value = np.array([turn.x, turn.y, turn.z, turn.w, shift.x, shift.y, shift.z])
                child, parent = _name(one.child_frame_id), _name(one.header.frame_id)
                length = float(np.linalg.norm(value[:4]))
                if not np.isfinite(value).all() or length < 1e-6 or not child or not parent or child == parent:
                    continue
                value[:4] /= length
                track = self._tracks.get(child)
                if track is None or track.parent != parent or track.fixed != fixed:
                    if track is None and len(self._tracks) >= MAX_FRAMES:
                        continue
                    track = self._tracks[child] = _Track(parent, fixed)
                track.add(stamp_ns(one.header.stamp), value)

    def look_up(self, target: str, source: str, stamp: int) -> Transform:
        """Return what turns points of ``source`` into such of ``target`` at ``stamp`` (ns); ``NoTransformError``."""
        target, source = _name(target), _name(source)
        with self._lock:
            ours, theirs = self._way_up(source), self._way_up(target)
            common = next((frame for frame in ours if frame in theirs), None)
            if common is None:
                raise NoTransformError(f"/tf does not join {source!r} and {target!r}")
            up = self._climb(ours[: ours.index(common)], stamp)
            down = self._climb(theirs[: theirs.index(common)], stamp)
        return down.inverse() @ up

    def _way_up(self, frame: str) -> list[str]:
        way = [frame]
        while frame in self._tracks and len(way) < MAX_CHAIN:
            frame = self._tracks[frame].parent
            way.append(frame)
        return way

    def _climb(self, frames: list[str], stamp: int) -> Transform:
        whole = IDENTITY
        for frame in frames:
            value = self._tracks[frame].at(stamp)
            if value is None:
                raise NoTransformError(f"/tf has nothing of {frame!r} within {HOLD_NS // 1_000_000} ms of the picture")
            whole = Transform(rotation_of(value[:4]), value[4:]) @ whole
        return whole


def transform_message(header: Header, child: str, way: Transform) -> TransformStamped:
    """Say to `/tf` where ``child`` stands in the frame of ``header``: ``way`` from the one to the other."""
    message = TransformStamped(header=header, child_frame_id=child)
    turn, shift = message.transform.rotation, message.transform.translation
    turn.x, turn.y, turn.z, turn.w = (float(value) for value in quaternion_of(way.rotation))
    shift.x, shift.y, shift.z = (float(value) for value in way.shift)
    return message


def _name(frame: str) -> str:
    return frame.lstrip("/")


def rotation_of(quaternion: Floats) -> Floats:
    """Return the rotation (3, 3) of a quaternion x y z w of any length but 0."""
    x, y, z, w = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_of(rotation: Floats) -> Floats:
    """Return the unit quaternion x y z w, w >= 0, of a rotation (3, 3)."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    bilinear = np.array(
        [[a - e - i, 0, 0, 0], [b + d, e - a - i, 0, 0], [c + g, f + h, i - a - e, 0], [h - f, c - g, d - b, a + e + i]]
    )
    quaternion = np.linalg.eigh(bilinear, UPLO="L")[1][:, -1]  # Bar-Itzhack, 2000: sound for every angle
    return np.asarray(quaternion if quaternion[3] >= 0 else -quaternion)
