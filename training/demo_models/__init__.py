"""How the demo reasoner and the demo segmenter are pretrained."""
