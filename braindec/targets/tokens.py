"""Embeddings of a single token as flat rows."""

from __future__ import annotations

import numpy as np

from braindec.types import DataError


def flat_values(values: np.ndarray, n_dimensions: int, target: str) -> np.ndarray:
    """Embeddings (n, 1, D) -> (n, D), after checking that D is what ``target`` makes.

    Raises
    ------
    DataError
        If the shape differs.
    """
    if values.ndim != 3 or values.shape[1:] != (1, n_dimensions):
        raise DataError(f"target {target}: expected values of shape (n, 1, {n_dimensions}), found {values.shape}")
    return values[:, 0]
