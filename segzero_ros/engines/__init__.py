"""Engine environments: Pythons of their own for the inference engines, apart from ROS 2's."""
