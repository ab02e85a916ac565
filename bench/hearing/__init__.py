"""How well commands are heard: word error rate, what survives to the masks, what noise makes of it, how soon a stop."""
