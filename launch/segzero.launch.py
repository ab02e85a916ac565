"""`ros2 launch segzero_ros segzero.launch.py image:=/camera/image_raw`: the grounding node for a camera of your own."""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from segzero_ros.ros import processes

ARGUMENTS = {
    "image": ("image", "the camera's image topic", None),
    "depth": ("depth", "the depth image topic, registered to the image", None),
    "camera_info": ("camera_info", "the camera matrix' topic", None),
    "image_transport": ("", "raw or compressed; empty = as in the parameter file", ["", "raw", "compressed"]),
    "bundle": ("", "name, absolute path or package://PACKAGE/PATH; empty = as in the parameter file", None),
    "namespace": ("", "namespace of the node", None),
    "backend": ("", "engine that runs the models; empty = as in the parameter file", ["", *processes.BACKENDS]),
    "server": ("", "remote: http://HOST:PORT/v1", None),
    "model": ("", "a checkpoint's directory, or the server's name of its model", None),
    "warm_frame_hz": ("", "how often to look at the newest frame while nobody speaks", None),
    "use_depth": ("false", "place objects in 3-D with `depth` and `camera_info`", ["true", "false"]),
    "config": ("", "parameter file, a copy of config/segzero.yaml; empty = the defaults", None),
    "log_level": ("info", "of the node", ["debug", "info", "warn", "error", "fatal"]),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; the process follows once their values are known."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning, choices=choices)
        for name, (default, meaning, choices) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Start the one process."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    value["use_depth"] = value["use_depth"] == "true"
    return [Node(**processes.launch_arguments(processes.node(**value)))]
