"""What may be asked about a view of the demo world: what it means, in which words, with what thinking."""
