"""Predictions -> pictures and words, one step a file."""
