"""What decides a training of the demo models, and its command line; torch is not needed to ask for --help."""
