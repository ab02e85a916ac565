"""The self-test and the spelling of a bundle: `python -m export.self_test BUNDLE`."""
