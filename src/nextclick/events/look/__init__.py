"""Looks at data that nobody has described yet: guesses how ingest reads it, or asks one question."""
