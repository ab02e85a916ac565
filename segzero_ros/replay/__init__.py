"""`segzero replay`: the commands of a recording asked again, and what is different now."""
