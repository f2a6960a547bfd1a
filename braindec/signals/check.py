"""Checks of a recording's values."""

from __future__ import annotations

import numpy as np

from braindec.types import DataError, Trials

_BLOCK_VALUES = 1 << 24


def check_finite(trials: Trials) -> None:
    """Refuse NaN and infinite values; a memory-mapped signal is read in blocks.

    Raises
    ------
    DataError
        Naming the subject and the first offending trial, position and time point.
    """
    step = max(1, _BLOCK_VALUES // max(1, int(np.prod(trials.signal.shape[1:]))))
    for start in range(0, len(trials), step):
        bad = ~np.isfinite(trials.signal[start : start + step])
        if not bad.any():
            continue
        trial, position, time = (int(axis[0]) for axis in np.nonzero(bad))
        row = trials.table.iloc[start + trial]
        named = f" ({trials.space.names[position]})" if trials.space.names else ""
        raise DataError(
            f"Trials of subject {trials.subject!r}: {trials.signal[start + trial, position, time]} in trial "
            f"{start + trial} (session {row['session']}, run {row['run']}, stimulus {row['stimulus_id']!r}), position "
            f"{position}{named}, time point {time}; drop that trial or position before going on"
        )
