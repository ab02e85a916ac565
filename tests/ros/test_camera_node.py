"""The demo world's camera: what belongs together has one stamp, and the truth is that of the very frame."""

import json

import numpy as np
import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger

from segzero_ros.ros.convert import frame_decoder, stamp_ns
from segzero_ros.ros.place.frames import Transforms
from segzero_ros.ros.qos import topic_qos

pytest.importorskip("mujoco", reason="the demo world needs MuJoCo")
tabletop = pytest.importorskip("segzero_ros.tabletop", reason="the demo world needs OpenGL")
camera_node = pytest.importorskip("segzero_ros.ros.camera_node")

TOPICS = {
    "image": Image,
    "depth": Image,
    "camera_info": CameraInfo,
    "truth/labels": Image,
    "truth/objects": String,
}


@pytest.fixture
def received(ros, tmp_path):
    """The messages of each topic, until each has three; and the directory of the truth."""
    import rclpy

    from segzero_ros.ros.camera_node import TabletopCamera

    values = {"width": 160, "height": 120, "rate": 50.0, "scenario": "pushed", "truth_dir": str(tmp_path)}
    camera = TabletopCamera(parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])
    client = rclpy.create_node("watcher")
    messages = {name: [] for name in TOPICS}
    for name, kind in TOPICS.items():
        client.create_subscription(kind, name, messages[name].append, topic_qos("image", "reliable"))
    executor = SingleThreadedExecutor()
    executor.add_node(camera)
    executor.add_node(client)
    for _ in range(10_000):
        executor.spin_once(timeout_sec=1.0)
        if min(len(found) for found in messages.values()) >= 3:
            break
    client.destroy_node()
    camera.destroy_node()
    return messages, tmp_path


def test_the_camera_publishes_frames_with_their_truth(received):
    messages, truth_dir = received
    by_stamp = {name: {stamp(message): message for message in found} for name, found in messages.items()}
    common = sorted(set.intersection(*(set(found) for found in by_stamp.values())))
    assert len(common) >= 2
    assert common == sorted(set(common))
    for moment in common[:2]:
        image, depth, info, labels, objects = (by_stamp[name][moment] for name in TOPICS)
        assert frame_decoder(image)().size == (info.width, info.height) == (160, 120)
        assert (depth.encoding, depth.width, labels.encoding) == ("32FC1", 160, "mono8")
        assert info.k[0] == pytest.approx(info.k[4]) == info.p[0]
        numbers = {thing["id"] for thing in json.loads(objects.data)["objects"]}
        assert numbers == set(np.unique(np.frombuffer(labels.data, np.uint8))) - {0}
        logged = tabletop.read_truth(truth_dir, moment)
        assert logged.labels.tobytes() == bytes(labels.data)


def test_an_arm_passes_when_it_is_asked_for(ros, tmp_path):
    import rclpy

    values = {"width": 160, "height": 120, "rate": 20.0, "scenario": "still", "truth_dir": str(tmp_path)}
    camera = camera_node.TabletopCamera(
        parameter_overrides=[Parameter(name, value=value) for name, value in values.items()]
    )
    client = rclpy.create_node("watcher")
    stamps = []
    client.create_subscription(
        Image, "image", lambda message: stamps.append(stamp(message)), topic_qos("image", "reliable")
    )
    wave = client.create_client(Trigger, camera_node.WAVE)
    executor = SingleThreadedExecutor()
    executor.add_node(camera)
    executor.add_node(client)

    def until(condition):
        for _ in range(10_000):
            if condition():
                return
            executor.spin_once(timeout_sec=1.0)
        raise AssertionError("waited in vain")

    def rods():
        view = tabletop.read_truth(tmp_path, stamps[-1]) if stamps else None
        return view.scene.rods if view is not None else ()

    until(lambda: wave.service_is_ready() and len(stamps) > 1)
    assert not rods()
    answer = wave.call_async(Trigger.Request())
    until(answer.done)
    assert answer.result().success
    until(rods)
    client.destroy_node()
    camera.destroy_node()


def stamp(message):
    if isinstance(message, String):
        return json.loads(message.data)["stamp_ns"]
    return stamp_ns(message.header.stamp)


def test_the_frame_of_the_table_is_where_things_stand():
    header = Header(frame_id="eye")
    header.stamp.sec = 7
    with tabletop.Renderer(320, 240) as renderer:
        view = renderer.render(tabletop.sample_scene(107, "test"), depth=True)
    message = camera_node.stand(header, view)
    assert (message.header.frame_id, message.child_frame_id, message.header.stamp) == ("table", "eye", header.stamp)
    transforms = Transforms()
    transforms.add([message])
    way = transforms.look_up("table", "eye", 7_000_000_000)
    for thing in view.things:
        rows, columns = np.nonzero(view.labels == thing.id)
        rays = np.linalg.inv(view.intrinsics) @ np.stack([columns, rows, np.ones_like(rows)])
        seen = way.rotation @ (rays * view.depth_m[rows, columns]) + way.shift[:, None]
        assert seen[2].min() > -0.01, "nothing lies below the table"
        assert np.hypot(*(np.median(seen, axis=1)[:2] - thing.position[:2])) < 0.1
