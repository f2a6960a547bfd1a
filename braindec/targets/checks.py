"""Embeddings that must not be used: of a wrong kind, not finite, or the same for every stimulus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from braindec.contracts import Target
from braindec.targets.entry import all_finite
from braindec.types import DataError

COLLAPSED_ABOVE = 0.9995
_SAMPLED = 96
_FEWEST = 8


def check_batch(target: Target, values: np.ndarray, ids: Sequence[str], name: str) -> None:
    """Refuse values that are not float (n, token, dim) and finite, naming the first stimulus."""
    kind = f"{type(target).__module__}.{type(target).__qualname__}"
    if values.ndim != 3 or len(values) != len(ids) or values.dtype not in (np.float32, np.float16):
        raise DataError(
            f"target {name}: expected float32 ({len(ids)}, token, dim) of {kind}.embed, found {values.dtype} "
            f"{values.shape}"
        )
    if not all_finite(values):
        bad = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))
        raise DataError(
            f"target {name}: NaN or infinite values for {len(bad)} of {len(ids)} stimuli, first {ids[bad[0]]!r}; "
            "they were not cached"
        )


def median_cosine(values: np.ndarray) -> float:
    """Median cosine of the pairs among up to 96 rows, evenly spaced, of (n, K, D)."""
    rows = np.unique(np.linspace(0, len(values) - 1, _SAMPLED).round().astype(np.int64))
    flat = np.stack([values[row].astype(np.float32).ravel() for row in rows])
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = np.divide(flat, norm, out=np.zeros_like(flat), where=norm > 0)
    return float(np.median((unit @ unit.T)[np.triu_indices(len(unit), 1)]))


def check_not_collapsed(target: Target, values: np.ndarray, name: str, folder: Path | None = None) -> float | None:
    """Refuse embeddings of a frozen network that hardly differ between stimuli; returns their median cosine.

    Only targets that say ``distinct = True`` are judged, on eight stimuli or more: classes may well be the same.

    Raises
    ------
    DataError
        If the median cosine of pairs of stimuli is above 0.9995, or every embedding is zero.
    """
    if not getattr(target, "distinct", False) or len(values) < _FEWEST:
        return None
    cosine = median_cosine(values)
    if cosine > COLLAPSED_ABOVE or not any(np.any(values[row]) for row in range(min(len(values), _SAMPLED))):
        delete = "" if folder is None else f" and delete {folder}"
        raise DataError(
            f"target {name}: the embeddings have collapsed: the median cosine between stimuli is {cosine:.5f}; check "
            f"the network's weights, its preprocessing and its dtype{delete}"
        )
    return cosine
