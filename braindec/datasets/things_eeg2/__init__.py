"""THINGS-EEG2: `reader.ThingsEEG2`, and the on-disk dialects that it reads."""
