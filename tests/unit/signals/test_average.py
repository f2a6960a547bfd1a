from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braindec.signals.average import average_halves, average_repetitions
from braindec.types import DataError


@settings(max_examples=30, deadline=None)
@given(
    n_stimuli=st.integers(2, 8),
    n_repetitions=st.integers(1, 5),
    limit=st.sampled_from([None, 1, 2, 9]),
    drop=st.integers(0, 1),
    seed=st.integers(0, 20),
)
def test_equals_pandas_groupby(make_table, make_trials, n_stimuli, n_repetitions, limit, drop, seed):
    table = make_table(n_stimuli, n_repetitions, seed=seed)
    signal = np.random.default_rng(seed).normal(size=(len(table), 3, 2))
    trials = make_trials(signal, table).select(np.arange(drop, len(table)))
    result = average_repetitions(trials, limit)

    long = pd.DataFrame(trials.signal.reshape(len(trials), -1)).assign(stimulus_id=trials.table["stimulus_id"])
    limited = long if limit is None else long.groupby("stimulus_id", sort=False).head(limit)
    grouped = limited.groupby("stimulus_id", sort=False)
    expected = grouped.mean()
    assert list(result.table["stimulus_id"]) == list(expected.index)
    np.testing.assert_allclose(result.signal.reshape(len(result), -1), expected.to_numpy(), atol=1e-6)
    np.testing.assert_array_equal(result.table["n_repetitions"], grouped.size())
    first = trials.table.drop_duplicates("stimulus_id").reset_index(drop=True)
    pd.testing.assert_frame_equal(result.table.drop(columns="n_repetitions"), first)


def test_refusals(make_table, make_trials):
    trials = make_trials(np.zeros((18, 1, 1)), make_table())
    with pytest.raises(DataError, match="max_repetitions >= 1"):
        average_repetitions(trials, 0)
    with pytest.raises(DataError, match="averages already"):
        average_repetitions(average_repetitions(trials))
    nameless = make_trials(np.zeros((18, 1, 1)), make_table().assign(stimulus_id=None))
    with pytest.raises(DataError, match="18 trials have no stimulus_id"):
        average_repetitions(nameless)


def test_halves_are_independent_averages_of_the_same_stimuli(make_trials, make_table) -> None:
    ids = ["a", "b", "a", "b", "a", "c", "b", "b"]
    table = make_table(n_stimuli=8, n_repetitions=1).assign(stimulus_id=ids)
    trials = make_trials(np.random.default_rng(0).normal(size=(8, 3, 2)), table)
    first, second = average_halves(trials)
    assert first.table["stimulus_id"].tolist() == second.table["stimulus_id"].tolist() == ["a", "b"]
    np.testing.assert_allclose(first.signal[0], trials.signal[0], rtol=1e-6)
    np.testing.assert_allclose(second.signal[0], trials.signal[2], rtol=1e-6)
    np.testing.assert_allclose(second.signal[1], trials.signal[[3, 7]].mean(axis=0), rtol=1e-6)
    assert first.table["n_repetitions"].tolist() == second.table["n_repetitions"].tolist() == [1, 2]
    limited, _ = average_halves(trials, 2)
    assert limited.table["n_repetitions"].tolist() == [1, 1]
    with pytest.raises(DataError, match="no stimulus has two trials"):
        average_halves(trials.select(np.array([0, 1])))
