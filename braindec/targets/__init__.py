"""Stimulus -> target embedding, one target a file."""
