"""The demo's tracker: SAM 2's memory, trained on clips of the demo world."""
