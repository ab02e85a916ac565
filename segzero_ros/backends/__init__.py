"""Engines behind the Reasoner and Segmenter protocols; each is imported only when a bundle asks for it."""
