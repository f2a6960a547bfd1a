"""Dataset adapters, one file each."""
