"""The logs of the running system: their paths, columns and locks, and how they are read."""
