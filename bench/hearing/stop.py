"""How soon a spoken "stop" ends a command: `python -m bench.hearing.stop [--count 40] [--out FILE.json]`.

Three processes over real DDS: a node whose engine thinks for minutes and keeps a core busy, the listener, and this one,
which sends a command, says a stop word once there is thinking, and waits for the answer. Counted from the end of the
word: the last loud sample, of a chunk that is published when it is complete. Every other word is said right after a
sentence, whose full transcript is being made then.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.figures import spread
from bench.record import record, write
from segzero_ros.demo.process_group import ProcessGroup, free_domain
from segzero_ros.demo.spoken import demo_listener
from segzero_ros.demo.voice import silence, speak
from segzero_ros.errors import Code
from segzero_ros.hearing.audio import RATE_HZ
from segzero_ros.ros.client import Client
from segzero_ros.ros.hearing.speaker import CHUNK, Speaker
from segzero_ros.ros.processes import NODE, tabletop_camera

WORDS = ("stop", "cancel", "stop it", "please stop")
PARAMETERS = {
    "first_frame_sec": 30.0,
    "timeout_sec": 600.0,
    "stale_sec": 60.0,
    "thinking_budget": 4096,
    "busy_policy": "reject",  # the sentence is heard as a command, which must not end the one at work
}
SENTENCE = "bring me the yellow bottle"
BETWEEN_S = 0.8  # sentence and word: more than the pause that ends a sentence
LOUD = 0.02
PATIENCE_S = 60.0
QUIET_S = 1.5  # before a word


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write what --out asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=40, help="commands that are stopped")
    parser.add_argument("--out", type=Path, help="write the result as JSON")
    options = parser.parse_args(arguments)
    os.environ |= {"ROS_DOMAIN_ID": str(free_domain()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    os.environ["LP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder, ProcessGroup(Path(folder)) as group:
        result = measure(options.count, group)
    print(json.dumps(result, indent=1))
    if options.out:
        command = ("python", "-m", "bench.hearing.stop", "--count", str(options.count))
        write(record("speech: stop", command, {"words": WORDS, **PARAMETERS}, result), options.out)
    return 0


def measure(count: int, group: ProcessGroup) -> dict[str, Any]:
    """Start node, camera and listener; stop ``count`` commands by one word after another."""
    words = [part for name, value in PARAMETERS.items() for part in ("-p", f"{name}:={value}")]
    node = [sys.executable, "-m", "bench.hearing.endless_node", "--ros-args", "-r", f"__node:={NODE}", *words]
    group.start("node", node, os.environ)
    group.start("camera", tabletop_camera(scenario="demo", seed=1).command_line(), os.environ)
    group.start("listener", demo_listener().command_line(), os.environ)
    client, speaker = Client(alive=group.check), Speaker()
    try:
        client.wait_for_node(PATIENCE_S)
        client.wait(speaker.is_heard, PATIENCE_S)
        stop_once(client, speaker, WORDS[0])  # not counted: the model may still be opening
        ends = [stop_once(client, speaker, WORDS[k // 2 % len(WORDS)], SENTENCE if k % 2 else "") for k in range(count)]
    finally:
        speaker.close()
        client.close()
    return {"word_alone": summary(ends[::2]), "after_a_sentence": summary(ends[1::2])}


def summary(ends: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """How commands ended, and how long after the words that stopped them; before the word, something else did."""
    cancelled = [late_s for code, late_s in ends if code == Code.CANCELLED.name]
    late = [late_s for late_s in cancelled if late_s > 0]
    return {
        "ended_before_the_word": len(cancelled) - len(late),
        "codes": dict(Counter(code for code, _ in ends)),
        "after_the_word_s": spread(late),
        "longest_s": round(max(late, default=0.0), 3),
        "each": [f"{WORDS[k % len(WORDS)]}: {late_s:.2f} s" for k, (_, late_s) in enumerate(ends)],
        "within_1_s": sum(late_s <= 1.0 for late_s in late),
    }


def stop_once(client: Client, speaker: Speaker, word: str, sentence: str = "") -> tuple[str, float]:
    """Have a command at work stopped by ``word``; return how it ended, and how long after the word.

    ``sentence``: said before it.
    """
    before = [speak(sentence), silence(BETWEEN_S)] if sentence else []
    samples = np.concatenate([silence(QUIET_S), *before, speak(word)])
    said: list[str] = []

    def speak_once(_text: str) -> None:
        if not said:
            said.append(word)
            speaker.say(samples)

    answer = client.publish_command("the red mug", timeout_s=PATIENCE_S, on_text=speak_once)
    ended_s = time.monotonic()
    if not said:  # refused, as the sentence before was heard late and is at work; the word ends that
        speak_once("")
    speaker.finished.wait(PATIENCE_S)  # a stop is often found in the silence after the word, which is still being said
    tail = len(samples) + -len(samples) % CHUNK - int(np.flatnonzero(np.abs(samples) > LOUD)[-1])
    return Code(answer.code).name, ended_s - speaker.finished_s + tail / RATE_HZ


if __name__ == "__main__":
    sys.exit(main())
