"""Partitions with the first training trials only."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest

from braindec.signals.split import published
from braindec.signals.split_few import first_trials
from braindec.types import DataError


@pytest.fixture
def table() -> pd.DataFrame:
    n = 60
    split = np.where(np.arange(n) % 6 == 5, "test", "train")
    return pd.DataFrame(
        {
            "stimulus_id": [f"s{k // 2}" if k % 6 != 5 else f"t{k}" for k in range(n)],
            "concept": "c",
            "session": np.arange(n) // 20,
            "run": 0,
            "repetition": 0,
            "split": split,
        }
    )


def test_the_first_trials_in_time_are_kept(table: pd.DataFrame) -> None:
    (whole,) = published(table, validation_fraction=0.2)
    of = partial(published, validation_fraction=0.2)
    (few,) = first_trials(table, of, n_trials=7)
    np.testing.assert_array_equal(few.train, whole.train[:7])
    np.testing.assert_array_equal(few.validation, whole.validation)
    np.testing.assert_array_equal(few.test, whole.test)
    (hour,) = first_trials(table, of, n_sessions=2)
    assert set(table["session"].iloc[hour.train]) == {0, 1}
    np.testing.assert_array_equal(hour.train, whole.train[table["session"].to_numpy()[whole.train] < 2])


def test_a_table_out_of_order_gives_the_first_sessions_first(table: pd.DataFrame) -> None:
    backwards = table.iloc[::-1].reset_index(drop=True)
    (few,) = first_trials(backwards, published, n_trials=10)
    assert set(backwards["session"].iloc[few.train]) == {0}


@pytest.mark.parametrize(
    ("given", "message"),
    [({}, "n_trials or n_sessions"), ({"n_trials": 0}, "at least 1"), ({"n_trials": 51}, "50 training trials of 51"),
     ({"n_sessions": 4}, "3 training sessions of 4")],
)  # fmt: skip
def test_more_than_there_is_cannot_be_kept(table: pd.DataFrame, given: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        first_trials(table, published, **given)
