"""`make demo`: camera, node and commander over real DDS; needs ROS 2, the demo world (MuJoCo) and Pillow."""
