"""Following: the masks of one picture, kept on their objects in the pictures after it."""
