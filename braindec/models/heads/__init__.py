"""Heads: from the latent to a target's shape."""
