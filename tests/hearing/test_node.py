"""The listener over real DDS: audio messages in, commands out; a stop ends the work of the grounding node."""

import importlib.util
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

if importlib.util.find_spec("rclpy") is None or importlib.util.find_spec("segzero_ros.msg") is None:
    pytest.skip("needs rclpy and the built messages; `make test` installs them from wheels", allow_module_level=True)

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from std_msgs.msg import Int16MultiArray, String, UInt8MultiArray
from std_srvs.srv import Trigger

from segzero_ros.hearing.audio import to_pcm16
from segzero_ros.ros.hearing import node as listener_node
from segzero_ros.ros.hearing.node import BadStartError, ListenerNode
from tests.hearing.stand_in import silence, tone
from tests.hearing.test_process import STAND_IN
from tests.ros.console.policy import allowed, used

PATIENCE_S = 30.0
DOMAIN = 101


@pytest.fixture(scope="module", autouse=True)
def ros():
    rclpy.init(args=[], domain_id=DOMAIN)
    yield
    rclpy.try_shutdown()


class Room:
    """The listener, and somebody who talks to it and watches."""

    def __init__(self, **parameters):
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self.listener = ListenerNode(parameter_overrides=overrides)
        self.watcher = rclpy.create_node("watcher")
        self.commands, self.partials, self.health, self.resets = [], [], [], []
        self.watcher.create_subscription(String, "command", lambda m: self.commands.append(m.data), 10)
        self.watcher.create_subscription(String, "speech/partial", lambda m: self.partials.append(m.data), 10)
        self.watcher.create_subscription(DiagnosticArray, "/diagnostics", self.health.append, 10)
        self.watcher.create_service(Trigger, "reset", self.reset)
        kind = UInt8MultiArray if "UInt8" in parameters.get("audio_type", "") else Int16MultiArray
        self.audio = self.watcher.create_publisher(kind, "audio", 100)
        self.executor = SingleThreadedExecutor()
        for node in (self.listener, self.watcher):
            self.executor.add_node(node)

    def reset(self, _request, response):
        self.resets.append(time.monotonic())
        response.success = True
        return response

    def until(self, done):
        end = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < end, (self.commands, self.partials, self.states())
            self.executor.spin_once(timeout_sec=0.05)
        return True

    def say(self, *pieces):
        self.until(lambda: self.audio.get_subscription_count() and self.listener.count_subscribers("command"))
        for chunk in np.array_split(np.concatenate(pieces), 10):
            raw = to_pcm16(chunk)
            bytewise = self.audio.msg_type is UInt8MultiArray
            message = (
                UInt8MultiArray(data=raw) if bytewise else Int16MultiArray(data=np.frombuffer(raw, np.int16).tolist())
            )
            self.audio.publish(message)

    def states(self):
        return [(status.message, {v.key: v.value for v in status.values}) for m in self.health for status in m.status]

    def close(self):
        self.executor.shutdown()
        self.listener.close()
        self.listener.destroy_node()
        self.watcher.destroy_node()


@pytest.fixture
def make_room(monkeypatch):
    monkeypatch.setattr(listener_node, "find_python", lambda engines: Path(sys.executable))
    monkeypatch.setattr(listener_node, "command_line", lambda python: STAND_IN)
    rooms = []

    def make(**parameters):
        rooms.append(Room(**parameters))
        return rooms[-1]

    yield make
    for room in rooms:
        room.close()


@pytest.mark.parametrize("kind", ["std_msgs/msg/Int16MultiArray", "std_msgs/msg/UInt8MultiArray"])
def test_what_is_said_is_published_once_as_a_command(make_room, kind):
    room = make_room(audio_type=kind)
    room.say(silence(0.3), tone("The red mug."), silence(1.0), tone("mumble"), silence(1.0))
    room.until(lambda: any(values["not_taken"] == "1" for _, values in room.states()))
    assert room.commands == ["the red mug"]


def test_a_stop_asks_the_node_to_end_everything_and_is_no_command(make_room):
    room = make_room()
    room.say(silence(0.3), tone("Stop!"), silence(1.0))
    room.until(lambda: room.resets)
    room.until(lambda: any(values["stops"] == "1" for _, values in room.states()))
    assert room.commands == []
    assert len(room.resets) == 1


def test_broken_chunks_are_counted_and_what_comes_after_them_is_heard(make_room):
    room = make_room(audio_type="std_msgs/msg/UInt8MultiArray")
    room.until(room.audio.get_subscription_count)
    room.audio.publish(UInt8MultiArray(data=b"abc"))
    room.audio.publish(UInt8MultiArray(data=bytes(1_000_000)))
    room.say(silence(0.3), tone("The blue ball."), silence(1.0))
    room.until(lambda: room.commands)
    room.until(lambda: any(values["broken_chunks"] == "2" for _, values in room.states()))


def test_without_audio_diagnostics_say_so(make_room, monkeypatch):
    monkeypatch.setattr(listener_node, "QUIET_S", 0.1)
    room = make_room()
    room.until(lambda: any(message.startswith("no audio for") for message, _ in room.states()))


def test_a_wav_file_that_is_not_there_is_told_in_diagnostics(make_room):
    room = make_room(source="wav", wav="/nowhere.wav")
    room.until(lambda: any("could not read '/nowhere.wav'" in message for message, _ in room.states()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"source": "radio"}, "got source = 'radio', want topic or microphone or wav"),
        ({"audio_type": "std_msgs/msg/String"}, "got audio_type = 'std_msgs/msg/String'"),
        ({"audio_type": "audio_common_msgs/msg/AudioData"}, "audio_common_msgs is not installed"),
        ({"stop_words": "!"}, "got stop_words with '!'"),
    ],
)
def test_parameters_that_cannot_work_are_refused_at_start(make_room, wrong, message):
    with pytest.raises(BadStartError) as refused:
        make_room(**wrong)
    assert message in str(refused.value)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("segzero-hearing")] == []


def test_the_security_policy_allows_the_listener_what_it_uses_and_nothing_else(make_room):
    room = make_room()
    assert used(room.listener) == allowed("segzero_listener")
