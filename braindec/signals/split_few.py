"""A partition with fewer training trials, as for a new subject who was recorded for an hour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from braindec.types import DataError, Fold


def first_trials(
    table: pd.DataFrame,
    of: Callable[[pd.DataFrame], tuple[Fold, ...]],
    n_trials: int | None = None,
    n_sessions: int | None = None,
) -> tuple[Fold, ...]:
    """The folds of another split with the first training trials only; the later ones are in no part.

    Parameters
    ----------
    table : trial table, in order of time.
    of : the other split; its validation and test trials stay as they are.
    n_trials : so many training trials are kept, those of the first sessions first; None keeps all.
    n_sessions : training trials of so many first sessions are kept (one session of NSD is an hour); None keeps all.

    Raises
    ------
    DataError
        If neither is given, one is below 1, or a fold has fewer training trials or sessions.
    """
    if (n_trials is None and n_sessions is None) or min(n for n in (n_trials, n_sessions, 1) if n is not None) < 1:
        raise DataError(f"first_trials: expected n_trials or n_sessions of at least 1, found {n_trials}, {n_sessions}")
    folds = []
    for fold in of(table):
        session = table["session"].to_numpy()[fold.train]
        kept = fold.train[np.argsort(session, kind="stable")]
        if n_sessions is not None:
            sessions = np.unique(session)
            if len(sessions) < n_sessions:
                raise DataError(
                    f"first_trials: fold {fold.name!r} has {len(sessions)} training sessions of {n_sessions}"
                )
            kept = fold.train[np.isin(session, sessions[:n_sessions])]
        if n_trials is not None:
            if len(kept) < n_trials:
                raise DataError(f"first_trials: {fold.name!r} has {len(kept)} training trials of {n_trials}")
            kept = kept[:n_trials]
        folds.append(replace(fold, train=np.sort(kept)))
    return tuple(folds)
