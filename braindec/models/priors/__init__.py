"""Priors: from a predicted embedding to one that looks like a target embedding."""
