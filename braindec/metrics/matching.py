"""Transductive rescoring of a similarity matrix: every prediction's score depends on all test predictions.

Undefined similarities (NaN) count as 0, the similarity of unrelated vectors.

Legend: N predictions, G gallery entries.
"""

from __future__ import annotations

import numpy as np

from braindec.metrics.similarity import TIE_DECIMALS


def csls(similarity_NG: np.ndarray, n_neighbours: int = 10) -> np.ndarray:
    """Cross-domain similarity local scaling: less for candidates that are near to everything.

    Source: Conneau et al. 2018, equation 3, with 10 neighbours.
    """
    known_NG = np.nan_to_num(similarity_NG)

    def neighbourhood(values: np.ndarray) -> np.ndarray:
        nearest = min(n_neighbours, values.shape[1])
        return np.sort(values, axis=1)[:, -nearest:].mean(axis=1)

    local_N, local_G = neighbourhood(known_NG), neighbourhood(known_NG.T)
    return np.round(2 * known_NG - local_N[:, None] - local_G[None, :], TIE_DECIMALS)


def sinkhorn(similarity_NG: np.ndarray, temperature: float = 0.05, n_iterations: int = 100) -> np.ndarray:
    """Logarithm of the transport plan that gives every prediction and every candidate its equal share.

    Source: Cuturi 2013, algorithm 1, in the logarithmic domain.
    """
    from scipy.special import logsumexp

    plan_NG = np.nan_to_num(similarity_NG) / temperature
    for _ in range(n_iterations):
        plan_NG = plan_NG - logsumexp(plan_NG, axis=0, keepdims=True) - np.log(plan_NG.shape[1])
        plan_NG = plan_NG - logsumexp(plan_NG, axis=1, keepdims=True) - np.log(plan_NG.shape[0])
    return np.round(plan_NG, TIE_DECIMALS)


def hungarian(similarity_NG: np.ndarray) -> np.ndarray:
    """1.0 where the one-to-one assignment of highest total similarity pairs prediction and candidate, else 0.0."""
    from scipy.optimize import linear_sum_assignment

    assigned_NG = np.zeros(similarity_NG.shape)
    assigned_NG[linear_sum_assignment(np.nan_to_num(similarity_NG), maximize=True)] = 1.0
    return assigned_NG
