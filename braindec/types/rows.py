"""Rows chosen by number or by mask."""

from __future__ import annotations

import numpy as np


def row_numbers(chosen: np.ndarray) -> np.ndarray:
    """Int row numbers: where a boolean mask is true, or the numbers as they are."""
    chosen = np.asarray(chosen)
    return np.flatnonzero(chosen) if chosen.dtype == bool else chosen
