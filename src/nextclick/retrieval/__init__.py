"""Sessions → an index and item vectors → candidates with scores."""
