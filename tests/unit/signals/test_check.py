from __future__ import annotations

import numpy as np
import pytest

from braindec.signals import check
from braindec.types import DataError, Space


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("block", [1, 7, 1 << 24])
def test_the_first_bad_value_is_named(make_table, make_trials, monkeypatch, value, block):
    monkeypatch.setattr(check, "_BLOCK_VALUES", block)
    table = make_table()
    signal = np.zeros((18, 3, 2))
    space = Space("channels", 3, names=("Cz", "Pz", "Oz"))
    check.check_finite(make_trials(signal, table, space=space))
    signal[11, 2, 1] = signal[15, 0, 0] = value
    with pytest.raises(DataError) as caught:
        check.check_finite(make_trials(signal, table, space=space))
    row = table.iloc[11]
    assert str(caught.value).startswith(
        f"Trials of subject 'subj01': {value} in trial 11 (session {row['session']}, run {row['run']}, "
        f"stimulus '{row['stimulus_id']}'), position 2 (Oz), time point 1"
    )
