"""What the ranker sees of a session and each of its candidates."""
