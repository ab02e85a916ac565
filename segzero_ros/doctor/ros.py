"""ROS 2 as this process sees it: installation, messages, environment variables, discovery.

What needs rclpy runs in a process of its own: DDS prints what it likes, and ends a process where it does not start.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from segzero_ros.doctor.finding import Finding
from segzero_ros.errors import one_line

DISTRIBUTIONS = ("humble", "jazzy", "lyrical")  # what the documentation is for
DISCOVERY_S = 20.0
MAX_DOMAIN = 232
RMEM_BYTES = 4 << 20  # a 720p picture has 2.8 MB
PROBE = "segzero_ros.doctor.discovery"


def examine() -> Iterator[Finding]:
    """Look at ROS 2; where there is none, that is one note."""
    if importlib.util.find_spec("rclpy") is None:
        advice = "source /opt/ros/DISTRO/setup.bash first; `segzero ground` and `segzero serve` need none"
        yield Finding("note", "ros", "this Python has no rclpy", advice)
        return
    yield installation(os.environ.get("ROS_DISTRO", ""))
    yield messages()
    yield domain(os.environ.get("ROS_DOMAIN_ID") or "0")
    yield receive_buffer(_kernel("net/core/rmem_max"))
    yield discovery()


def installation(distribution: str) -> Finding:
    """Which distribution it is."""
    if not distribution:
        return Finding("ok", "ros", "rclpy without ROS_DISTRO: the wheels of `make setup`, or a build of your own")
    if distribution not in DISTRIBUTIONS:
        what = f"ROS 2 {distribution[:40]}; the documentation is for {', '.join(DISTRIBUTIONS)}"
        return Finding("warn", "ros", what, "see docs/deploy; other distributions were not tried")
    return Finding("ok", "ros", f"ROS 2 {distribution}")


def messages() -> Finding:
    """Whether this package's messages are built for this Python."""
    if importlib.util.find_spec("segzero_ros.msg") is None:
        advice = "colcon build --packages-select segzero_ros, then source install/setup.bash"
        return Finding("fail", "messages", "segzero_ros.msg is not built for this Python", advice)
    optional = "; vision_msgs too: `detections` is published" if importlib.util.find_spec("vision_msgs") else ""
    return Finding("ok", "messages", f"segzero_ros.msg is there{optional}")


def domain(text: str) -> Finding:
    """ROS_DOMAIN_ID, and how far discovery reaches."""
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE") or (
        "LOCALHOST" if os.environ.get("ROS_LOCALHOST_ONLY") == "1" else "SUBNET"
    )
    if not (text.isascii() and text.isdecimal() and int(text) <= MAX_DOMAIN):
        return Finding("fail", "domain", f"ROS_DOMAIN_ID = {one_line(text)[:40]!r}", f"set it to 0..{MAX_DOMAIN}")
    rmw = os.environ.get("RMW_IMPLEMENTATION") or "the default"
    return Finding("ok", "domain", f"ROS_DOMAIN_ID {text}, discovery {reach}, RMW {rmw}")


def receive_buffer(size: int) -> Finding:
    """The kernel's limit on UDP buffers: too small for raw pictures from another machine."""
    if not size:
        return Finding("note", "udp buffer", "the kernel does not say")
    what = f"net.core.rmem_max {size / 2**20:.1f} MiB"
    if size < RMEM_BYTES:
        advice = f"for raw pictures from another machine: sudo sysctl -w net.core.rmem_max={RMEM_BYTES}"
        return Finding("note", "udp buffer", what, advice)
    return Finding("ok", "udp buffer", what)


def discovery() -> Finding:
    """Whether two nodes of this machine find each other, and whether a grounding node runs."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", PROBE], capture_output=True, text=True, timeout=DISCOVERY_S, check=False
        )
        said = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return Finding(
            "fail", "discovery", f"ROS 2 does not start within {DISCOVERY_S:.0f} s", "look at RMW_IMPLEMENTATION"
        )
    except (ValueError, IndexError):
        why = one_line(done.stderr.strip().rpartition("\n")[2])[:200]
        return Finding(
            "fail", "discovery", f"ROS 2 does not start ({why})", "look at RMW_IMPLEMENTATION and ROS_DOMAIN_ID"
        )
    if not said["found"]:
        advice = "allow multicast on lo (ip link set lo multicast on); look at the firewall, ROS_DISCOVERY_SERVER"
        return Finding("fail", "discovery", "two nodes of this machine do not find each other", advice)
    running = ", ".join(said["nodes"])
    return Finding(
        "ok",
        "discovery",
        f"two nodes met in {said['ms']:.0f} ms; " + (f"running: {running}" if running else "no grounding node runs"),
    )


def _kernel(name: str) -> int:
    try:
        return int(Path("/proc/sys", name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
