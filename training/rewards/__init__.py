"""The rewards of GRPO: two as published, one of this project; docs/rewards.md has their parts side by side.

Each is a plain function of one decoded generation (without special tokens) and its ``Truth`` and returns a ``Reward``
with its parts and their total. None raises on any text, all are linear in it.
"""
