"""Real sizes with random weights on a GPU."""
