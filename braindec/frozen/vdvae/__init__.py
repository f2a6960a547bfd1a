"""The very deep VAE of Child (2021): configuration, network, likelihood, and its use as a frozen network."""
