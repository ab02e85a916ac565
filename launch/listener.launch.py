"""`ros2 launch segzero_ros listener.launch.py speech_model:=base.en source:=microphone`: the grounding node, spoken to.

With `node:=false` the listener alone, beside a grounding node that runs already.
"""

from launch import LaunchDescription
from segzero_ros.ros import processes
from segzero_ros.ros.hearing.process import ARGUMENTS, spoken


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start listener and node."""
    return processes.launch_description(ARGUMENTS, spoken)
