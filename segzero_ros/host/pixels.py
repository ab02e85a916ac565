"""Pixels in memory that node and host share: frames in, label images out, no copy on the host's side.

The memory has no name (memfd): it is gone with the processes that hold it, however they end. It is sealed against
shrinking, so that neither end can take pages from under the other. A slot holds one picture as RGB and, behind it, its
label image; the node writes another picture into it only when the answers on the one before are out.
"""

import fcntl
import mmap
import os
import weakref
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segzero_ros.frame import Frame
from segzero_ros.host.messages import Map, Picture, ProtocolError
from segzero_ros.pipeline import Labels

KEPT = 4  # pictures without users that are kept before their slots are used again, be there ever so many
PER_PIXEL = 5  # bytes: three of RGB, two of labels
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


class NoRoom(Exception):
    """Every slot holds a picture that has no answer yet."""


@dataclass(slots=True)
class _Slot:
    number: int = -1
    frame: Frame | None = None
    users: int = 0


class Ring:
    """The node's side; ``number`` tells it from earlier ones, ``fd`` is its memory."""

    def __init__(self, number: int, slots: int, pixels: int) -> None:
        """Make room for ``slots`` pictures of at most ``pixels`` each; pages are taken as they are written to."""
        self.number, self.slots, self.pixels = number, slots, pixels
        self.fd = os.memfd_create("segzero", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, self.slots * self.pixels * PER_PIXEL)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)
        self._memory = mmap.mmap(self.fd, 0)
        self._held = [_Slot() for _ in range(self.slots)]
        weakref.finalize(self, os.close, self.fd)

    def as_message(self) -> Map:
        """Return what the host is told of it, beside ``fd``."""
        return Map(self.number, self.slots, self.pixels)

    def find(self, frame: Frame) -> int | None:
        """Return the slot in which ``frame`` lies already."""
        for index, slot in enumerate(self._held):
            if slot.frame is frame:
                return index
        return None

    def place(self, frame: Frame, number: int) -> Picture:
        """Write ``frame`` into the slot whose picture is the oldest without users; ``NoRoom`` where there is none."""
        free = [index for index, slot in enumerate(self._held) if not slot.users]
        if not free:
            raise NoRoom
        idle = [index for index in free if self._held[index].frame is not None]
        if len(idle) < min(KEPT, len(free)):
            index = next(index for index in free if self._held[index].frame is None)
        else:
            index = min(idle, key=lambda index: self._held[index].number)
        self._held[index] = _Slot(number, frame)
        width, height = frame.size
        rgb = np.frombuffer(self._memory, np.uint8, width * height * 3, self._offset(index))
        np.copyto(rgb.reshape(frame.rgb.shape), frame.rgb)
        return Picture(number, self.number, index, width, height, frame.stamp_ns, frame.frame_id)

    def number_in(self, slot: int) -> int:
        """Return the number of the picture in ``slot``."""
        return self._held[slot].number

    def hold(self, slot: int) -> None:
        """Keep the picture in ``slot`` until ``release``."""
        self._held[slot].users += 1

    def release(self, slot: int) -> None:
        """End one ``hold``."""
        self._held[slot].users -= 1

    def labels(self, slot: int, size: tuple[int, int], width_bytes: int) -> Labels:
        """Return a copy of the label image in ``slot``, (H, W) uint8 or uint16 by ``width_bytes``."""
        return _labels(self._memory, self._offset(slot), self.pixels, size, width_bytes).copy()

    def write_labels(self, slot: int, labels: Labels) -> int:
        """Put a label image behind the picture in ``slot``; return its bytes per pixel."""
        size = (labels.shape[1], labels.shape[0])
        np.copyto(_labels(self._memory, self._offset(slot), self.pixels, size, labels.itemsize), labels)
        return labels.itemsize

    def _offset(self, slot: int) -> int:
        return slot * self.pixels * PER_PIXEL


class MappedRing:
    """The host's side of a node's ring; ``ProtocolError`` for memory that is not what its message says."""

    def __init__(self, message: Map, fd: int) -> None:
        """Map the memory and close ``fd``."""
        self.number, self._slots, self._pixels = message.ring, message.slots, message.pixels
        length = message.slots * message.pixels * PER_PIXEL
        try:
            sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
            if not sealed or os.fstat(fd).st_size < length:
                raise ProtocolError("got shared memory that is too small or may shrink")
            self._memory = mmap.mmap(fd, length)
        except (OSError, ValueError) as error:
            raise ProtocolError(f"got no shared memory, {error}") from None
        finally:
            os.close(fd)

    def frame(self, picture: Picture) -> Frame:
        """Return the picture as a frame that lies in the shared memory."""
        count = picture.width * picture.height
        if picture.ring != self.number or picture.slot >= self._slots or count > self._pixels:
            raise ProtocolError("got a picture that does not lie in the shared memory")
        rgb = np.frombuffer(self._memory, np.uint8, count * 3, picture.slot * self._pixels * PER_PIXEL)
        rgb.flags.writeable = False
        return Frame(rgb.reshape(picture.height, picture.width, 3), picture.stamp_ns, picture.frame_id)

    def read_labels(self, picture: Picture, width_bytes: int) -> Labels:
        """Return a copy of the label image behind a picture."""
        size = (picture.width, picture.height)
        offset = picture.slot * self._pixels * PER_PIXEL
        return _labels(self._memory, offset, self._pixels, size, width_bytes).copy()

    def write_labels(self, picture: Picture, labels: Labels) -> int:
        """Put the label image behind its picture; return its bytes per pixel, 0 where all of it is zero."""
        if not labels.any():
            return 0
        size = (picture.width, picture.height)
        offset = picture.slot * self._pixels * PER_PIXEL
        np.copyto(_labels(self._memory, offset, self._pixels, size, labels.itemsize), labels)
        return labels.itemsize


def _labels(memory: mmap.mmap, offset: int, pixels: int, size: tuple[int, int], width_bytes: int) -> NDArray[np.uint8]:
    dtype = np.uint8 if width_bytes == 1 else np.uint16
    count = size[0] * size[1]
    return np.frombuffer(memory, dtype, count, offset + 3 * pixels).reshape(size[1], size[0])  # type: ignore[return-value]
