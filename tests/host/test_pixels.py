"""Pixels arrive as they were sent, slots are used again only when nobody needs them, and wrong memory is refused."""

import os

import numpy as np
import pytest

from segzero_ros.host.messages import Map, Picture, ProtocolError
from segzero_ros.host.pixels import KEPT, PER_PIXEL, MappedRing, NoRoom, Ring
from tests.host.conftest import named_memory, open_files, picture


def mapped(ring: Ring) -> MappedRing:
    return MappedRing(ring.as_message(), os.dup(ring.fd))


@pytest.mark.parametrize(("width", "height"), [(64, 48), (1, 1), (97, 31)])
def test_a_frame_arrives_bit_for_bit_and_cannot_be_written_to(width: int, height: int) -> None:
    ring, frame = Ring(1, 2, 64 * 48), picture(width, height)
    arrived = mapped(ring).frame(ring.place(frame, 5))
    assert (arrived.size, arrived.stamp_ns, arrived.frame_id) == (frame.size, 7, "camera")
    assert np.array_equal(arrived.rgb, frame.rgb)
    with pytest.raises(ValueError, match="read-only"):
        arrived.rgb[0, 0, 0] = 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_come_back_beside_their_frame(dtype: type) -> None:
    ring, frame = Ring(1, 2, 64 * 48), picture()
    placed = ring.place(frame, 1)
    labels = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (48, 64), dtype)
    host = mapped(ring)
    assert host.write_labels(placed, labels) == labels.itemsize
    assert np.array_equal(ring.labels(placed.slot, frame.size, labels.itemsize), labels)
    assert np.array_equal(host.frame(placed).rgb, frame.rgb)
    assert host.write_labels(placed, np.zeros((48, 64), dtype)) == 0


def test_the_same_frame_is_found_and_the_oldest_slot_without_users_is_used_next() -> None:
    ring = Ring(1, 3, 64 * 48)
    frames = [picture(seed=n) for n in range(5)]
    slots = [ring.place(frame, n).slot for n, frame in enumerate(frames[:3])]
    assert [ring.find(frame) for frame in frames[:4]] == [*slots, None]
    ring.hold(slots[0])
    assert ring.place(frames[3], 3).slot == slots[1]
    ring.hold(slots[1])
    ring.hold(slots[2])
    with pytest.raises(NoRoom):
        ring.place(frames[4], 4)
    ring.release(slots[0])
    assert ring.place(frames[4], 4).slot == slots[0]


def test_the_memory_has_no_name_and_goes_with_its_last_user() -> None:
    before, files = named_memory(), open_files()
    for number in range(20):
        ring = Ring(number, 4, 1 << 20)
        host = mapped(ring)
        host.frame(ring.place(picture(), 1))
        assert named_memory() == before
    del ring, host
    assert open_files() == files


def test_memory_that_may_shrink_or_is_too_small_or_none_is_refused() -> None:
    unsealed = os.memfd_create("x")
    os.ftruncate(unsealed, 100 * PER_PIXEL)
    ring = Ring(1, 1, 4096)
    for fd, pixels in ((unsealed, 100), (os.dup(ring.fd), 4097), (os.open("/dev/null", os.O_RDWR), 1)):
        with pytest.raises(ProtocolError, match="shared memory"):
            MappedRing(Map(1, 1, pixels), fd)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_the_nodes_memory_cannot_be_taken_from_under_the_host() -> None:
    ring = Ring(1, 1, 4096)
    with pytest.raises(PermissionError):
        os.ftruncate(ring.fd, 10)


@pytest.mark.parametrize(
    "wrong",
    [
        Picture(1, 2, 0, 8, 8, 0, ""),
        Picture(1, 1, 2, 8, 8, 0, ""),
        Picture(1, 1, 0, 8000, 8000, 0, ""),
        Picture(1, 1, 1, 65, 64, 0, ""),
    ],
)
def test_a_picture_outside_the_memory_is_refused(wrong: Picture) -> None:
    with pytest.raises(ProtocolError, match="does not lie"):
        mapped(Ring(1, 2, 64 * 64)).frame(wrong)


def test_many_slots_keep_a_few_pictures_and_grow_only_with_those_that_are_in_use() -> None:
    ring = Ring(1, 20, 64)
    idle = {ring.place(picture(8, 8, seed=number), number).slot for number in range(50)}
    assert idle == set(range(KEPT))
    for number in range(50, 70):
        ring.hold(ring.place(picture(8, 8, seed=number), number).slot)
    with pytest.raises(NoRoom):
        ring.place(picture(8, 8, seed=70), 70)
