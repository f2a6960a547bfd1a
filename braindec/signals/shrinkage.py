"""Covariances that are shrunk towards a scaled identity.

Legend: N rows (trials or time points), F features.
"""

from __future__ import annotations

import numpy as np


def ledoit_wolf_shrinkage(residual_NF: np.ndarray) -> float:
    """Optimal share in [0, 1] of the scaled identity in the covariance of centred rows (N, F).

    Source: Ledoit & Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", lemma 3.3.
    The three sums are taken over the Gram matrix of trials where that is the smaller one.
    """
    n_trials, n_features = residual_NF.shape
    squares_NF = residual_NF**2
    mean_variance = squares_NF.sum() / (n_trials * n_features)
    gram = residual_NF @ residual_NF.T if n_trials < n_features else residual_NF.T @ residual_NF
    squared_norm = float((gram**2).sum()) / n_trials**2
    fourth = float((squares_NF.sum(axis=1) ** 2).sum())
    distance = squared_norm / n_features - mean_variance**2
    error = (fourth / n_trials - squared_norm) / (n_features * n_trials)
    return 0.0 if error <= 0 else 1.0 if distance <= error else float(error / distance)


def shrunk_covariance(residual_NF: np.ndarray, degrees: int | None = None) -> np.ndarray:
    """Ledoit-Wolf covariance (F, F) of centred rows; ``degrees`` of freedom divide the sum, by default N."""
    n_rows, n_features = residual_NF.shape
    covariance_FF = residual_NF.T @ residual_NF / (n_rows if degrees is None else degrees)
    shrinkage = ledoit_wolf_shrinkage(residual_NF)
    mean_variance = np.trace(covariance_FF) / n_features
    return (1 - shrinkage) * covariance_FF + shrinkage * mean_variance * np.eye(n_features)
