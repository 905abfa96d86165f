"""How good the lists are: metrics with intervals, against baselines on the same predictions."""
