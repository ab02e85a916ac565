"""Engines in a process of their own: what the node talks to, and the process that answers it.

The node's side (``pipeline``, ``process``, ``link``) imports no engine; the host's side (``server``, ``room``) no ROS.
Both share ``protocol``, ``messages`` and ``pixels``, which do no I/O or only that with memory.
"""
