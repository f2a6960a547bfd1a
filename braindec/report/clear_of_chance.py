"""Which of many scores, windows or regions, are better than chance when their number is allowed for."""

from __future__ import annotations

import numpy as np
import pandas as pd

LEVEL = 0.05


def clear_of_chance(rows: pd.DataFrame) -> np.ndarray:
    """Boolean (row,): a corrected p-value below `LEVEL`, and a score on the better side of chance.

    Parameters
    ----------
    rows : ``value``, ``chance``, ``direction``, ``p_corrected``; a chance or p-value that is unknown marks nothing.
    """
    value, chance, p = (pd.to_numeric(rows[name]).to_numpy(float) for name in ("value", "chance", "p_corrected"))
    better = np.where(rows["direction"] == "higher", value > chance, value < chance)
    return better & (p < LEVEL)
