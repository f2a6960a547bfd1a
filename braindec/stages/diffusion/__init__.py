"""Latent diffusion conditioned on predicted embeddings: networks, their two halves, and one sampler for all."""
