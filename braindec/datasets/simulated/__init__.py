"""The simulated data set: procedurally drawn scenes and a model cortex that sees them."""
