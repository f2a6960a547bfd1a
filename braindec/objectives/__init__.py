"""Objectives: what training minimises, each a function of predictions and targets."""
