"""Somebody who speaks on `audio`, as a microphone's driver would: a chunk every tenth of a second, silence between."""

import queue
import threading
import time

import numpy as np
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Int16MultiArray

from segzero_ros.hearing.audio import CHUNK_S, RATE_HZ, Samples, to_pcm16

CHUNK = int(CHUNK_S * RATE_HZ)


class Speaker:
    """Publishes from a thread of its own until it is closed; needs ROS to be initialised."""

    def __init__(self) -> None:
        self._node = Node("segzero_speaker")
        qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=50, reliability=ReliabilityPolicy.RELIABLE)
        self._audio = self._node.create_publisher(Int16MultiArray, "audio", qos)
        self._waiting: queue.SimpleQueue[tuple[Samples, bool]] = queue.SimpleQueue()
        self._closing = threading.Event()
        self.finished = threading.Event()  # what was said last has been published
        self.finished_s = 0.0  # when, by the monotonic clock
        self._thread = threading.Thread(target=self._run, name="segzero-speaker", daemon=True)
        self._thread.start()

    def say(self, samples: Samples) -> None:
        """Queue speech; returns at once."""
        self.finished.clear()
        padded = np.concatenate([samples, np.zeros(-len(samples) % CHUNK, np.float32)])
        chunks = padded.reshape(-1, CHUNK)
        for number, chunk in enumerate(chunks, start=1):
            self._waiting.put((chunk, number == len(chunks)))

    def is_heard(self) -> bool:
        """Whether somebody listens."""
        return bool(self._audio.get_subscription_count())

    def close(self) -> None:
        """Be silent and leave the graph."""
        self._closing.set()
        self._thread.join()
        self._node.destroy_node()

    def _run(self) -> None:
        nothing, due = np.zeros(CHUNK, np.float32), time.monotonic()
        while not self._closing.is_set():
            try:
                chunk, is_last = self._waiting.get_nowait()
            except queue.Empty:
                chunk, is_last = nothing, False
            self._audio.publish(Int16MultiArray(data=np.frombuffer(to_pcm16(chunk), "<i2").tolist()))
            if is_last:
                self.finished_s = time.monotonic()
                self.finished.set()
            due = max(due + CHUNK_S, time.monotonic() - 1.0)  # after a standstill not everything at once
            self._closing.wait(max(0.0, due - time.monotonic()))
