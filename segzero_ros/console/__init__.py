"""`segzero console`: a page for people who stand beside the robot with a browser.

What is heard of the node comes in the ROS client's thread (``Hub``), is turned into JPEG, PNG and JSON there, once, and
handed to the server's thread, which alone touches history and viewers.
"""
