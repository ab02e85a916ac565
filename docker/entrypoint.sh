#!/bin/bash
# Enters ROS 2 and this package's workspace, then becomes the command.
set -e
# shellcheck disable=SC1090
source "/opt/ros/${ROS_DISTRO}/setup.bash"
# shellcheck disable=SC1091
source /opt/segzero_ros/setup.bash
exec "$@"
