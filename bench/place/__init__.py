"""How far off the places of things are, against the world's truth, and a picture of them."""
