"""The recogniser in a process of its own: both ends and what is spoken between them."""
