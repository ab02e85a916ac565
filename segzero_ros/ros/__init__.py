"""The robot's side of segzero_ros: the only package that imports ROS."""
