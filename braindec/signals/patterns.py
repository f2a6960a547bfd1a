"""Activation patterns: which positions of a recording carry what a decoder reads from it.

Legend: N trials, P features (space x time), C decoded values, R sources (values, or their principal components).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braindec.types import DataError

_BLOCK = 4096
_EXACT_SIZE = 1024


@dataclass(frozen=True)
class Patterns:
    """Activation patterns of decoded values.

    Attributes
    ----------
    activation_CP : float32, the change of each feature with a standard deviation of each value, the others held; None
        where the values were reduced to components.
    strength_P : float32 in [0, 1], multiple correlation of each feature with all sources: the share of its standard
        deviation that goes with what is decoded. It does not depend on how the sources are scaled or rotated.
    """

    activation_CP: np.ndarray | None
    strength_P: np.ndarray


def activation_patterns(features_NP: np.ndarray, decoded_NC: np.ndarray, max_sources: int, seed: int = 0) -> Patterns:
    """Patterns A = cov(X) W cov(S)^-1 of a linear decoder S = X W, over the trials given.

    Since cov(X) W = cov(X, S), the weights themselves are not needed, and any decoder has patterns; those of one that
    is not linear are the least-squares prediction of the signal from what it decodes. A singular cov(S) is inverted in
    its range (class scores that sum to zero, more values than trials). With more than ``max_sources`` values, their
    first principal components are the sources.

    Parameters
    ----------
    features_NP : (N, P), training trials only.
    decoded_NC : (N, C), predicted for the same trials before any squashing.
    seed : of the randomised decomposition of large arrays.

    Raises
    ------
    DataError
        If the numbers of trials differ, or nothing decoded varies.

    Source: Haufe et al. 2014, "On the interpretation of weight vectors of linear models in multivariate neuroimaging",
    NeuroImage 87:96-110, equation 6.
    """
    if len(features_NP) != len(decoded_NC):
        raise DataError(f"patterns: {len(features_NP)} trials of signal, {len(decoded_NC)} of decoded values")
    decoded = np.asarray(decoded_NC, dtype=np.float64) - decoded_NC.mean(axis=0, dtype=np.float64)
    left_NR, scale_R, right_RC = _decomposition(decoded, max_sources, seed)
    covarying_PR = np.empty((features_NP.shape[1], len(scale_R)))
    variance_P = np.empty(features_NP.shape[1])
    for start in range(0, features_NP.shape[1], _BLOCK):
        block = np.asarray(features_NP[:, start : start + _BLOCK], dtype=np.float64)
        block = block - block.mean(axis=0)
        covarying_PR[start : start + _BLOCK] = block.T @ left_NR
        variance_P[start : start + _BLOCK] = (block**2).sum(axis=0)
    shared_P = (covarying_PR**2).sum(axis=1)
    strength_P = np.sqrt(np.divide(shared_P, variance_P, out=np.zeros_like(shared_P), where=variance_P > 0))
    activation_CP = None
    if decoded.shape[1] <= max_sources:
        activation_CP = (((covarying_PR / scale_R) @ right_RC) * decoded.std(axis=0)).T.astype(np.float32)
    return Patterns(activation_CP, np.minimum(strength_P, 1).astype(np.float32))


def _decomposition(decoded: np.ndarray, max_sources: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left vectors (N, R), singular values (R,) and right vectors (R, C) of centred values, without null directions."""
    if min(decoded.shape) <= _EXACT_SIZE:
        left, scale, right = np.linalg.svd(decoded, full_matrices=False)
    else:
        from sklearn.utils.extmath import randomized_svd

        left, scale, right = randomized_svd(decoded, max_sources, random_state=seed)
    kept = scale > 1e-6 * scale[0]
    if not kept.any() or not np.isfinite(scale).all():
        raise DataError("patterns: the decoder predicts the same for all training trials; there is nothing to map")
    kept[max_sources:] = False
    return left[:, kept], scale[kept], right[kept]
