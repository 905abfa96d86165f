"""The ranker: from training examples to an ordered list."""
