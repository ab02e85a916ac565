"""Reinforcement as a study whose every choice was fixed before the first run: docs/reinforcement.md."""
