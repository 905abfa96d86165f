"""What comes in: the schema, the sources that bring events, the simulator, their quality, and the split."""
