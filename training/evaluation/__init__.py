"""A bundle scored through the robot's own pipeline."""
