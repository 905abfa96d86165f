"""The features of a candidate, one group a module: each is computed by the same function for training and serving."""
