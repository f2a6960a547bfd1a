from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest

from braindec.types import Space, Trials


def trial_table(
    n_stimuli: int = 6, n_repetitions: int = 3, n_sessions: int = 2, seed: int = 0, split: Sequence[str] | None = None
) -> pd.DataFrame:
    """Shuffled trials; two stimuli a concept, the last third of the stimuli is the published test part."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(n_stimuli * n_repetitions)
    stimulus, repetition = order % n_stimuli, order // n_stimuli
    in_test = stimulus >= n_stimuli - max(1, n_stimuli // 3)
    return pd.DataFrame(
        {
            "stimulus_id": [f"s{i:03d}" for i in stimulus],
            "concept": [f"c{i // 2:03d}" for i in stimulus],
            "session": np.arange(len(order)) * n_sessions // len(order),
            "run": np.arange(len(order)) % 2,
            "repetition": repetition,
            "split": np.where(in_test, "test", "train") if split is None else split,
        }
    )


@pytest.fixture(scope="session")
def make_table() -> Callable[..., pd.DataFrame]:
    return trial_table


@pytest.fixture(scope="session")
def make_trials() -> Callable[..., Trials]:
    def make(signal: np.ndarray, table: pd.DataFrame | None = None, **fields: object) -> Trials:
        signal = np.asarray(signal, dtype=np.float32)
        if table is None:
            table = trial_table(n_stimuli=len(signal), n_repetitions=1, n_sessions=1)
        fields = {"subject": "subj01", "unit": "psc", "space": Space("voxels", signal.shape[1]), **fields}
        return Trials(signal=signal, table=table, **fields)

    return make
