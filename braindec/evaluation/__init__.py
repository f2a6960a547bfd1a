"""Scoring: a run's predictions and reconstructions against what was presented, beside the controls."""
