"""Activation patterns: which positions of a recording carry what a decoder reads from it.

Legend: N trials, P features (space x time), C decoded values, R sources (values, or their principal components).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from braindec.types import DataError

_BLOCK = 4096
_EXACT_SIZE = 1024
_VANISHING = 1e-9
"""Similarities shorter than this share of what they could be are rounding errors."""


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


@dataclass(frozen=True)
class Localisation:
    """Where a direction of the decoded embedding lies in the signal.

    Attributes
    ----------
    correlation_P : float32, of each feature with the decoded similarity to the direction.
    p_value_P : float64, share of permuted directions (the given one counted in) that a feature follows as closely.
    """

    correlation_P: np.ndarray
    p_value_P: np.ndarray


def localise(
    features_NP: np.ndarray, decoded_NC: np.ndarray, direction_C: np.ndarray, n_permutations: int, seed: int
) -> Localisation:
    """Which features go with the decoded similarity to one embedding (a word's), and with it rather than with others.

    The similarity is the inner product of what is decoded, less its mean, with the embedding, less its part along that
    mean: what all stimuli share says nothing of one word. The part is taken out whatever the embedding's length; a
    word's own embedding (one value of a bag of words) is far shorter than a picture's, and the difference of both would
    mostly point away from the words that are frequent.
    The map is the activation pattern of that one direction, in units of correlation. Permutations exchange the
    embedding's dimensions: a decoder fitted in the same trials follows any direction of its output a little, and so
    does the null. A bag of V words has but V such embeddings, so that no p-value is much below 1 / V.

    Raises
    ------
    DataError
        If numbers of trials or dimensions differ, or the decoded similarity does not vary.

    Source: Haufe et al. 2014, equation 6, for one source.
    """
    if len(features_NP) != len(decoded_NC) or decoded_NC.shape[1] != len(direction_C):
        raise DataError(
            f"localisation: signal {features_NP.shape}, decoded {decoded_NC.shape} and an embedding of "
            f"{len(direction_C)} values do not fit"
        )
    mean_C = decoded_NC.mean(axis=0, dtype=np.float64)
    rng = np.random.default_rng(seed)
    embedding_C = np.asarray(direction_C, dtype=np.float64)
    centred_NC = np.asarray(decoded_NC, dtype=np.float64) - mean_C
    shared = float(mean_C @ mean_C)
    # Taking the part along the mean out of the products spares copies of the directions.
    along_N = centred_NC @ mean_C / shared if shared > 0 else np.zeros(len(centred_NC))
    similarity_NR = np.stack(
        [
            centred_NC @ e_C - (e_C @ mean_C) * along_N
            for e_C in itertools.chain([embedding_C], (rng.permutation(embedding_C) for _ in range(n_permutations)))
        ],
        axis=1,
    )
    length_R = np.linalg.norm(similarity_NR, axis=0)
    if not length_R[0] > _VANISHING * np.linalg.norm(centred_NC) * np.linalg.norm(embedding_C):
        raise DataError("localisation: the decoded similarity is the same for all trials; there is nothing to map")
    similarity_NR /= np.where(length_R > 0, length_R, 1)
    correlation_P, p_value_P = np.empty(features_NP.shape[1]), np.empty(features_NP.shape[1])
    for start in range(0, features_NP.shape[1], _BLOCK):
        block = np.asarray(features_NP[:, start : start + _BLOCK], dtype=np.float64)
        block = block - block.mean(axis=0)
        length_P = np.linalg.norm(block, axis=0)
        found_PR = (block.T @ similarity_NR) / np.where(length_P > 0, length_P, 1)[:, None]
        correlation_P[start : start + _BLOCK] = found_PR[:, 0]
        p_value_P[start : start + _BLOCK] = (np.abs(found_PR) >= np.abs(found_PR[:, :1]) - 1e-12).mean(axis=1)
    return Localisation(correlation_P.astype(np.float32), p_value_P)


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
