"""Scores of decoded material, with chance, intervals and controls."""
