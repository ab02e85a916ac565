"""`segzero doctor`: does this machine have what a robot needs, and what to do where it does not."""
