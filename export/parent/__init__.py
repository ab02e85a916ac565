"""What a quantised checkpoint was made of: `python -m export.parent QUANTISED --of CHECKPOINT`."""
