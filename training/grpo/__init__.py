"""Reinforcement: GRPO on TRL, from the demo model on a CPU to 7B on several nodes."""
