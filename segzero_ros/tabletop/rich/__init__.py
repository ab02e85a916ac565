"""The rich world: more kinds, shapes and finishes than the simple one, things in, on and under each other, clutter."""
