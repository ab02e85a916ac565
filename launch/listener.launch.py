"""`ros2 launch segzero_ros listener.launch.py speech_model:=base.en source:=microphone`: the grounding node, spoken to.

With `node:=false` the listener alone, beside a grounding node that runs already.
"""

from launch import LaunchDescription
from segzero_ros.ros import processes
from segzero_ros.ros.hearing.process import spoken

ARGUMENTS = {
    "audio": ("audio", "the topic of PCM chunks", ()),
    "audio_type": ("", "its message; empty = std_msgs/msg/Int16MultiArray", ()),
    "source": ("", "where the audio comes from; empty = topic", ("", "topic", "microphone", "wav")),
    "microphone": ("", "its name or number; empty = the default one", ()),
    "wav": ("", "the path of a WAV file", ()),
    "speech_model": ("", "the recogniser's model: a folder, or a name that was downloaded before", ()),
    "speech_engines": ("", "the recogniser's environment; empty = speech", ()),
    "words": ("", "words and phrases to expect, with commas", ()),
    "wake_phrase": ("", "what a sentence has to begin with; empty = nothing", ()),
    "stop_words": ("", "what ends work at once; empty = stop, cancel, halt, abort", ()),
    "listener_config": ("", "the listener's parameter file; empty = the defaults", ()),
    "node": ("true", "true = the grounding node, too; false = the listener alone", ("true", "false")),
    "depth": ("depth", "the depth image topic, registered to the image", ()),
    "camera_info": ("camera_info", "the camera matrix' topic", ()),
    "image_transport": ("", "raw or compressed; empty = as in the parameter file", ("", "raw", "compressed")),
    "use_depth": ("", "place objects in 3-D with `depth` and `camera_info`; empty = as in the file", ()),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start listener and node."""
    return processes.launch_description(ARGUMENTS, spoken)
