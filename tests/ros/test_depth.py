"""Positions from depth: right where depth is, absent with a reason where not; the 2-D answer always stands."""

import json
import math
import threading

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest
from std_msgs.msg import Header

from segzero_ros.errors import Code, RejectedInput
from segzero_ros.ros import convert
from segzero_ros.ros.depth import KEPT_BYTES, KEPT_IMAGES, DepthBuffer
from segzero_ros.ros.qos import latched_qos, topic_qos
from tests.ros.robot import picture

FX, FY, CX, CY = 50.0, 40.0, 32.0, 24.0


def info(fx=FX):
    message = CameraInfo(width=64, height=48)
    message.k = [fx, 0.0, CX, 0.0, FY, CY, 0.0, 0.0, 1.0]
    return message


def depth_image(metres, *, stamp=(7, 8), size=(48, 64), encoding="32FC1"):
    pixels = np.full(size, metres, np.float32)
    if encoding == "16UC1":
        pixels = (pixels * 1000).astype(np.uint16)
    header = Header(frame_id="camera")
    header.stamp.sec, header.stamp.nanosec = stamp
    return convert.image_message(header, pixels, encoding)


def raised_block():
    """What the fakes find, the middle half of the picture, 10 cm before a wall that is half a metre away."""
    metres = np.full((48, 64), 0.5, np.float32)
    metres[12:36, 16:48] = 0.4
    return convert.image_message(depth_image(1.0).header, metres, "32FC1")


def buffer_with(*images, camera=None):
    buffer = DepthBuffer()
    for image in images:
        buffer.add_image(image)
    if camera is not None:
        buffer.set_info(camera)
    return buffer


def labels(box=(40, 10, 44, 20)):
    image = np.zeros((48, 64), np.uint8)
    x0, y0, x1, y1 = box
    image[y0:y1, x0:x1] = 1
    return image


@pytest.mark.parametrize("encoding", ["32FC1", "16UC1"])
def test_the_position_is_the_median_of_the_visible_surface(encoding):
    depth = depth_image(2.0, encoding=encoding)
    position = buffer_with(camera=info()).locate(labels(), 1, depth)[0]
    assert position == pytest.approx(((41.5 - CX) * 2 / FX, (14.5 - CY) * 2 / FY, 2.0), abs=1e-6)


def test_pixels_without_depth_do_not_count():
    depth = depth_image(2.0)
    rows = np.frombuffer(depth.data, np.float32).reshape(48, 64).copy()
    rows[10:14, 40:44] = [math.nan, math.inf, 0.0, -1.0]
    rows[14, 40:44] = 90.0
    depth = convert.image_message(depth.header, rows, "32FC1")
    assert buffer_with(camera=info()).locate(labels(), 1, depth)[0][2] == 2.0


def test_each_instance_gets_the_median_of_its_own_pixels():
    noise = np.random.default_rng(1)
    owners = noise.integers(0, 301, (48, 64)).astype(np.uint16)  # scattered over the whole picture, 0 = nothing
    metres = noise.uniform(0.5, 3.0, (48, 64)).astype(np.float32)
    metres[noise.random((48, 64)) < 0.2] = np.nan
    depth = convert.image_message(depth_image(1.0).header, metres, "32FC1")
    v, u = np.mgrid[:48, :64]
    points = np.stack([(u - CX) * metres / FX, (v - CY) * metres / FY, metres])
    wanted = [np.nanmedian(points[:, owners == k].astype(np.float64), axis=1) for k in range(1, 301)]
    positions = buffer_with(camera=info()).locate(owners, 300, depth)
    np.testing.assert_allclose(positions, wanted, atol=1e-6)


def test_of_a_large_surface_a_sample_is_near_enough(monkeypatch):
    metres = np.random.default_rng(2).uniform(1.0, 1.2, (48, 64)).astype(np.float32)
    depth = convert.image_message(depth_image(1.0).header, metres, "32FC1")
    buffer, everything = buffer_with(camera=info()), np.ones((48, 64), np.uint8)
    exact = buffer.locate(everything, 1, depth)
    monkeypatch.setattr("segzero_ros.ros.depth.SAMPLED_PIXELS", 1000)
    sampled = buffer.locate(everything, 1, depth)
    assert sampled == buffer.locate(everything, 1, depth) != exact
    assert sampled[0] == pytest.approx(
        exact[0], abs=0.08
    )  # of a surface 1.4 m wide, by a twentieth of the pixels allowed


def test_the_label_image_is_looked_at_once_however_many_objects_there_are():
    class Counted(np.ndarray):
        looks = 0

        def __array_ufunc__(self, ufunc, method, *inputs, **named):
            Counted.looks += 1
            return getattr(ufunc, method)(*(np.asarray(value) for value in inputs), **named)

    def looks(count):
        image = (np.arange(48 * 64).reshape(48, 64) % (count + 1)).astype(np.uint8).view(Counted)
        Counted.looks = 0
        buffer_with(camera=info()).locate(image, count, depth_image(2.0))
        return Counted.looks

    assert looks(64) == looks(1) > 0


def test_an_instance_without_any_depth_has_no_position():
    positions = buffer_with(camera=info()).locate(labels(), 2, depth_image(math.nan))
    assert all(math.isnan(value) for position in positions for value in position)


@pytest.mark.parametrize(
    ("depth", "camera", "says"),
    [
        (None, info(), "no depth image"),
        (depth_image(1.0), None, "no camera_info"),
        (depth_image(1.0, size=(24, 32)), info(), "32 x 24"),
        (depth_image(1.0), info(fx=0.0), "fx=0.0"),
        (depth_image(1.0), info(fx=math.nan), "fx=nan"),
        (picture(64, 48), info(), "rgb8"),
    ],
)
def test_unusable_depth_is_refused_with_its_reason(depth, camera, says):
    with pytest.raises(RejectedInput, match=says) as refused:
        buffer_with(camera=camera).locate(labels(), 1, depth)
    assert refused.value.code == Code.DEPTH_UNUSABLE


def test_the_depth_of_the_same_moment_is_taken():
    buffer = buffer_with(*[depth_image(float(k), stamp=(1, k * 33_000_000)) for k in range(10)])
    nearest = buffer.nearest(1_000_000_000 + 4 * 33_000_000 + 9_000_000)
    assert nearest.header.stamp.nanosec == 4 * 33_000_000
    assert buffer.nearest(3_000_000_000) is None
    assert buffer.nearest(0) is None


def test_old_depth_is_forgotten():
    buffer = buffer_with(*[depth_image(1.0, stamp=(k, 0)) for k in range(KEPT_IMAGES + 5)])
    assert buffer.nearest(0) is None
    assert buffer.nearest(10_000_000_000) is not None


def test_depth_is_kept_up_to_a_number_of_bytes():
    large = [depth_image(1.0, stamp=(k + 1, 0)) for k in range(6)]
    for image in large:
        image.data.frombytes(bytes(KEPT_BYTES // 4))
    buffer = buffer_with(*large)
    assert [image.header.stamp.sec for image in buffer._images] == [4, 5, 6]
    large[0].data.frombytes(bytes(KEPT_BYTES))
    buffer.add_image(large[0])
    assert buffer.nearest(1_000_000_000) is None
    assert buffer.nearest(6_000_000_000) is large[5]


def test_of_depth_with_one_stamp_the_last_is_taken_and_a_stamp_of_zero_is_none():
    images = [depth_image(float(k), stamp=(5, 0)) for k in range(1, 4)]
    assert buffer_with(*images).nearest(5_000_000_000) is images[-1]
    buffer = buffer_with(depth_image(1.0, stamp=(0, 0)), camera=info())
    assert buffer.nearest(0) is None
    with pytest.raises(RejectedInput, match="without a stamp"):
        buffer.locate(labels(), 1, depth_image(1.0), Header(frame_id="camera"))


@pytest.mark.parametrize(
    ("binning", "roi", "shift"),
    [
        ((0, 0), None, (0.0, 0.0)),
        ((1, 1), (0, 0, 64, 48), (0.0, 0.0)),
        ((2, 2), None, (0.0, 0.0)),
        ((2, 4), None, (0.0, 0.0)),
        ((0, 0), (100, 60, 64, 48), (100.0, 60.0)),
        ((2, 2), (20, 10, 128, 96), (20.0, 10.0)),
    ],
)
def test_a_binned_sensor_and_a_part_of_it_give_the_same_place(binning, roi, shift):
    """One camera, whatever part of its sensor the picture shows: a point of the picture is a point of the sensor."""
    steps = [max(1, step) for step in binning]
    camera = CameraInfo(width=64 * steps[0], height=48 * steps[1], binning_x=binning[0], binning_y=binning[1])
    if roi:
        camera.width, camera.height = 640, 480
        camera.roi.x_offset, camera.roi.y_offset, camera.roi.width, camera.roi.height = roi
    camera.k = [300.0, 0.0, 50.0, 0.0, 200.0, 40.0, 0.0, 0.0, 1.0]
    position = buffer_with(camera=camera).locate(labels(), 1, depth_image(2.0))[0]
    on_sensor = (41.5 * steps[0] + shift[0], 14.5 * steps[1] + shift[1])
    assert position == pytest.approx(((on_sensor[0] - 50) * 2 / 300, (on_sensor[1] - 40) * 2 / 200, 2.0), abs=1e-6)


def changed(**fields):
    camera = info()
    for name, value in fields.items():
        setattr(camera, name, value)
    return camera


def matrix(fx=FX, fy=FY, cx=CX, cy=CY):
    return changed(k=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("camera", "says"),
    [
        (changed(width=128, height=96), "128 x 96 with one of 64 x 48"),
        (changed(width=48, height=64), "48 x 64"),
        (changed(width=0, height=0), "0 x 0"),
        (changed(binning_x=2, binning_y=2), "32 x 24"),
        (changed(binning_x=2**32 - 1), "0 x 48"),
        (matrix(fx=1e-300), "fx=1e-300"),
        (matrix(fy=1e300), "fy=1e"),
        (matrix(fx=-50.0), "fx=-50"),
        (matrix(cx=math.nan), "cx=nan"),
        (matrix(cy=1e300), "cy=1e"),
        (changed(k=[FX, 0.0, 0.0, 0.0, FY, 0.0, CX, CY, 1.0]), "row by row"),
        (changed(k=[FX, 0.0, CX, math.nan, FY, CY, 0.0, 0.0, 1.0]), "row by row"),
        (changed(roi=RegionOfInterest(x_offset=60, width=64, height=48)), "64 x 48 from 60, 0 on"),
        (changed(roi=RegionOfInterest(y_offset=2**32 - 1, width=64, height=48)), "leaves 64 x 48"),
    ],
)
def test_a_camera_matrix_that_cannot_be_of_this_picture_is_refused(camera, says):
    with pytest.raises(RejectedInput, match=says) as refused:
        buffer_with(camera=camera).locate(labels(), 1, depth_image(1.0))
    assert refused.value.code == Code.DEPTH_UNUSABLE


@pytest.mark.parametrize(
    ("picture_frame", "depth_frame", "info_frame", "says"),
    [
        ("colour", "infra1", "colour", "'infra1' for a picture in 'colour'"),
        ("colour", "colour", "infra1", "camera_info in the frame 'infra1'"),
        ("colour", "colour", "colour", ""),
        ("colour", "/colour", "", ""),
        ("", "infra1", "infra1", ""),
    ],
)
def test_depth_and_matrix_have_to_be_in_the_pictures_frame(picture_frame, depth_frame, info_frame, says):
    depth, camera, header = depth_image(2.0), info(), Header(frame_id=picture_frame)
    depth.header.frame_id, camera.header.frame_id, header.stamp.sec = depth_frame, info_frame, 7
    buffer = buffer_with(camera=camera)
    if says:
        with pytest.raises(RejectedInput, match=says):
            buffer.locate(labels(), 1, depth, header)
    else:
        assert buffer.locate(labels(), 1, depth, header)[0][2] == 2.0


def with_depth(make_robot, **options):
    """A robot with depth, and its publishers of depth and camera_info."""
    robot = make_robot(use_depth=True, **options).is_("active")
    topics = {"depth": Image, "camera_info": CameraInfo}
    publishers = [robot.client.create_publisher(kind, name, topic_qos(name)) for name, kind in topics.items()]
    robot.until(lambda: all(p.get_subscription_count() for p in publishers), "the subscriptions")
    return robot, *publishers


def test_the_answer_has_positions_and_a_target(make_robot):
    robot, depths, infos = with_depth(make_robot)
    targets = robot.listen("target", PoseStamped)
    infos.publish(info())
    depths.publish(raised_block())
    buffer = robot.node._camera._depth
    robot.until(lambda: buffer.nearest(7_000_000_008) and buffer._info, "the depth")
    robot.publish_image()
    robot.send_command("the mug")
    answer = robot.answer()
    assert (answer.code, answer.detail) == (Code.OK, "")
    assert answer.instances[0].position.z == pytest.approx(0.4)
    target = robot.until(lambda: targets, "the target")[0]
    assert target.header == answer.header
    assert target.pose.position.z == pytest.approx(0.45, abs=0.01), "the middle of what stands 10 cm before a wall"


def test_a_command_keeps_the_depth_of_its_frame_when_the_buffer_has_moved_on(make_robot, monkeypatch):
    robot, depths, infos = with_depth(make_robot)
    buffer, publish = robot.node._camera._depth, robot.node._commands._publish
    monkeypatch.setattr(robot.node._commands, "_publish", lambda *end: (buffer._images.clear(), publish(*end))[1])
    infos.publish(info())
    depths.publish(depth_image(2.0))
    robot.until(lambda: buffer.nearest(7_000_000_008) and buffer._info, "the depth")
    robot.publish_image()
    robot.send_command("the mug")
    assert robot.answer().instances[0].position.z == 2.0


def test_without_usable_depth_the_answer_is_whole_and_says_why_it_is_flat(make_robot):
    robot, depths, _infos = with_depth(make_robot)
    depths.publish(depth_image(2.0))
    robot.publish_image()
    robot.send_command("the mug")
    answer = robot.answer()
    assert (answer.code, len(answer.instances)) == (Code.OK, 1)
    assert answer.detail.startswith("DEPTH_UNUSABLE: got no ")
    assert math.isnan(answer.instances[0].position.z)


def test_the_demo_worlds_depth_agrees_with_its_geometry():
    tabletop = pytest.importorskip("segzero_ros.tabletop", reason="needs MuJoCo")
    from segzero_ros.ros.camera_node import camera_info, objects

    with tabletop.Renderer(320, 240) as renderer:
        view = renderer.render(tabletop.sample_scene(seed=3, split="test"), depth=True)
    header = Header(frame_id="camera")
    buffer = buffer_with(camera=camera_info(header, view))
    depth = convert.image_message(header, view.depth_m, "32FC1")
    thing = max((thing for thing in view.things if thing.clear), key=lambda thing: thing.pixels)
    found = np.array(buffer.locate((view.labels == thing.id).astype(np.uint8), 1, depth)[0])
    truth = view.camera.to_camera(np.array([thing.position]))[0]
    assert np.linalg.norm(found - truth) < 0.15, "the visible surface is within a thing's size of its base"
    assert json.loads(json.dumps(objects(5, view)))["objects"][0]["id"] == view.things[0].id


def test_an_answer_waits_for_depth_that_comes_after_its_picture(make_robot):
    robot, depths, infos = with_depth(make_robot)
    buffer = robot.node._camera._depth
    infos.publish(info())
    depths.publish(depth_image(9.0, stamp=(6, 0)))
    robot.until(lambda: buffer._images and buffer._info, "the depth of before")
    wait, waiting = robot.node._camera.wait_for_depth, threading.Event()
    robot.node._camera.wait_for_depth = lambda *given: (waiting.set(), wait(given[0], math.inf, given[2]))
    robot.publish_image()
    robot.send_command("the mug")
    robot.until(waiting.is_set, "the wait")
    assert not robot.answers
    depths.publish(depth_image(2.0))
    assert robot.answer().instances[0].position.z == 2.0


@pytest.mark.parametrize("stamps", [[], [(8, 0)]])
def test_an_answer_does_not_wait_for_depth_that_will_not_come(make_robot, stamps):
    robot, depths, infos = with_depth(make_robot)
    buffer = robot.node._camera._depth
    infos.publish(info())
    for stamp in stamps:
        depths.publish(depth_image(9.0, stamp=stamp))
    robot.until(lambda: len(buffer._images) == len(stamps) and buffer._info, "the camera")
    wait = robot.node._camera.wait_for_depth
    robot.node._camera.wait_for_depth = lambda *given: wait(given[0], math.inf, given[2])  # for ever, if it did
    robot.publish_image()
    robot.send_command("the mug")
    assert "no depth image" in robot.answer().detail


def test_a_command_that_is_to_stop_does_not_wait_for_depth(make_robot):
    robot, depths, _ = with_depth(make_robot)
    depths.publish(depth_image(9.0, stamp=(6, 0)))
    robot.until(lambda: robot.node._camera._depth._images, "the depth of before")
    wait, waiting = robot.node._camera.wait_for_depth, threading.Event()
    robot.node._camera.wait_for_depth = lambda *given: (waiting.set(), wait(given[0], math.inf, given[2]))
    robot.publish_image()
    robot.send_command("the mug")
    robot.until(waiting.is_set, "the wait")
    robot.reset()
    assert "DEPTH_UNUSABLE" in robot.answer().detail


def test_a_latched_camera_info_of_before_is_heard_and_a_reset_keeps_it(ros, make_robot):
    before = rclpy.create_node("driver")
    latched = before.create_publisher(CameraInfo, "camera_info", latched_qos("camera_info"))
    latched.publish(info())
    robot, depths, _ = with_depth(make_robot)
    robot.until(lambda: robot.node._camera._depth._info, "the latched matrix")
    robot.reset()
    depths.publish(depth_image(2.0))
    robot.until(lambda: robot.node._camera._depth._images, "the depth")
    robot.publish_image()
    robot.send_command("the mug")
    assert robot.answer().instances[0].position.z == 2.0
    before.destroy_node()
