"""SAM 2's memory around its graphs: what each object remembers, and what that makes of the next frame.

Equal to transformers' ``Sam2VideoModel`` frame by frame, started with a mask (tests/export/test_tracker.py), with all
objects in one batch whenever they were started. An object remembers the frame it began on, its last ``RECENT`` frames
and its last ``POINTERS`` pointers, and nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from segzero_ros.answer import Target
from segzero_ros.errors import Code, RejectedInput
from segzero_ros.frame import Frame
from segzero_ros.matching import inner_point
from segzero_ros.segmenter import Segmenter, Tracks, check_start

RECENT = 6  # frames besides the first; SAM 2 was trained with seven in all
POINTERS = 15  # besides the first frame's; sixteen in all
ABSENT = -1
SURE = 10.0  # the logit of what is given
GRAPHS: Mapping[str, tuple[str, ...]] = {
    "mask_prompt": ("embedding", "masks"),
    "memory_attention": ("embedding", "memories", "ages", "pointers", "pointer_ages"),
    "track_decoder": ("seen", "fine", "middle"),
    "memory_encoder": ("embedding", "masks", "given", "presence"),
}
"""The memory's graphs by role, with the names of their inputs."""

Floats = NDArray[np.float32]
Seen: TypeAlias = Any
"""What ``prompt`` and ``attend`` make for ``decode``: (N, C, h, w), or what stands for it until the next call."""


class MemoryEngine(Protocol):
    """The memory's graphs on some engine; the picture is the one that the segmenter encoded last."""

    def prompt(self, masks: Floats) -> Seen:
        """Masks (N, S, S) of 0 and 1 -> what the decoder wants of each, (N, C, h, w)."""
        ...

    def attend(self, memories: Floats, ages: NDArray[np.int64], pointers: Floats, pointer_ages: Floats) -> Seen:
        """Each object's past, (N, M, h * w, D), (N, M), (N, P, C), (N, P) -> (N, C, h, w) for the decoder."""
        ...

    def decode(self, seen: Seen) -> tuple[Floats, Floats, Floats, Floats]:
        """-> logits (N, S/4, S/4), IoUs (N,), presence (N,) as logits, pointers (N, C)."""
        ...

    def remember(self, masks: Floats, given: Floats, presence: Floats) -> Floats:
        """Logits (N, S, S), whether they were given (N,) and presence (N,) -> memories (N, h * w, D)."""
        ...


@dataclass(slots=True)
class Past:
    """What one object remembers; the newest entry last."""

    track_id: int
    first: Floats
    first_pointer: Floats
    recent: deque[Floats] = field(default_factory=lambda: deque(maxlen=RECENT))
    pointers: deque[Floats] = field(default_factory=lambda: deque(maxlen=POINTERS))
    age: int = 1  # of the frame it began on, in frames that were remembered

    def remember(self, memory: Floats, pointer: Floats, oldest: int | None = None) -> None:
        """Add a frame; the first one's age ends at ``oldest``."""
        self.recent.append(memory)
        self.pointers.append(pointer)
        self.age = self.age + 1 if oldest is None else min(self.age + 1, oldest)


def begin(engine: MemoryEngine, squashed: Floats, ids: Sequence[int]) -> list[Past]:
    """Objects that begin under masks (N, S, S) of 0 and 1 on the picture that was encoded last."""
    *_, pointers = engine.decode(engine.prompt(squashed))
    sure = np.full(len(squashed), SURE, np.float32)
    memories = engine.remember((2 * squashed - 1) * SURE, np.ones(len(squashed), np.float32), sure)
    return [Past(*entry) for entry in zip(ids, memories, pointers, strict=True)]


def find(engine: MemoryEngine, pasts: Sequence[Past]) -> tuple[Floats, Floats, Floats, Floats]:
    """What the memory says of the picture that was encoded last; see ``MemoryEngine.decode``."""
    memories, ages = _memories(pasts)
    return engine.decode(engine.attend(memories, ages, *_pointers(pasts)))


class Sam2MemoryTracker:
    """``Tracker`` over a ``MemoryEngine`` and the segmenter whose encoder it shares.

    ``image_size``: (width, height) that the encoder was made for.
    """

    kind = "memory"

    def __init__(self, segmenter: Segmenter, engine: MemoryEngine, image_size: tuple[int, int]) -> None:
        self._segmenter, self._engine, self._image_size = segmenter, engine, image_size
        self._objects: list[Past] = []
        self._last_id = 0

    def start(self, frame: Frame, masks: NDArray[np.bool_]) -> tuple[int, ...]:
        """Follow the objects under ``masks`` from now on; see ``Tracker``."""
        check_start(frame, masks, len(self._objects))
        self._segmenter.set_image(frame)
        ids = tuple(range(self._last_id + 1, self._last_id + 1 + len(masks)))
        self._objects += begin(self._engine, np.stack([squash(mask, self._image_size) for mask in masks]), ids)
        self._last_id = ids[-1] if ids else self._last_id
        return ids

    def step(self, frame: Frame) -> Tracks:
        """Find all objects in the next frame."""
        width, height = frame.size
        if not self._objects:
            return no_tracks(frame)
        self._segmenter.set_image(frame)
        logits, ious, presence, made = find(self._engine, self._objects)
        full = np.stack([cv2.resize(low, self._image_size, interpolation=cv2.INTER_LINEAR) for low in logits])
        masks = np.stack([cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR) > 0 for low in logits])
        remembered = self._engine.remember(full, np.zeros(len(full), np.float32), presence)
        for past, memory, pointer in zip(self._objects, remembered, made, strict=True):
            past.remember(memory, pointer)
        chance = 1 / (1 + np.exp(-np.clip(presence, -30, 30)))
        return Tracks(
            tuple(past.track_id for past in self._objects), masks, np.clip(ious, 0, 1), chance.astype(np.float32)
        )

    def forget(self, track_id: int) -> None:
        """Follow one object no longer."""
        self._objects = [past for past in self._objects if past.track_id != track_id]


def no_tracks(frame: Frame) -> Tracks:
    """What is said of a frame in which nothing is followed."""
    return Tracks((), np.zeros((0, *frame.rgb.shape[:2]), np.bool_), *(np.zeros(0, np.float32) for _ in range(2)))


def squash(mask: NDArray[np.bool_], image_size: tuple[int, int]) -> Floats:
    """The mask as the encoder's square sees it, 0 or 1; an object too thin for that keeps what it has most of."""
    cover = cv2.resize(mask.astype(np.float32), image_size, interpolation=cv2.INTER_AREA)
    return (cover >= min(0.5, float(cover.max()))).astype(np.float32)


def _memories(pasts: Sequence[Past]) -> tuple[Floats, NDArray[np.int64]]:
    """Each object's pictures, the first one in front, and how many steps ago they were (0: the first one)."""
    slots = 1 + max(len(past.recent) for past in pasts)
    memories = np.zeros((len(pasts), slots, *pasts[0].first.shape), np.float32)
    ages = np.full((len(pasts), slots), ABSENT, np.int64)
    for row, past in enumerate(pasts):
        memories[row, 0], ages[row, 0] = past.first, 0
        _fill(memories[row, 1:], ages[row, 1:], past.recent)
    return memories, ages


def _pointers(pasts: Sequence[Past]) -> tuple[Floats, Floats]:
    slots = 1 + max(len(past.pointers) for past in pasts)
    pointers = np.zeros((len(pasts), slots, *pasts[0].first_pointer.shape), np.float32)
    ages = np.full((len(pasts), slots), ABSENT, np.float32)
    for row, past in enumerate(pasts):
        pointers[row, 0], ages[row, 0] = past.first_pointer, past.age
        _fill(pointers[row, 1:], ages[row, 1:], past.pointers)
    return pointers, ages


def target_of(mask: NDArray[np.bool_]) -> Target | None:
    """Box and middle of a mask's largest piece; None of an empty one."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if not width:
        return None
    part = np.ascontiguousarray(mask[top : top + height, left : left + width])
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(part.view(np.uint8), connectivity=8)
    piece = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    x, y, w, h = (float(stats[piece, at]) for at in range(4))
    column, row = inner_point(pieces == piece)
    return Target((left + x, top + y, left + x + w, top + y + h), ((left + column, top + row),))


def _fill(places: Floats, ages: NDArray[np.generic], entries: Sequence[Floats] | deque[Floats]) -> None:
    """Put entries into the first places, the newest last, of which the age is 1."""
    for place, entry in enumerate(entries):
        places[place] = entry
        ages[place] = len(entries) - place


def check_memory_graphs(
    image_size: tuple[int, int], inputs: Mapping[str, Sequence[str]], masks: Sequence[int | str | None]
) -> None:
    """Refuse (BUNDLE_FORMAT) graphs without our inputs, or made for another picture than the segmenter's."""
    width, height = image_size
    for role, wanted in GRAPHS.items():
        missing = set(wanted) - set(inputs[role])
        if missing:
            raise _not_ours(f"a {role} without {', '.join(sorted(missing))}", f"{', '.join(wanted)}")
    if list(masks[1:]) != [height, width]:
        raise _not_ours(f"masks of {list(masks[1:])}", f"[{height}, {width}] as the segmenter's pictures")


def _not_ours(got: str, want: str) -> RejectedInput:
    return RejectedInput(
        Code.BUNDLE_FORMAT, f"tracker: got {got}, want {want}; export the bundle again with this version of segzero"
    )
