"""`ros2 launch segzero_ros demo.launch.py`: the demo world's camera, the grounding node and, if given, one command.

Try `command:="the red mug"`. With `camera:=none` the node listens to a camera of your own on the topic `image`.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from segzero_ros.ros import processes

ARGUMENTS = {
    "image": ("image", "the camera's image topic", None),
    "command": ("", "a sentence to say once, for example 'the red mug'; empty = none", None),
    "bundle": ("tabletop", "name, absolute path or package://PACKAGE/PATH of the bundle", None),
    "namespace": ("", "namespace of all nodes", None),
    "backend": ("auto", "engine that runs the models", list(processes.BACKENDS)),
    "camera": ("tabletop", "tabletop = the demo world's, none = your own", list(processes.CAMERAS)),
    "server": ("", "remote: http://HOST:PORT/v1", None),
    "model": ("", "a checkpoint's directory, or the server's name of its model", None),
    "warm_frame_hz": ("", "how often to look at the newest frame while nobody speaks", None),
    "use_depth": ("true", "place objects in 3-D with `depth` and `camera_info`", ["true", "false"]),
    "config": ("", "parameter file; empty = the defaults", None),
    "log_level": ("info", "of all nodes", ["debug", "info", "warn", "error", "fatal"]),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; the processes follow once their values are known."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning, choices=choices)
        for name, (default, meaning, choices) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Turn the demo's table of processes into launch actions."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    value["use_depth"] = value["use_depth"] == "true"
    return [Node(**processes.launch_arguments(process)) for process in processes.demo(**value)]
