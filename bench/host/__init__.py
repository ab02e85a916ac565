"""What the border between node and engines costs, and what happens when the engines' process ends or hangs."""
