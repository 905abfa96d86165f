"""The model on disk, signed, and the pointer that says which one is deployed."""
