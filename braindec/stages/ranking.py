"""Choosing among samples without the ground truth.

Legend: N predictions, M samples of each, K tokens, D dimensions.
"""

from __future__ import annotations

import numpy as np


def best_samples(predicted_NKD: np.ndarray, samples_NMKD: np.ndarray) -> np.ndarray:
    """Which sample's embedding is nearest by cosine to the predicted one, int (N,); the first of equals.

    All tokens are laid end to end; an embedding of length 0 has similarity 0.
    """
    predicted = _unit(predicted_NKD.reshape(len(predicted_NKD), 1, -1))
    samples = _unit(samples_NMKD.reshape(*samples_NMKD.shape[:2], -1))
    return (samples * predicted).sum(axis=2).argmax(axis=1)


def _unit(values: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.divide(values, length, out=np.zeros_like(values), where=length > 0)
