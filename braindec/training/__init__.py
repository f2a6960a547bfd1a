"""Fitting: partitions with a sealed test part, folds, the training loop."""
