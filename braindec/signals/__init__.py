"""Pure array functions on trials: splits, normalisation, averaging, noise ceilings."""
