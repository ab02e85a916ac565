"""Short films of the tabletop world with the truth of every frame, for training and judging trackers."""
