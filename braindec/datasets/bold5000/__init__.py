"""BOLD5000: `reader.BOLD5000`, and what it is made of."""
