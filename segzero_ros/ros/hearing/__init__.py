"""Speech on the ROS graph: the node `segzero_listener`, its topics and its process."""
