"""Offline training: data, pretraining, rewards, GRPO. Runs on a workstation, never on the robot."""
