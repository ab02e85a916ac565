"""How well a mask fits the world of the moment in which it is published, with and without following it to now."""
