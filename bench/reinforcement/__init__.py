"""Figures, tables and plots of the study of reinforcement (docs/reinforcement.md), from the runs' answers."""
