"""Choosing among samples.

Legend: N predictions, M samples of each, K tokens, D dimensions.
"""

from __future__ import annotations

import numpy as np


def sample_scores(wanted_NKD: np.ndarray, samples_NMKD: np.ndarray) -> np.ndarray:
    """Cosine of each sample's embedding with the wanted one, (N, M).

    All tokens are laid end to end; an embedding of length 0 has similarity 0.
    """
    wanted = _unit(wanted_NKD.reshape(len(wanted_NKD), 1, -1))
    samples = _unit(samples_NMKD.reshape(*samples_NMKD.shape[:2], -1))
    return (samples * wanted).sum(axis=2)


def best_samples(wanted_NKD: np.ndarray, samples_NMKD: np.ndarray) -> np.ndarray:
    """Which sample's embedding is nearest by cosine to the wanted one, int (N,); the first of equals."""
    return sample_scores(wanted_NKD, samples_NMKD).argmax(axis=1)


def _unit(values: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.divide(values, length, out=np.zeros_like(values), where=length > 0)
