"""Readers of recordings of people who listen to speech."""
