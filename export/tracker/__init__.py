"""A SAM 2 checkpoint with memory -> the graphs that follow what was once segmented."""
