"""Dataset adapters: one reader a data set, each with a ``write_fake`` in the true on-disk layout beside it."""
