"""What every local reasoner shares: prompt, preprocessing, generation, the grammar of answers."""
