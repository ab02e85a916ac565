"""Data sets of every format as examples."""
