"""What the reasoner's pretraining is made of: one step's data, the model with its losses, greedy evaluation."""
