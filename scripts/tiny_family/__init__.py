"""Training of the tiny family: small networks in the formats of the published ones, on rendered scenes."""
