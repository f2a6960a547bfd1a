"""Similarity matrices between true and predicted features, exact about what is undefined.

Legend: G gallery entries, N predictions, F features (flattened tokens x dims, or pixels), K tokens, D dims.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from braindec.types import DataError

Similarity = Literal["correlation", "cosine"]

_COLUMNS_AT_ONCE = 16_384
"""Features taken at a time, so that wide features (257 x 768) never need a float64 copy of the whole."""

TIE_DECIMALS = 10
"""Similarities equal to this many decimals are tied: identical inputs differ by rounding noise in a matrix product."""


def flattened(values: np.ndarray, name: str) -> np.ndarray:
    """Embeddings (n, K, D), images or any (n, ...) as (n, F).

    Raises
    ------
    DataError
        If a value is not finite.
    """
    flat = np.asarray(values).reshape(len(values), -1)
    if flat.dtype.kind == "f" and not np.isfinite(flat).all():
        rows = np.flatnonzero(~np.isfinite(flat).all(axis=1))
        raise DataError(f"{name}: {len(rows)} of {len(flat)} rows hold NaN or infinite values, first at row {rows[0]}")
    return flat


def similarity_matrix(true_GF: np.ndarray, predicted_NF: np.ndarray, kind: Similarity) -> np.ndarray:
    """Correlation or cosine of every true with every predicted feature vector.

    Parameters
    ----------
    true_GF, predicted_NF : any real dtype; accumulated in float64, `_COLUMNS_AT_ONCE` features at a time.
    kind : ``correlation`` (Pearson, over features) or ``cosine``.

    Returns
    -------
    float64 (G, N), rounded to `TIE_DECIMALS`; NaN where either vector has no direction (constant vectors for
    ``correlation``, zero vectors for ``cosine``).

    Raises
    ------
    DataError
        If the two have different numbers of features.
    """
    if true_GF.shape[1] != predicted_NF.shape[1]:
        raise DataError(
            f"similarity: the gallery has {true_GF.shape[1]} features and the predictions {predicted_NF.shape[1]}; "
            "compute both with the same target"
        )
    n_features = true_GF.shape[1]
    centre_G, centre_N = (
        (true_GF.mean(axis=1, dtype=np.float64), predicted_NF.mean(axis=1, dtype=np.float64))
        if kind == "correlation"
        else (np.zeros(len(true_GF)), np.zeros(len(predicted_NF)))
    )
    dot_GN = np.zeros((len(true_GF), len(predicted_NF)))
    squares_G, squares_N = np.zeros(len(true_GF)), np.zeros(len(predicted_NF))
    for start in range(0, n_features, _COLUMNS_AT_ONCE):
        columns = slice(start, start + _COLUMNS_AT_ONCE)
        part_GF = true_GF[:, columns].astype(np.float64) - centre_G[:, None]
        part_NF = predicted_NF[:, columns].astype(np.float64) - centre_N[:, None]
        dot_GN += part_GF @ part_NF.T
        squares_G += np.einsum("gf,gf->g", part_GF, part_GF)
        squares_N += np.einsum("nf,nf->n", part_NF, part_NF)
    norm_G, norm_N = np.sqrt(squares_G), np.sqrt(squares_N)
    norm_G[~has_direction(true_GF, kind)] = np.nan
    norm_N[~has_direction(predicted_NF, kind)] = np.nan
    return np.round(dot_GN / norm_G[:, None] / norm_N[None, :], TIE_DECIMALS)


def has_direction(features_NF: np.ndarray, kind: Similarity) -> np.ndarray:
    """Boolean (N,): False for constant vectors (``correlation``) or zero vectors (``cosine``)."""
    low, high = features_NF.min(axis=1), features_NF.max(axis=1)
    if kind == "correlation":
        return high != low
    return (high != 0) | (low != 0)
