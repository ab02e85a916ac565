"""Commands as people speak them, for training only."""
