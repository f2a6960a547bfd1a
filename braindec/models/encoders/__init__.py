"""Encoders: what all subjects share, from features to a latent."""
